//! What flags hold: typed, from the environment, or by default.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::spec::{Flag, Kind};
use go::{GoDuration, number};

/// A value that fits its flag's kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A switch.
    Bool(bool),
    /// A text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// A number.
    Int(i64),
    /// A number without sign.
    Uint(u64),
    /// Nanoseconds.
    Duration(i64),
}

/// Reads what was typed; the error is the last part of Go's text.
pub fn read(flag: &Flag, typed: &str) -> Result<Value, String> {
    match flag.kind {
        Kind::Bool => number::parse_bool(typed).map(Value::Bool),
        Kind::Text => Ok(Value::Text(typed.to_owned())),
        Kind::Texts if typed.is_empty() => Ok(Value::Texts(Vec::new())),
        Kind::Texts => Ok(Value::Texts(typed.split(',').map(str::to_owned).collect())),
        Kind::Int | Kind::GoInt => number::parse_int(typed, 0).map(Value::Int),
        Kind::Uint => number::parse_uint(typed, 0).map(Value::Uint),
        Kind::Duration => GoDuration::parse(typed).map(|read| Value::Duration(read.0)),
    }
}

impl Value {
    /// As Go prints it.
    pub fn show(&self) -> String {
        match self {
            Value::Bool(value) => value.to_string(),
            Value::Text(text) => text.clone(),
            Value::Texts(texts) => format!("[{}]", texts.join(",")),
            Value::Int(value) => value.to_string(),
            Value::Uint(value) => value.to_string(),
            Value::Duration(nanos) => GoDuration(*nanos).to_string(),
        }
    }
}

/// All flags of a command, with what they hold.
#[derive(Clone, Debug, Default)]
pub struct Values {
    held: BTreeMap<&'static str, (Value, bool)>,
}

impl Values {
    /// The defaults of these flags.
    pub fn of<'a>(flags: impl IntoIterator<Item = &'a Flag>) -> Values {
        let default = |flag: &Flag| read(flag, flag.default).expect("a test reads every default");
        let held = flags.into_iter().map(|flag| (flag.name, (default(flag), false))).collect();
        Values { held }
    }

    /// Takes a value; lists that were said before grow.
    pub fn say(&mut self, flag: &Flag, value: Value) {
        if let (Some((Value::Texts(before), true)), Value::Texts(more)) =
            (self.held.get_mut(flag.name), &value)
        {
            before.extend_from_slice(more);
            return;
        }
        self.held.insert(flag.name, (value, true));
    }

    /// Whether it was said.
    pub fn is_said(&self, name: &str) -> bool {
        self.held.get(name).is_some_and(|(_, said)| *said)
    }

    /// The value of any flag of the command.
    pub fn value(&self, name: &str) -> &Value {
        match self.held.get(name) {
            Some((value, _)) => value,
            None => unreachable!("the command has no flag {name}"),
        }
    }

    /// A switch; false if the command does not have it.
    pub fn truth(&self, name: &str) -> bool {
        matches!(self.held.get(name), Some((Value::Bool(true), _)))
    }

    /// A text.
    pub fn text(&self, name: &str) -> &str {
        match self.value(name) {
            Value::Text(text) => text,
            other => unreachable!("{name} holds {other:?}"),
        }
    }

    /// A list.
    pub fn texts(&self, name: &str) -> &[String] {
        match self.value(name) {
            Value::Texts(texts) => texts,
            other => unreachable!("{name} holds {other:?}"),
        }
    }

    /// A number.
    pub fn int(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Int(value) => *value,
            other => unreachable!("{name} holds {other:?}"),
        }
    }

    /// A number without sign.
    pub fn uint(&self, name: &str) -> u64 {
        match self.value(name) {
            Value::Uint(value) => *value,
            other => unreachable!("{name} holds {other:?}"),
        }
    }

    /// A length of time, not below zero.
    pub fn duration(&self, name: &str) -> Duration {
        match self.value(name) {
            Value::Duration(nanos) => Duration::from_nanos((*nanos).max(0).unsigned_abs()),
            other => unreachable!("{name} holds {other:?}"),
        }
    }
}
