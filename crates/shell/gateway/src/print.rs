//! Protobuf into JSON, as Go's `protojson` prints it with the declared names, without blanks
//! (`docs/etcd/http.md` 3.2).
//!
//! The bytes come from our own handlers. Rows in them were stored long ago, so they are read with
//! care all the same.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::encoding::decode_varint;

use crate::schema::{Field, Kind, MessageId, Schema};

/// Bytes that are not a message of the expected shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A field's value as it lies on the wire.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Appends a message in JSON.
///
/// # Errors
/// [`Malformed`] when `wire` is no message of this shape.
pub fn print(
    schema: &Schema,
    message: MessageId,
    wire: &[u8],
    out: &mut String,
) -> Result<(), Malformed> {
    print_pieces(schema, message, &[wire], out)
}

/// Prints a message whose wire form is in several pieces: a field that is there twice is one.
fn print_pieces(
    schema: &Schema,
    message: MessageId,
    pieces: &[&[u8]],
    out: &mut String,
) -> Result<(), Malformed> {
    let shape = schema.message(message);
    let mut values: BTreeMap<usize, Vec<Value<'_>>> = BTreeMap::new();
    let mut oneofs: BTreeMap<usize, usize> = BTreeMap::new();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (number, value) = take_field(&mut rest)?;
            let Some(index) = shape.field_numbered(number) else { continue };
            let of_field = values.entry(index).or_default();
            unpack(&shape.fields[index], value, of_field)?;
            // Of a oneof the last member counts.
            if let Some(oneof) = shape.fields[index].oneof
                && let Some(before) = oneofs.insert(oneof, index)
                && before != index
            {
                values.remove(&before);
            }
        }
    }
    out.push('{');
    let mut separator = "";
    for (index, values) in &values {
        let field = &shape.fields[*index];
        if !field.is_repeated && field.oneof.is_none() && is_default(field, values) {
            continue;
        }
        out.push_str(separator);
        separator = ",";
        print_text(&field.name, out);
        out.push(':');
        print_field(schema, field, values, out)?;
    }
    out.push('}');
    Ok(())
}

/// Proto3 does not tell a default from its absence; a message that is there is never a default.
fn is_default(field: &Field, values: &[Value<'_>]) -> bool {
    match values.last() {
        None | Some(Value::Number(0)) => true,
        Some(Value::Number(_)) => false,
        Some(Value::Bytes(bytes)) => bytes.is_empty() && !matches!(field.kind, Kind::Message(_)),
    }
}

fn print_field(
    schema: &Schema,
    field: &Field,
    values: &[Value<'_>],
    out: &mut String,
) -> Result<(), Malformed> {
    if field.is_repeated {
        out.push('[');
        for (number, value) in values.iter().enumerate() {
            if number > 0 {
                out.push(',');
            }
            print_value(schema, field, *value, out)?;
        }
        out.push(']');
        return Ok(());
    }
    if let Kind::Message(id) = field.kind {
        let pieces: Vec<&[u8]> =
            values.iter().map(|value| value.bytes()).collect::<Result<_, _>>()?;
        return print_pieces(schema, id, &pieces, out);
    }
    print_value(schema, field, *values.last().expect("the field is there"), out)
}

fn print_value(
    schema: &Schema,
    field: &Field,
    value: Value<'_>,
    out: &mut String,
) -> Result<(), Malformed> {
    use std::fmt::Write;
    let written = match field.kind {
        Kind::Bool => write!(out, "{}", value.number()? != 0),
        Kind::Int32 => write!(out, "{}", value.number()? as i32),
        Kind::Uint32 => write!(out, "{}", value.number()? as u32),
        Kind::Int64 => write!(out, "\"{}\"", value.number()? as i64),
        Kind::Uint64 => write!(out, "\"{}\"", value.number()?),
        Kind::String => {
            print_text(std::str::from_utf8(value.bytes()?).map_err(|_| Malformed)?, out);
            Ok(())
        }
        Kind::Bytes => {
            out.push('"');
            STANDARD.encode_string(value.bytes()?, out);
            out.push('"');
            Ok(())
        }
        Kind::Enum(id) => {
            let number = value.number()? as i32;
            match schema.enumeration(id).name(number) {
                Some(name) => write!(out, "\"{name}\""),
                None => write!(out, "{number}"),
            }
        }
        Kind::Message(id) => return print(schema, id, value.bytes()?, out),
    };
    written.expect("writing into memory cannot fail");
    Ok(())
}

/// Appends a JSON string.
pub fn print_text(text: &str, out: &mut String) {
    use std::fmt::Write;
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                out.push('\\');
                out.push(letter);
            }
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..' ' => write!(out, "\\u{:04x}", u32::from(letter)).expect("into memory"),
            _ => out.push(letter),
        }
    }
    out.push('"');
}

impl<'a> Value<'a> {
    fn number(self) -> Result<u64, Malformed> {
        match self {
            Value::Number(number) => Ok(number),
            Value::Bytes(_) => Err(Malformed),
        }
    }

    fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Number(_) => Err(Malformed),
        }
    }
}

/// Adds a value to its field; repeated numbers may come packed.
fn unpack<'a>(
    field: &Field,
    value: Value<'a>,
    values: &mut Vec<Value<'a>>,
) -> Result<(), Malformed> {
    let is_text = matches!(field.kind, Kind::String | Kind::Bytes | Kind::Message(_));
    match value {
        Value::Bytes(mut packed) if !is_text => {
            while !packed.is_empty() {
                values.push(Value::Number(decode_varint(&mut packed).map_err(|_| Malformed)?));
            }
        }
        _ => values.push(value),
    }
    Ok(())
}

/// Takes the next field off the wire.
fn take_field<'a>(rest: &mut &'a [u8]) -> Result<(u32, Value<'a>), Malformed> {
    let key = decode_varint(rest).map_err(|_| Malformed)?;
    let number = u32::try_from(key >> 3).map_err(|_| Malformed)?;
    let value = match key & 7 {
        0 => Value::Number(decode_varint(rest).map_err(|_| Malformed)?),
        1 => Value::Bytes(take(rest, 8)?),
        2 => {
            let len = decode_varint(rest).map_err(|_| Malformed)?;
            Value::Bytes(take(rest, usize::try_from(len).map_err(|_| Malformed)?)?)
        }
        5 => Value::Bytes(take(rest, 4)?),
        _ => return Err(Malformed),
    };
    Ok((number, value))
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], Malformed> {
    let (taken, behind) = rest.split_at_checked(bytes).ok_or(Malformed)?;
    *rest = behind;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_as_go_escapes_it() {
        let mut out = String::new();
        print_text("a\"\\\n\u{1}<\u{7f}\u{e9}", &mut out);
        assert_eq!(out, "\"a\\\"\\\\\\n\\u0001<\u{7f}\u{e9}\"");
    }
}
