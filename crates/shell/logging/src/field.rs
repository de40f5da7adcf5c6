//! What may stand in a log line beside its message, written as JSON.

use std::error::Error;
use std::fmt::{Display, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use options::{GoDuration, Url};

use crate::clock::stamp;

/// A value that can be written into a line.
pub trait Field {
    /// Appends the value as JSON.
    fn write_json(&self, out: &mut String);
}

/// A value shown by its `Display`.
pub struct Shown<T>(pub T);

/// An error with its causes, one after the other, as Go wraps them.
pub struct Fault<'a>(pub &'a (dyn Error + 'a));

/// A list, when its members come from elsewhere.
pub struct List<I>(pub I);

impl<T: Field + ?Sized> Field for &T {
    fn write_json(&self, out: &mut String) {
        (**self).write_json(out);
    }
}

impl Field for str {
    fn write_json(&self, out: &mut String) {
        out.push('"');
        push_escaped(self, out);
        out.push('"');
    }
}

impl Field for String {
    fn write_json(&self, out: &mut String) {
        self.as_str().write_json(out);
    }
}

impl Field for go::Value {
    fn write_json(&self, out: &mut String) {
        match self {
            go::Value::Text(text) => text.write_json(out),
            go::Value::Number(number) => number.write_json(out),
            go::Value::Truth(truth) => truth.write_json(out),
            go::Value::Texts(texts) => texts.write_json(out),
        }
    }
}

impl Field for Path {
    fn write_json(&self, out: &mut String) {
        Shown(self.display()).write_json(out);
    }
}

impl Field for PathBuf {
    fn write_json(&self, out: &mut String) {
        self.as_path().write_json(out);
    }
}

impl Field for Url {
    fn write_json(&self, out: &mut String) {
        Shown(self).write_json(out);
    }
}

impl Field for Duration {
    /// As Go prints it: `1.5s`.
    fn write_json(&self, out: &mut String) {
        Shown(GoDuration::from(*self)).write_json(out);
    }
}

impl Field for SystemTime {
    /// As the line's own time.
    fn write_json(&self, out: &mut String) {
        stamp(*self, &TimeZone::system()).write_json(out);
    }
}

impl<T: Field> Field for Option<T> {
    fn write_json(&self, out: &mut String) {
        match self {
            Some(value) => value.write_json(out),
            None => out.push_str("null"),
        }
    }
}

impl<T: Field> Field for [T] {
    fn write_json(&self, out: &mut String) {
        List(self.iter()).write_json(out);
    }
}

impl<T: Field> Field for Vec<T> {
    fn write_json(&self, out: &mut String) {
        self.as_slice().write_json(out);
    }
}

impl<T: Field, const N: usize> Field for [T; N] {
    fn write_json(&self, out: &mut String) {
        self.as_slice().write_json(out);
    }
}

impl<I> Field for List<I>
where
    I: Clone + IntoIterator,
    I::Item: Field,
{
    fn write_json(&self, out: &mut String) {
        out.push('[');
        for (place, item) in self.0.clone().into_iter().enumerate() {
            if place > 0 {
                out.push(',');
            }
            item.write_json(out);
        }
        out.push(']');
    }
}

impl<T: Display> Field for Shown<T> {
    fn write_json(&self, out: &mut String) {
        self.0.to_string().as_str().write_json(out);
    }
}

impl Field for Fault<'_> {
    fn write_json(&self, out: &mut String) {
        let mut text = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(deeper) = cause {
            push(&mut text, format_args!(": {deeper}"));
            cause = deeper.source();
        }
        text.as_str().write_json(out);
    }
}

macro_rules! as_it_is {
    ($($kind:ty),*) => {$(
        impl Field for $kind {
            fn write_json(&self, out: &mut String) {
                push(out, format_args!("{self}"));
            }
        }
    )*};
}
as_it_is!(bool, u8, u16, u32, u64, usize, i8, i16, i32, i64, i128, isize);

impl Field for f64 {
    fn write_json(&self, out: &mut String) {
        if self.is_finite() {
            push(out, format_args!("{self}"));
        } else {
            Shown(self).write_json(out);
        }
    }
}

fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("a String takes whatever is written");
}

/// The text with what JSON does not allow in it escaped, as etcd's log does.
pub(crate) fn push_escaped(text: &str, out: &mut String) {
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // The second range means something to terminals as well.
            control if control.is_control() => {
                push(out, format_args!("\\u{:04x}", u32::from(control)));
            }
            letter => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &dyn Field, expected: &str) {
        let mut out = String::new();
        value.write_json(&mut out);
        assert_eq!(out, expected);
    }

    #[test]
    fn values_are_written_as_json() {
        check(&"a\"b\\c\n\u{1}é\u{9b}", r#""a\"b\\c\n\u0001é\u009b""#);
        check(&vec!["x".to_owned(), "y".to_owned()], r#"["x","y"]"#);
        check(&Vec::<u64>::new(), "[]");
        check(&Duration::from_millis(1500), "\"1.5s\"");
        check(&-7i64, "-7");
        check(&Some(true), "true");
        check(&f64::NAN, "\"NaN\"");
    }
}
