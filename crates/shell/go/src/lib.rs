//! Go's ways, for programs that take the place of Go's: how it spells durations, numbers, quoted text,
//! sizes and errors, how it reads addresses, which signals end it, and the kinds of values its logs tell apart.
//!
//! Scripts and people compare texts, so what Go's standard library accepts we accept, and what it refuses
//! we refuse in its words. Written from observed behaviour.
//!
//! Not here: what etcd itself makes of these (see `options`), and the command lines of its tools.

pub mod address;
mod duration;
mod errors;
pub mod number;
mod quote;
mod signals;
mod size;
mod value;

pub use duration::{GoDuration, elapsed};
pub use errors::{chain, io_text};
pub use quote::{quote, unquote};
pub use signals::outlive_signals;
pub use size::size;
pub use value::Value;
