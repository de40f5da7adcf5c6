//! What a strict decoder refuses and Go does not: a field whose number is known but whose wire type is
//! another.
//!
//! To Go's decoder such a field is an unknown one, and it skips it; prost refuses the whole message. So
//! a message that prost refused is [`mended`] and tried once more. That costs nothing on the usual way,
//! and on this one it is a single walk: no step looks at a byte twice, the copy is never longer than
//! the message, and nesting has prost's own end.
//!
//! Always true: what [`mended`] returns has only known fields of their own wire type, each as the sender
//! wrote it. What is no message at all is `None`.

/// One field of a message.
pub(crate) struct Field {
    pub(crate) number: u32,
    wire: u8,
    /// A repeated number, which may also come as one field with all its values.
    pub(crate) packable: bool,
    /// Where the shape of a nested message lies in [`SHAPES`].
    pub(crate) inner: Option<usize>,
}

include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

/// Messages and groups inside each other; prost stops there too.
pub(crate) const DEPTH_MAX: usize = 100;

/// A varint has at most so many bytes.
const VARINT_BYTES_MAX: usize = 10;

/// The message without the fields that Go's decoder would skip.
///
/// `None` when the type is not one of ours, or when it is not a message at all: then it must be refused.
pub fn mended(full_name: &str, message: &[u8]) -> Option<Vec<u8>> {
    let place = SHAPES.binary_search_by(|(name, _)| (*name).cmp(full_name)).ok()?;
    let mut out = Vec::with_capacity(message.len());
    mend(SHAPES[place].1, message, &mut out, 0)?;
    Some(out)
}

fn mend(fields: &[Field], mut rest: &[u8], out: &mut Vec<u8>, depth: usize) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    while !rest.is_empty() {
        let field = rest;
        let (number, wire) = take_key(&mut rest)?;
        let key = &field[..field.len() - rest.len()];
        let value = take_value(&mut rest, number, wire, depth)?;
        let known = fields.binary_search_by_key(&number, |field| field.number).ok();
        let Some(known) = known.map(|at| &fields[at]) else { continue };
        if wire != known.wire && !(wire == 2 && known.packable) {
            continue;
        }
        out.extend_from_slice(key);
        match known.inner {
            None => out.extend_from_slice(value),
            Some(inner) => mend_nested(SHAPES[inner].1, value, out, depth)?,
        }
    }
    Some(())
}

/// Copies a nested message behind its length. The new length is written over the old one, in as many
/// bytes, so that nothing has to be moved: a varint may be longer than it need be.
fn mend_nested(fields: &[Field], mut value: &[u8], out: &mut Vec<u8>, depth: usize) -> Option<()> {
    let whole = value;
    take_varint(&mut value)?;
    let length_bytes = whole.len() - value.len();
    let at = out.len();
    out.extend_from_slice(&whole[..length_bytes]);
    let start = out.len();
    mend(fields, value, out, depth + 1)?;
    let mut length = out.len() - start;
    for byte in &mut out[at..start] {
        *byte = 0x80 | (length & 0x7f) as u8;
        length >>= 7;
    }
    assert_eq!(length, 0, "the copy is not longer than the message");
    out[start - 1] &= 0x7f;
    Some(())
}

/// A field's number and wire type.
pub(crate) fn take_key(rest: &mut &[u8]) -> Option<(u32, u8)> {
    let key = u32::try_from(take_varint(rest)?).ok()?;
    let number = key >> 3;
    (number != 0).then_some((number, (key & 7) as u8))
}

/// The bytes of a field behind its key, with the length if it has one.
pub(crate) fn take_value<'a>(
    rest: &mut &'a [u8],
    number: u32,
    wire: u8,
    depth: usize,
) -> Option<&'a [u8]> {
    let whole = *rest;
    match wire {
        0 => take_varint(rest).map(drop)?,
        1 => *rest = rest.get(8..)?,
        2 => {
            let length = usize::try_from(take_varint(rest)?).ok()?;
            *rest = rest.get(length..)?;
        }
        3 => skip_group(rest, number, depth + 1)?,
        5 => *rest = rest.get(4..)?,
        _ => return None,
    }
    Some(&whole[..whole.len() - rest.len()])
}

/// Skips to behind the end of a group, which must be that of `number`.
fn skip_group(rest: &mut &[u8], number: u32, depth: usize) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    loop {
        match take_key(rest)? {
            (end, 4) => return (end == number).then_some(()),
            (inner, wire) => take_value(rest, inner, wire, depth).map(drop)?,
        }
    }
}

pub(crate) fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (place, byte) in rest.iter().take(VARINT_BYTES_MAX).enumerate() {
        if place == VARINT_BYTES_MAX - 1 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * place);
        if *byte < 0x80 {
            *rest = &rest[place + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::{Message, Name};

    use super::*;
    use crate::etcdserverpb::request_op::Request;
    use crate::etcdserverpb::{PutRequest, RangeRequest, RequestOp, TxnRequest};

    /// As the server decodes: strictly, and once more when that failed.
    fn decoded<M: Message + Name + Default>(wire: &[u8]) -> Option<M> {
        M::decode(wire).ok().or_else(|| M::decode(mended(&M::full_name(), wire)?.as_slice()).ok())
    }

    /// A field of bytes: key, length, content.
    fn framed(key: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![key];
        prost::encoding::encode_varint(content.len() as u64, &mut out);
        out.extend_from_slice(content);
        out
    }

    #[test]
    fn a_known_field_of_another_wire_type_is_skipped() {
        let a = || PutRequest { key: "a".into(), ..Default::default() };
        for field in [
            &[0x10, 0x01][..],               // The value as a number,
            &[0x11, 1, 1, 1, 1, 1, 1, 1, 1], // as eight bytes,
            &[0x15, 1, 1, 1, 1],             // as four,
            &[0x13, 0x0a, 0x01, b'x', 0x14], // as a group;
            &[0x1a, 0x01, 0x01],             // the lease as a string.
            &[0xf8, 0x07, 0x01, 0x10, 0x01], // An unknown field before it.
        ] {
            let before = [field, &framed(0x0a, b"a")].concat();
            assert!(PutRequest::decode(before.as_slice()).is_err(), "{field:x?}");
            assert_eq!(decoded(&before), Some(a()), "{field:x?} before the key");
            let after = [&framed(0x0a, b"a"), field].concat();
            assert_eq!(decoded(&after), Some(a()), "{field:x?} after the key");
        }
    }

    #[test]
    fn what_is_no_message_stays_refused() {
        for wire in [
            &[0x10, 0x01, 0x0a, 0x02, b'a'][..], // The key is cut short,
            &[0x10, 0x01, 0x02, 0x01, b'a'],     // has no number,
            &[0x10, 0x01, 0x0e],                 // a wire type that does not exist,
            &[0x13, 0x0a, 0x01, b'x', 0x1c],     // or a group with the end of another,
            &[0x13, 0x0a, 0x01, b'x'],           // or without an end.
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
        ] {
            assert_eq!(decoded::<PutRequest>(wire), None, "{wire:x?}");
        }
        assert_eq!(mended("etcdserverpb.Nothing", &[]), None);
    }

    #[test]
    fn nested_messages_are_mended_and_their_neighbours_kept() {
        let range = |key: &'static str| RequestOp {
            request: Some(Request::RequestRange(RangeRequest {
                key: key.into(),
                limit: 300,
                ..Default::default()
            })),
        };
        // The limit, then bytes under the number of the revision: so long that the lengths around
        // them have two bytes, and far more than the mended ones need.
        let inner = framed(0x22, &[b'k'; 150]);
        let odd = framed(0x0a, &[&[0x18, 0x07], &inner[..]].concat());
        let ops = [range("a").encode_to_vec(), odd, range("b").encode_to_vec()];
        let wire = ops.map(|op| framed(0x12, &op)).concat();
        assert!(TxnRequest::decode(wire.as_slice()).is_err());
        let request: TxnRequest = decoded(&wire).expect("it can be mended");
        let seven = RequestOp {
            request: Some(Request::RequestRange(RangeRequest { limit: 7, ..Default::default() })),
        };
        assert_eq!(request.success, [range("a"), seven, range("b")]);
    }

    #[test]
    fn nesting_has_an_end_and_no_message_is_walked_twice() {
        let nested = |depth: usize| {
            let innermost = vec![0x08, 0x01];
            (0..depth).fold(innermost, |message, _| framed(0x12, &framed(0x22, &message)))
        };
        assert!(decoded::<TxnRequest>(&nested(20)).is_some());
        assert!(decoded::<TxnRequest>(&nested(6000)).is_none());
        let groups = [vec![0x13; 200_000], vec![0x14; 200_000]].concat();
        assert!(decoded::<PutRequest>(&groups).is_none());
    }

    #[test]
    fn a_sound_message_of_every_type_is_left_as_it_is() {
        assert!(SHAPES.is_sorted_by_key(|(name, _)| *name));
        for (name, fields) in SHAPES {
            assert!(fields.is_sorted_by_key(|field| field.number), "{name}");
        }
        let put =
            PutRequest { key: "a".into(), value: "b".into(), lease: -1, ..Default::default() };
        let wire = put.encode_to_vec();
        assert_eq!(mended("etcdserverpb.PutRequest", &wire), Some(wire));
    }
}
