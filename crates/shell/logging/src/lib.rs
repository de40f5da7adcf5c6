//! The log: one line for each thing worth knowing, as etcd's tools and people expect it.
//!
//! ```
//! use holdfast_logging::{Logger, info};
//!
//! let log = Logger::discard();
//! info!(log, "serving client traffic", "address" => "127.0.0.1:2379", "streams" => 3u64);
//! ```
//!
//! A line whose level is off costs one relaxed load; its fields are not even made. Lines are written at
//! once, whole, by whoever says them. What is said more than a hundred times a second is said less.
//! Fields named after passwords and tokens are never shown.
//!
//! Why not a framework: `docs/decisions/0003-logging.md`.

mod clock;
mod field;
mod line;
mod logger;
mod output;
mod rotation;
mod sampling;

pub use field::{Fault, Field, List, Shown};
pub use line::Caller;
pub use logger::{Captured, Logger};
pub use options::Level;
pub use output::OpenLogError;

/// Writes a line of the given level: `log_at!(Level::Info, log, "message", "field" => value)`.
#[macro_export]
macro_rules! log_at {
    ($level:expr, $log:expr, $message:expr $(, $name:expr => $value:expr)* $(,)?) => {{
        let log: &$crate::Logger = &$log;
        let level = $level;
        if log.is_on(level) {
            let caller = $crate::Caller { file: file!(), line: line!() };
            log.write(
                level,
                caller,
                ::core::convert::AsRef::<str>::as_ref(&$message),
                &[$(($name, &$value as &dyn $crate::Field)),*],
            );
        }
    }};
}

/// Writes a line for finding a fault.
#[macro_export]
macro_rules! debug {
    ($($line:tt)*) => { $crate::log_at!($crate::Level::Debug, $($line)*) };
}

/// Writes a line about the usual course of things.
#[macro_export]
macro_rules! info {
    ($($line:tt)*) => { $crate::log_at!($crate::Level::Info, $($line)*) };
}

/// Writes a line that somebody should look at some day.
#[macro_export]
macro_rules! warn {
    ($($line:tt)*) => { $crate::log_at!($crate::Level::Warn, $($line)*) };
}

/// Writes a line that somebody should look at.
#[macro_export]
macro_rules! error {
    ($($line:tt)*) => { $crate::log_at!($crate::Level::Error, $($line)*) };
}

/// Writes the last line of a process that cannot go on; ending it is the caller's part.
#[macro_export]
macro_rules! fatal {
    ($($line:tt)*) => { $crate::log_at!($crate::Level::Fatal, $($line)*) };
}
