//! The messages of OTLP 1.x that are sent and answered, with the fields that spans of ours have.
//!
//! Written down by hand, because they are few: the wire knows fields by their numbers alone.

use prost::{Message, Oneof};

/// The method of a collector that takes spans.
pub const EXPORT_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Spans on their way.
#[derive(Clone, PartialEq, Message)]
pub struct ExportRequest {
    /// By whom they were made.
    #[prost(message, repeated, tag = "1")]
    pub resource_spans: Vec<ResourceSpans>,
}

/// What a collector answers.
#[derive(Clone, PartialEq, Message)]
pub struct ExportResponse {
    /// There if it did not take everything.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// What a collector did not take.
#[derive(Clone, PartialEq, Message)]
pub struct PartialSuccess {
    /// How many spans.
    #[prost(int64, tag = "1")]
    pub rejected_spans: i64,
    /// Why.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// The spans of one service.
#[derive(Clone, PartialEq, Message)]
pub struct ResourceSpans {
    /// The service.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// Its spans, by what made them.
    #[prost(message, repeated, tag = "2")]
    pub scope_spans: Vec<ScopeSpans>,
}

/// Who made spans.
#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    /// Its name and instance.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

/// Spans that one part of a program made.
#[derive(Clone, PartialEq, Message)]
pub struct ScopeSpans {
    /// The part.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    /// Its spans.
    #[prost(message, repeated, tag = "2")]
    pub spans: Vec<Span>,
}

/// A part of a program that makes spans.
#[derive(Clone, PartialEq, Message)]
pub struct Scope {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// A piece of work.
#[derive(Clone, PartialEq, Message)]
pub struct Span {
    /// 16 bytes, the same for all work for one purpose.
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    /// 8 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    /// What other systems said of the trace.
    #[prost(string, tag = "3")]
    pub trace_state: String,
    /// The work it is a part of; empty for none.
    #[prost(bytes = "vec", tag = "4")]
    pub parent_span_id: Vec<u8>,
    /// What is done.
    #[prost(string, tag = "5")]
    pub name: String,
    /// [`KIND_INTERNAL`] or [`KIND_SERVER`].
    #[prost(int32, tag = "6")]
    pub kind: i32,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "7")]
    pub start_unix_nanos: u64,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "8")]
    pub end_unix_nanos: u64,
    /// What is known of it.
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    /// How it ended; there also if nothing is said.
    #[prost(message, optional, tag = "15")]
    pub status: Option<Status>,
    /// The trace's flags, and whether its parent is elsewhere.
    #[prost(fixed32, tag = "16")]
    pub flags: u32,
}

/// Work inside a program.
pub const KIND_INTERNAL: i32 = 1;
/// Work for somebody who called.
pub const KIND_SERVER: i32 = 2;

/// How a piece of work ended.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// Why it failed.
    #[prost(string, tag = "2")]
    pub message: String,
    /// [`STATUS_ERROR`], or 0 where nobody says.
    #[prost(int32, tag = "3")]
    pub code: i32,
}

/// It failed.
pub const STATUS_ERROR: i32 = 2;

/// A name and a value.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    /// The name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// A value.
#[derive(Clone, PartialEq, Message)]
pub struct AnyValue {
    /// Of one kind.
    #[prost(oneof = "Value", tags = "1, 2, 3")]
    pub value: Option<Value>,
}

/// The kinds of values that spans of ours have.
#[derive(Clone, PartialEq, Oneof)]
pub enum Value {
    /// A text.
    #[prost(string, tag = "1")]
    Text(String),
    /// Yes or no.
    #[prost(bool, tag = "2")]
    Truth(bool),
    /// A number.
    #[prost(int64, tag = "3")]
    Number(i64),
}

/// The most bytes of a text in a span: a key may be longer than a request that carries a thousand spans.
pub const TEXT_BYTES_MAX: usize = 4096;

fn named(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

/// An attribute that is a text. What is no UTF-8 is shown by replacement characters, what is too long is cut.
pub fn text(key: &str, value: impl AsRef<[u8]>) -> KeyValue {
    let bytes = value.as_ref();
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES_MAX)]);
    named(key, Value::Text(shown.into_owned()))
}

/// An attribute that is a number.
pub fn number(key: &str, value: i64) -> KeyValue {
    named(key, Value::Number(value))
}

/// An attribute that is a yes or a no.
pub fn truth(key: &str, value: bool) -> KeyValue {
    named(key, Value::Truth(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_and_one_that_is_no_utf_8_can_be_sent_all_the_same() {
        let shown = |attribute: KeyValue| match attribute.value.and_then(|any| any.value) {
            Some(Value::Text(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(shown(text("k", b"a\xffb")), "a\u{fffd}b");
        assert_eq!(shown(text("k", vec![b'x'; TEXT_BYTES_MAX + 1])).len(), TEXT_BYTES_MAX);
    }
}
