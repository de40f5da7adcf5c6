//! Answers on the wire, with stored rows spliced in.
//!
//! A stored row already is a `mvccpb.KeyValue` in wire form. Putting its bytes into a response as they
//! are costs a copy instead of taking them apart and encoding them again; for a page of many rows
//! that is most of the work.

use apply::{DeleteAnswer, OpAnswer, PutAnswer, RangeAnswer, TxnAnswer};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use proto::etcdserverpb as pb;
use rpc::{Reply, Reserved};
use types::Row;

/// A `RangeResponse`.
pub(crate) struct RangeReply {
    pub(crate) header: Option<pb::ResponseHeader>,
    pub(crate) answer: RangeAnswer,
}

/// An answer, as a message to be written or already in its frame, with what was reserved for its making.
pub(crate) enum Out<R> {
    Short(R),
    Framed { frame: Bytes, _reserved: Reserved },
}

/// A `RangeResponse` on its way into its frame.
pub(crate) struct LongRange {
    frame: BytesMut,
}

/// A message that is in its frame, and counted as unread.
pub(crate) struct CountedFrame(pub(crate) Bytes);

/// A `RangeStreamResponse`: the same one level deeper.
pub(crate) struct RangeStreamReply(pub(crate) RangeReply);

/// A `PutResponse`.
pub(crate) struct PutReply {
    pub(crate) header: pb::ResponseHeader,
    pub(crate) answer: PutAnswer,
}

/// A `DeleteRangeResponse`.
pub(crate) struct DeleteReply {
    pub(crate) header: pb::ResponseHeader,
    pub(crate) answer: DeleteAnswer,
}

/// A `TxnResponse`.
pub(crate) struct TxnReply {
    pub(crate) header: pb::ResponseHeader,
    pub(crate) answer: TxnAnswer,
}

/// A `WatchResponse`.
pub(crate) struct WatchReply<'a> {
    /// As [`encoded_header`] wrote it: hundreds of watchers are told of one revision.
    pub(crate) header: &'a [u8],
    pub(crate) response: &'a watch::Response,
}

impl Reply for RangeReply {
    fn encoded_len(&self) -> usize {
        range_len(self.header.as_ref(), &self.answer)
    }

    fn encode(&self, out: &mut BytesMut) {
        put_range(out, self.header.as_ref(), &self.answer);
    }
}

impl<R: Reply> Reply for Out<R> {
    fn encoded_len(&self) -> usize {
        match self {
            Out::Short(reply) => reply.encoded_len(),
            Out::Framed { frame, .. } => frame.len() - rpc::FRAME_PREFIX_BYTES,
        }
    }

    fn encode(&self, out: &mut BytesMut) {
        match self {
            Out::Short(reply) => reply.encode(out),
            Out::Framed { frame, .. } => out.put_slice(&frame[rpc::FRAME_PREFIX_BYTES..]),
        }
    }

    fn framed(&self) -> Option<Bytes> {
        match self {
            Out::Short(_) => None,
            Out::Framed { frame, .. } => Some(frame.clone()),
        }
    }
}

/// The header of an answer and what comes after its rows.
const AROUND_BYTES: usize = 64;

impl LongRange {
    pub(crate) fn begin(header: &pb::ResponseHeader) -> LongRange {
        let mut frame = rpc::begin_frame(AROUND_BYTES);
        put_header(&mut frame, Some(header));
        LongRange { frame }
    }

    /// Appends rows that take so many bytes. Makes room for those that probably follow too: a buffer that
    /// grows is in memory twice at each step, and one that nothing was written to is not.
    pub(crate) fn rows(&mut self, rows: &[Row], bytes: usize, bytes_left: usize) {
        if self.frame.capacity() - self.frame.len() < bytes {
            let bytes_left = bytes_left.min(rpc::ANSWER_BYTES_MAX);
            self.frame.reserve(bytes + bytes_left + AROUND_BYTES);
        }
        put_rows(&mut self.frame, 2, rows);
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.frame.len()
    }

    pub(crate) fn end(mut self, more: bool, count: i64) -> Bytes {
        if more {
            self.frame.put_slice(&[3 << 3, 1]);
        }
        put_number(&mut self.frame, 4, count);
        rpc::end_frame(self.frame)
    }
}

impl Reply for CountedFrame {
    fn encoded_len(&self) -> usize {
        self.0.len() - rpc::FRAME_PREFIX_BYTES
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.0[rpc::FRAME_PREFIX_BYTES..]);
    }

    fn framed(&self) -> Option<Bytes> {
        Some(self.0.clone())
    }
}

impl Reply for RangeStreamReply {
    fn encoded_len(&self) -> usize {
        delimited(self.0.encoded_len())
    }

    fn encode(&self, out: &mut BytesMut) {
        put_tag(out, 1, self.0.encoded_len());
        self.0.encode(out);
    }
}

impl Reply for PutReply {
    fn encoded_len(&self) -> usize {
        put_len(&self.header, &self.answer)
    }

    fn encode(&self, out: &mut BytesMut) {
        put_put(out, &self.header, &self.answer);
    }
}

impl Reply for DeleteReply {
    fn encoded_len(&self) -> usize {
        delete_len(&self.header, &self.answer)
    }

    fn encode(&self, out: &mut BytesMut) {
        put_delete(out, &self.header, &self.answer);
    }
}

impl Reply for TxnReply {
    fn encoded_len(&self) -> usize {
        txn_len(&self.header, &self.answer)
    }

    fn encode(&self, out: &mut BytesMut) {
        put_txn(out, &self.header, &self.answer);
    }
}

impl Reply for WatchReply<'_> {
    fn encoded_len(&self) -> usize {
        let rest = match &self.response.body {
            watch::Body::Events { events, fragment } => {
                let fragment = if *fragment { 2 } else { 0 };
                number_len(self.response.watch) + fragment + events.encoded_len()
            }
            _ => Message::encoded_len(&self.fixed()),
        };
        self.header.len() + rest
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_slice(self.header);
        match &self.response.body {
            watch::Body::Events { events, fragment } => {
                put_number(out, 2, self.response.watch);
                if *fragment {
                    out.put_slice(&[7 << 3, 1]);
                }
                out.put_slice(events.encoded());
            }
            _ => self.fixed().encode_raw(out),
        }
    }
}

/// A header as the first field of a message.
pub(crate) fn encoded_header(header: &pb::ResponseHeader) -> BytesMut {
    let mut out = BytesMut::new();
    put_header(&mut out, Some(header));
    out
}

impl WatchReply<'_> {
    /// All fields but the header, which comes first, of a response without events.
    fn fixed(&self) -> pb::WatchResponse {
        let mut fixed = pb::WatchResponse { watch_id: self.response.watch, ..Default::default() };
        match &self.response.body {
            watch::Body::Created => fixed.created = true,
            watch::Body::Refused { reason } => {
                fixed.created = true;
                fixed.canceled = true;
                fixed.cancel_reason = reason.to_string();
            }
            watch::Body::Canceled => fixed.canceled = true,
            watch::Body::Compacted { compact_revision } => {
                fixed.canceled = true;
                fixed.compact_revision = *compact_revision;
            }
            watch::Body::Events { .. } | watch::Body::Progress => {}
        }
        fixed
    }
}

const HEADER: u32 = 1;

fn header_len(header: Option<&pb::ResponseHeader>) -> usize {
    header.map_or(0, |header| delimited(Message::encoded_len(header)))
}

fn put_header(out: &mut BytesMut, header: Option<&pb::ResponseHeader>) {
    if let Some(header) = header {
        put_tag(out, HEADER, Message::encoded_len(header));
        header.encode_raw(out);
    }
}

/// What an operation's answer inside a transaction shows: the revision and no ids.
fn inner_header(revision: i64) -> pb::ResponseHeader {
    pb::ResponseHeader { revision, ..Default::default() }
}

fn range_len(header: Option<&pb::ResponseHeader>, answer: &RangeAnswer) -> usize {
    let more = if answer.more { 2 } else { 0 };
    let count = if answer.count == 0 { 0 } else { 1 + varint_len(answer.count as u64) };
    header_len(header) + rows_len(&answer.rows) + more + count
}

fn put_range(out: &mut BytesMut, header: Option<&pb::ResponseHeader>, answer: &RangeAnswer) {
    put_header(out, header);
    put_rows(out, 2, &answer.rows);
    if answer.more {
        out.put_slice(&[3 << 3, 1]);
    }
    put_number(out, 4, answer.count);
}

fn put_len(header: &pb::ResponseHeader, answer: &PutAnswer) -> usize {
    header_len(Some(header)) + answer.previous.as_ref().map_or(0, row_len)
}

fn put_put(out: &mut BytesMut, header: &pb::ResponseHeader, answer: &PutAnswer) {
    put_header(out, Some(header));
    if let Some(row) = &answer.previous {
        put_rows(out, 2, std::slice::from_ref(row));
    }
}

fn delete_len(header: &pb::ResponseHeader, answer: &DeleteAnswer) -> usize {
    let deleted = if answer.deleted == 0 { 0 } else { 1 + varint_len(answer.deleted as u64) };
    header_len(Some(header)) + deleted + rows_len(&answer.previous)
}

fn put_delete(out: &mut BytesMut, header: &pb::ResponseHeader, answer: &DeleteAnswer) {
    put_header(out, Some(header));
    put_number(out, 2, answer.deleted);
    put_rows(out, 3, &answer.previous);
}

fn txn_len(header: &pb::ResponseHeader, answer: &TxnAnswer) -> usize {
    let succeeded = if answer.succeeded { 2 } else { 0 };
    let responses: usize = answer.responses.iter().map(|op| delimited(op_len(op))).sum();
    header_len(Some(header)) + succeeded + responses
}

fn put_txn(out: &mut BytesMut, header: &pb::ResponseHeader, answer: &TxnAnswer) {
    put_header(out, Some(header));
    if answer.succeeded {
        out.put_slice(&[2 << 3, 1]);
    }
    for op in &answer.responses {
        put_tag(out, 3, op_len(op));
        put_op(out, op);
    }
}

fn op_len(op: &OpAnswer) -> usize {
    delimited(match op {
        OpAnswer::Range(answer) => range_len(Some(&inner_header(answer.revision)), answer),
        OpAnswer::Put(answer) => put_len(&inner_header(answer.revision), answer),
        OpAnswer::DeleteRange(answer) => delete_len(&inner_header(answer.revision), answer),
        OpAnswer::Txn(answer) => txn_len(&inner_header(0), answer),
    })
}

fn put_op(out: &mut BytesMut, op: &OpAnswer) {
    match op {
        OpAnswer::Range(answer) => {
            let header = inner_header(answer.revision);
            put_tag(out, 1, range_len(Some(&header), answer));
            put_range(out, Some(&header), answer);
        }
        OpAnswer::Put(answer) => {
            let header = inner_header(answer.revision);
            put_tag(out, 2, put_len(&header, answer));
            put_put(out, &header, answer);
        }
        OpAnswer::DeleteRange(answer) => {
            let header = inner_header(answer.revision);
            put_tag(out, 3, delete_len(&header, answer));
            put_delete(out, &header, answer);
        }
        OpAnswer::Txn(answer) => {
            // A nested transaction's header is there and empty (`docs/etcd/api.md` 3).
            let header = inner_header(0);
            put_tag(out, 4, txn_len(&header, answer));
            put_txn(out, &header, answer);
        }
    }
}

fn row_len(row: &Row) -> usize {
    delimited(row.encoded.len())
}

pub(crate) fn rows_len(rows: &[Row]) -> usize {
    rows.iter().map(row_len).sum()
}

fn put_rows(out: &mut BytesMut, field: u32, rows: &[Row]) {
    for row in rows {
        put_tag(out, field, row.encoded.len());
        out.put_slice(&row.encoded);
    }
}

fn put_number(out: &mut BytesMut, field: u8, number: i64) {
    if number != 0 {
        out.put_u8(field << 3);
        put_varint(out, number as u64);
    }
}

fn number_len(number: i64) -> usize {
    if number == 0 { 0 } else { 1 + varint_len(number as u64) }
}

/// All fields that hold messages here have numbers below 16, so their tag is one byte.
fn put_tag(out: &mut BytesMut, field: u32, len: usize) {
    out.put_u8((field << 3 | 2) as u8);
    put_varint(out, len as u64);
}

fn delimited(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_varint(out: &mut BytesMut, mut number: u64) {
    while 0x80 <= number {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

#[cfg(test)]
mod tests;
