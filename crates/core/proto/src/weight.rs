//! What a message will take in memory, known before it is decoded.
//!
//! Two bytes on the wire can become a message of a hundred in memory. So whoever bounds memory walks the message
//! first, once and without keeping anything: each part counts for what it becomes at most.

use crate::lenient::{DEPTH_MAX, Field, SHAPES, take_key, take_value, take_varint};

/// What decoding a message costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Messages inside it, those inside them too.
    pub parts: usize,
    /// Bytes of memory, at most, beside the buffer that its fields of bytes share.
    pub bytes: usize,
}

/// What a message inside another takes, with the room a list of them keeps to grow.
const PART_BYTES: usize = 320;
/// A string or a field of bytes.
const TEXT_BYTES: usize = 64;
/// A number.
const NUMBER_BYTES: usize = 16;

/// What decoding a message of this type costs, as far as it is one: what comes behind a mistake will not be decoded.
/// Stops where it has more parts than `parts_max`.
pub fn weigh(full_name: &str, message: &[u8], parts_max: usize) -> Weight {
    let mut weight = Weight::default();
    if let Ok(place) = SHAPES.binary_search_by(|(name, _)| (*name).cmp(full_name)) {
        add(SHAPES[place].1, message, &mut weight, parts_max, 0);
    }
    weight
}

fn add(
    fields: &[Field],
    mut rest: &[u8],
    weight: &mut Weight,
    parts_max: usize,
    depth: usize,
) -> Option<()> {
    while !rest.is_empty() && weight.parts <= parts_max && depth <= DEPTH_MAX {
        let (number, wire) = take_key(&mut rest)?;
        let mut value = take_value(&mut rest, number, wire, depth)?;
        let Ok(at) = fields.binary_search_by_key(&number, |field| field.number) else { continue };
        let known = &fields[at];
        if wire != 2 {
            weight.bytes += NUMBER_BYTES;
            continue;
        }
        take_varint(&mut value)?;
        match known.inner {
            Some(inner) => {
                weight.parts += 1;
                weight.bytes += PART_BYTES;
                add(SHAPES[inner].1, value, weight, parts_max, depth + 1)?;
            }
            None if known.packable => weight.bytes += NUMBER_BYTES * value.len(),
            None => weight.bytes += TEXT_BYTES,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use prost::{Message, Name};

    use super::*;
    use crate::etcdserverpb::request_op::Request;
    use crate::etcdserverpb::{PutRequest, RequestOp, TxnRequest, WatchCreateRequest};

    fn weight<M: Message + Name>(message: &M) -> Weight {
        weigh(&M::full_name(), &message.encode_to_vec(), usize::MAX)
    }

    #[test]
    fn a_put_is_light_however_long() {
        let put =
            PutRequest { key: "k".into(), value: vec![0; 1 << 20].into(), ..Default::default() };
        assert_eq!(weight(&put), Weight { parts: 0, bytes: 2 * TEXT_BYTES });
    }

    #[test]
    fn what_is_small_on_the_wire_weighs_what_it_becomes() {
        let put = Request::RequestPut(PutRequest::default());
        for (op, parts) in [(RequestOp::default(), 1), (RequestOp { request: Some(put) }, 2)] {
            let txn = TxnRequest { success: vec![op; 1000], ..Default::default() };
            let weight = weight(&txn);
            assert_eq!(weight.parts, 1000 * parts);
            let taken = txn.success.capacity() * size_of::<RequestOp>();
            assert!(taken <= weight.bytes, "{taken} bytes, not {}", weight.bytes);
        }
        let watch = WatchCreateRequest { filters: vec![0; 1000], ..Default::default() };
        assert!(4 * 1000 <= weight(&watch).bytes);
    }

    #[test]
    fn the_walk_ends_where_there_are_too_many_parts_or_a_mistake() {
        let txn = TxnRequest { success: vec![RequestOp::default(); 1000], ..Default::default() };
        let mut wire = txn.encode_to_vec();
        assert_eq!(weigh("etcdserverpb.TxnRequest", &wire, 10).parts, 11);
        wire[1000] = 0xff;
        assert!(weigh("etcdserverpb.TxnRequest", &wire, usize::MAX).parts <= 500);
        assert_eq!(weigh("etcdserverpb.Nothing", &wire, 10), Weight::default());
    }
}
