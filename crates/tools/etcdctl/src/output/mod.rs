//! How answers look: simple, fields, json, protobuf, table.

mod cluster;
mod fields;
pub mod json;
mod kv;
mod roles;
pub mod table;

use std::io::{self, Write};

use prost::Message;

pub use crate::exit::complain;
use crate::exit::{BAD_FEATURE, Failure};
use json::Json;

pub use cluster::{EndpointHash, EndpointHealth, EndpointStatus};
pub use fields::Fields;
pub use kv::event_name;

/// The formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as --write-out names them")]
pub enum Format {
    Simple,
    Fields,
    Json,
    Protobuf,
    Table,
}

/// A format with what modifies it.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    /// Which.
    pub format: Format,
    /// Bytes and ids in hexadecimal.
    pub hex: bool,
    /// No keys, in `Simple`.
    pub value_only: bool,
}

/// Writes to stdout at once. A reader that went away ends the program, as it ends any other.
pub fn print(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    if stdout.write_all(bytes).and_then(|()| stdout.flush()).is_err() {
        std::process::exit(i32::from(crate::exit::ERROR));
    }
}

impl Printer {
    /// The format of that name.
    pub fn of(name: &str, hex: bool) -> Result<Printer, Failure> {
        let format = match name {
            "simple" => Format::Simple,
            "fields" => Format::Fields,
            "json" => Format::Json,
            "protobuf" => Format::Protobuf,
            "table" => Format::Table,
            _ => return Err(Failure::new(BAD_FEATURE, "unsupported output format")),
        };
        Ok(Printer { format, hex, value_only: false })
    }

    /// Prints an answer that has its own look in `Simple` and `Fields`, and the usual one elsewhere.
    pub fn show<M: Message + Json>(
        &self,
        message: &M,
        simple: impl FnOnce(&mut Vec<u8>),
        fields: impl FnOnce(&mut Fields),
    ) -> Result<(), Failure> {
        match self.format {
            Format::Fields => {
                let mut out = Fields::new(self.hex);
                fields(&mut out);
                print(&out.take());
                Ok(())
            }
            _ => self.show_without_fields(message, simple),
        }
    }

    /// The same, for answers that have no fields.
    pub fn show_without_fields<M: Message + Json>(
        &self,
        message: &M,
        simple: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Failure> {
        let mut out = Vec::new();
        match self.format {
            Format::Simple => simple(&mut out),
            Format::Json => out.extend_from_slice(json::line(message).as_bytes()),
            Format::Protobuf => out = message.encode_to_vec(),
            Format::Fields => return Err(unsupported("fields")),
            Format::Table => return Err(unsupported("table")),
        }
        print(&out);
        Ok(())
    }
}

/// A format that an answer does not have.
pub fn unsupported(format: &str) -> Failure {
    Failure::new(BAD_FEATURE, format!("{format} not supported as output format"))
}

/// A text and the end of the line.
pub fn say(out: &mut Vec<u8>, text: impl AsRef<[u8]>) {
    out.extend_from_slice(text.as_ref());
    out.push(b'\n');
}
