//! Reading header blocks.

use bytes::Bytes;

use super::huffman;
use super::table::{Table, counted};
use crate::fault::Fault;
use crate::head::Field;
use crate::settings::TABLE_BYTES_DEFAULT;

/// Unpacks the header blocks of one connection, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: Table,
}

/// What a block said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub fields: Vec<Field>,
    /// The fields are more than allowed; those above were read but not kept.
    pub too_long: bool,
    /// The same bytes would mean the same if they came again.
    pub repeatable: bool,
}

impl Decoder {
    pub fn new() -> Decoder {
        Decoder { table: Table::new() }
    }

    /// Unpacks a block. After a fault the connection is of no use: the tables are out of step.
    pub fn decode(&mut self, block: &[u8], list_bytes_max: usize) -> Result<Decoded, Fault> {
        let mut decoded = Decoded { fields: Vec::new(), too_long: false, repeatable: true };
        let mut reader = Reader(block);
        let mut bytes = 0;
        while let Some(first) = reader.peek() {
            if first & 0xe0 == 0x20 {
                if 0 < bytes {
                    return Err(Fault::compression("a table is resized within a block"));
                }
                self.resize(reader.integer(5)?)?;
                decoded.repeatable = false;
                continue;
            }
            let field = if first & 0x80 != 0 {
                self.known(reader.integer(7)?)?
            } else {
                let adds = first & 0x40 != 0;
                let field = self.literal(&mut reader, if adds { 6 } else { 4 })?;
                if adds {
                    self.table.add(field.clone());
                    decoded.repeatable = false;
                }
                field
            };
            bytes += counted(&field);
            if bytes <= list_bytes_max {
                decoded.fields.push(field);
            }
        }
        decoded.too_long = bytes > list_bytes_max;
        Ok(decoded)
    }

    fn resize(&mut self, bytes_max: usize) -> Result<(), Fault> {
        // We never announced another size.
        if bytes_max > TABLE_BYTES_DEFAULT {
            return Err(Fault::compression("a table larger than announced"));
        }
        self.table.resize(bytes_max);
        Ok(())
    }

    fn known(&self, number: usize) -> Result<Field, Fault> {
        self.table.get(number).ok_or(Fault::compression("a field that is in no table"))
    }

    fn literal(&self, reader: &mut Reader<'_>, prefix_bits: u32) -> Result<Field, Fault> {
        let name = match reader.integer(prefix_bits)? {
            0 => reader.string()?,
            number => self.known(number)?.name,
        };
        Ok(Field { name, value: reader.string()? })
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let (first, rest) =
            self.0.split_first().ok_or(Fault::compression("a header block is cut short"))?;
        self.0 = rest;
        Ok(*first)
    }

    /// An integer that begins in the low bits of the next byte (RFC 7541, 5.1).
    fn integer(&mut self, prefix_bits: u32) -> Result<usize, Fault> {
        let mask = (1 << prefix_bits) - 1;
        let prefix = usize::from(self.byte()?) & mask;
        if prefix < mask {
            return Ok(prefix);
        }
        let mut value = prefix;
        // Four bytes more make 28 bits, and nothing that may be said is longer than that.
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::compression("an integer is too large"))
    }

    fn string(&mut self) -> Result<Bytes, Fault> {
        let is_packed = self.peek().is_some_and(|first| first & 0x80 != 0);
        let len = self.integer(7)?;
        let (string, rest) =
            self.0.split_at_checked(len).ok_or(Fault::compression("a string is cut short"))?;
        self.0 = rest;
        if is_packed {
            return Ok(huffman::decode(string)?.into());
        }
        Ok(Bytes::copy_from_slice(string))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            text.bytes().filter_map(|b| char::from(b).to_digit(16)).map(|d| d as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    fn said(decoder: &mut Decoder, block: &str) -> Vec<String> {
        let decoded = decoder.decode(&unhex(block), 65_536).expect("well-formed");
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).expect("text");
        decoded.fields.iter().map(|f| format!("{}: {}", text(&f.name), text(&f.value))).collect()
    }

    /// RFC 7541, C.3 and C.4: three requests, plain and packed.
    #[test]
    fn the_requests_of_the_standard_are_read() {
        let plain = [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ];
        let packed = [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ];
        for blocks in [plain, packed] {
            let mut decoder = Decoder::new();
            let [first, second, third] = blocks.map(|block| said(&mut decoder, block));
            let common = [":method: GET", ":scheme: http", ":path: /"];
            assert_eq!(first[..3], common);
            assert_eq!(first[3], ":authority: www.example.com");
            assert_eq!(second[..3], common);
            assert_eq!(second[3..], [":authority: www.example.com", "cache-control: no-cache"]);
            let other = [":method: GET", ":scheme: https", ":path: /index.html"];
            assert_eq!(third[..3], other);
            assert_eq!(third[3..], [":authority: www.example.com", "custom-key: custom-value"]);
        }
    }

    #[test]
    fn only_a_block_of_numbers_means_the_same_again() {
        let mut decoder = Decoder::new();
        let mut repeatable =
            |block: &str| decoder.decode(&unhex(block), 65_536).expect("well-formed").repeatable;
        assert!(!repeatable("82 41 01 61"), "it adds to the table");
        assert!(repeatable("82 be"));
        assert!(repeatable("82 00 01 61 01 62"), "a literal that is not added");
        assert!(!repeatable("20 82"), "it resizes the table");
    }

    #[test]
    fn fields_above_the_bound_are_counted_but_not_kept() {
        let mut decoder = Decoder::new();
        let decoded = decoder.decode(&unhex("82 86 40 01 61 01 62"), 42).expect("well-formed");
        assert!(decoded.too_long);
        assert_eq!(decoded.fields.len(), 1);
        assert_eq!(said(&mut decoder, "be"), ["a: b"], "the table has it all the same");
    }

    #[test]
    fn what_cannot_be_read_is_a_fault() {
        let fault =
            |block: &str| Decoder::new().decode(&unhex(block), 65_536).expect_err("a fault").text;
        assert_eq!(fault("80"), "a field that is in no table");
        assert_eq!(fault("be"), "a field that is in no table");
        assert_eq!(fault("7f 80 80 80 80 01"), "an integer is too large");
        assert_eq!(fault("41"), "a header block is cut short");
        assert_eq!(fault("41 05 61"), "a string is cut short");
        assert_eq!(fault("3f e2 1f"), "a table larger than announced");
        assert_eq!(fault("82 20"), "a table is resized within a block");
    }
}
