//! Writing header blocks.
//!
//! Our answers are few and always the same, so what is worth a place in the client's table is known
//! from the start: it is added once and never leaves. All else is written out.

use crate::head::Field;
use crate::settings::TABLE_BYTES_DEFAULT;

use super::table::FIRST_ADDED;

/// What nearly every answer says.
const COMMON: [(&[u8], &[u8]); 3] =
    [(b"content-type", b"application/grpc"), (b"grpc-status", b"0"), (b"grpc-message", b"")];

/// Names of the fixed table that we use, and their numbers.
const NAMES: [(&[u8], u8); 2] = [(b"content-type", 31), (b":status", 8)];

/// Packs the header blocks of one connection.
#[derive(Debug)]
pub(crate) struct Encoder {
    /// When each of [`COMMON`] was added: the first is 1, and 0 says not at all.
    added: [usize; COMMON.len()],
    count: usize,
    /// The client keeps no table for us.
    tableless: bool,
    /// And has not been told that we know.
    untold: bool,
}

impl Encoder {
    pub fn new() -> Encoder {
        Encoder { added: [0; COMMON.len()], count: 0, tableless: false, untold: false }
    }

    /// The client says how large its table may be. A smaller one than by default we leave alone.
    pub fn resize(&mut self, bytes_max: usize) {
        if bytes_max < TABLE_BYTES_DEFAULT && !self.tableless {
            *self = Encoder { tableless: true, untold: true, ..Encoder::new() };
        }
    }

    /// Appends a block with a status, if it begins an answer, and fields.
    pub fn encode(&mut self, out: &mut Vec<u8>, status: Option<u16>, fields: &[Field]) {
        if std::mem::take(&mut self.untold) {
            out.push(0x20);
        }
        match status {
            None => {}
            Some(200) => out.push(0x88),
            Some(other) => literal(out, b":status", other.to_string().as_bytes()),
        }
        for field in fields {
            self.field(out, field);
        }
    }

    fn field(&mut self, out: &mut Vec<u8>, field: &Field) {
        let is = |common: &(&[u8], &[u8])| *common == (&field.name[..], &field.value[..]);
        match COMMON.iter().position(is) {
            Some(common) if self.added[common] > 0 => {
                out.push(0x80 | (FIRST_ADDED + self.count - self.added[common]) as u8);
            }
            Some(common) if !self.tableless => {
                self.count += 1;
                self.added[common] = self.count;
                written(out, 0x40, 6, &field.name, &field.value);
            }
            _ => literal(out, &field.name, &field.value),
        }
    }
}

fn literal(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    written(out, 0x00, 4, name, value);
}

/// A field that is written out, at least its value.
fn written(out: &mut Vec<u8>, pattern: u8, prefix_bits: u32, name: &[u8], value: &[u8]) {
    match NAMES.iter().find(|(known, _)| *known == name) {
        Some((_, number)) => integer(out, pattern, prefix_bits, usize::from(*number)),
        None => {
            out.push(pattern);
            integer(out, 0, 7, name.len());
            out.extend_from_slice(name);
        }
    }
    integer(out, 0, 7, value.len());
    out.extend_from_slice(value);
}

fn integer(out: &mut Vec<u8>, pattern: u8, prefix_bits: u32, value: usize) {
    let mask = (1 << prefix_bits) - 1;
    if value < mask {
        return out.push(pattern | value as u8);
    }
    out.push(pattern | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::super::Decoder;
    use super::*;

    fn field(name: &'static str, value: &'static str) -> Field {
        Field::from_static(name, value)
    }

    #[test]
    fn a_usual_answer_takes_four_bytes_from_the_second_on() {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let headers = [field("content-type", "application/grpc")];
        let trailers = [field("grpc-status", "0"), field("grpc-message", "")];
        let refusal = [field("grpc-status", "5"), field("grpc-message", "not found")];
        for round in 0..3 {
            let (mut first, mut last, mut other) = (Vec::new(), Vec::new(), Vec::new());
            encoder.encode(&mut first, Some(200), &headers);
            encoder.encode(&mut last, None, &trailers);
            encoder.encode(&mut other, None, &refusal);
            let mut read = |block: &[u8]| decoder.decode(block, 65_536).expect("ours").fields;
            assert_eq!(read(&first), [&[field(":status", "200")], &headers[..]].concat());
            assert_eq!(read(&last), trailers);
            assert_eq!(read(&other), refusal);
            assert!(round == 0 || first.len() + last.len() == 4);
        }
    }

    #[test]
    fn a_client_without_a_table_is_told_that_we_know_and_reads_all_the_same() {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let trailers = [field("grpc-status", "0"), field("grpc-message", "")];
        let mut before = Vec::new();
        encoder.encode(&mut before, None, &trailers);
        decoder.decode(&before, 65_536).expect("ours");
        encoder.resize(0);
        for is_first in [true, false] {
            let mut block = Vec::new();
            encoder.encode(&mut block, None, &trailers);
            assert_eq!(block[0] == 0x20, is_first, "a table of nothing, said once");
            let decoded = decoder.decode(&block, 65_536).expect("ours");
            assert_eq!(decoded.fields, trailers);
        }
    }

    #[test]
    fn long_values_and_other_statuses_are_written_out() {
        let long = Field { name: "grpc-message".into(), value: vec![b'x'; 70_000].into() };
        let mut block = Vec::new();
        Encoder::new().encode(&mut block, Some(415), std::slice::from_ref(&long));
        let decoded = Decoder::new().decode(&block, 1 << 20).expect("ours");
        assert_eq!(decoded.fields, [field(":status", "415"), long]);
    }
}
