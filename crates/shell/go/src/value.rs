//! What stands beside the message of a log line, by the kinds that Go's logs tell apart.

use std::fmt;

/// A value of a log line. Programs read these lines, so a number stands there as a number and a list as a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number of any of Go's kinds.
    Number(i128),
    /// Yes or no.
    Truth(bool),
    /// A list of texts.
    Texts(Vec<String>),
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Value {
        Value::Text(text.clone())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Value {
        Value::Truth(truth)
    }
}

impl From<Vec<String>> for Value {
    fn from(texts: Vec<String>) -> Value {
        Value::Texts(texts)
    }
}

macro_rules! numbers {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Value {
            fn from(number: $kind) -> Value {
                Value::Number(i128::from(number))
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64, i32, i64);

impl From<usize> for Value {
    fn from(number: usize) -> Value {
        Value::Number(i128::try_from(number).expect("no size is longer than 64 bits"))
    }
}

/// For people: without quotation marks.
impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => out.write_str(text),
            Value::Number(number) => write!(out, "{number}"),
            Value::Truth(truth) => write!(out, "{truth}"),
            Value::Texts(texts) => out.write_str(&texts.join(",")),
        }
    }
}
