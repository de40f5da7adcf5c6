//! The logger: decides whether a line is written, makes it, and hands it to its outputs.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use jiff::tz::TimeZone;
use options::{Format, Level, LogOptions, Note};

use crate::clock::{Now, stamp};
use crate::field::Field;
use crate::line::{Caller, Line};
use crate::output::{OpenLogError, Sink};
use crate::sampling::Sampler;

/// A handle to the log, cheap to clone and to pass around.
#[derive(Clone)]
pub struct Logger {
    core: Arc<Core>,
    /// The part of the program that speaks, as the `logger` field shows it.
    name: Arc<str>,
}

struct Core {
    level: AtomicU8,
    format: Format,
    zone: TimeZone,
    now: Now,
    sampler: Sampler,
    sinks: Mutex<Vec<Sink>>,
}

impl Logger {
    /// Opens the outputs that the options name.
    pub fn open(options: &LogOptions) -> Result<Logger, OpenLogError> {
        let sinks = Sink::open_all(options, SystemTime::now)?;
        Ok(Logger::over(options.level, options.format, TimeZone::system(), SystemTime::now, sinks))
    }

    /// A log that leads nowhere.
    pub fn discard() -> Logger {
        let (level, format) = (Level::Fatal, Format::Json);
        Logger::over(level, format, TimeZone::UTC, SystemTime::now, Vec::new())
    }

    /// A log kept in memory, at the beginning of time, and the place to read it: for tests.
    pub fn capture(level: Level) -> (Logger, Captured) {
        let lines = Arc::new(Mutex::new(String::new()));
        let sinks = vec![Sink::Memory(Arc::clone(&lines))];
        let epoch: Now = || SystemTime::UNIX_EPOCH;
        let logger = Logger::over(level, Format::Json, TimeZone::UTC, epoch, sinks);
        (logger, Captured(lines))
    }

    fn over(level: Level, format: Format, zone: TimeZone, now: Now, sinks: Vec<Sink>) -> Logger {
        let level = AtomicU8::new(level as u8);
        let sampler = Sampler::default();
        let core = Core { level, format, zone, now, sampler, sinks: Mutex::new(sinks) };
        Logger { core: Arc::new(core), name: Arc::from("") }
    }

    /// The same log, spoken to by the named part of the program.
    pub fn named(&self, name: &str) -> Logger {
        Logger { core: Arc::clone(&self.core), name: Arc::from(name) }
    }

    /// Whether a line of this level is written: one relaxed load.
    pub fn is_on(&self, level: Level) -> bool {
        level as u8 >= self.core.level.load(Relaxed)
    }

    /// From now on writes lines of this level and above.
    pub fn set_level(&self, level: Level) {
        self.core.level.store(level as u8, Relaxed);
    }

    /// Writes a line, if its level is on and it has not been said too often.
    ///
    /// Called through the macros, which leave the fields alone when the level is off.
    pub fn write(
        &self,
        level: Level,
        caller: Caller,
        message: &str,
        fields: &[(&str, &dyn Field)],
    ) {
        let now = (self.core.now)();
        let last_words = level >= Level::Panic;
        if !self.is_on(level) || !(last_words || self.core.sampler.admits(level, message, now)) {
            return;
        }
        let time = stamp(now, &self.core.zone);
        let line = Line { level, time: &time, logger: &self.name, caller, message, fields };
        let mut text = String::with_capacity(256);
        line.write(self.core.format, &mut text);
        let mut sinks = self.core.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        sinks.iter_mut().for_each(|sink| sink.write(level, &text));
    }

    /// Writes a remark that was made while there was no log yet.
    #[track_caller]
    pub fn note(&self, note: &Note) {
        let fields: Vec<(&str, &dyn Field)> =
            note.fields.iter().map(|(name, value)| (*name, value as &dyn Field)).collect();
        self.write(note.level, Caller::here(), &note.message, &fields);
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Logger({:?})", self.name)
    }
}

/// What was written to a log in memory.
#[derive(Clone, Debug)]
pub struct Captured(Arc<Mutex<String>>);

impl Captured {
    /// All lines so far.
    pub fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{debug, info, warn};

    #[test]
    fn the_macros_write_message_and_fields_and_name_the_place() {
        let (log, lines) = Logger::capture(Level::Info);
        let urls = vec!["http://a:1".to_owned()];
        info!(log.named("raft"), "serving", "urls" => urls, "count" => 3u64);
        let line = lines.text();
        assert!(line.starts_with(
            "{\"level\":\"info\",\"ts\":\"1970-01-01T00:00:00.000000Z\",\"logger\":\"raft\",\
             \"caller\":\"logging/logger.rs:"
        ));
        assert!(line.ends_with("\"msg\":\"serving\",\"urls\":[\"http://a:1\"],\"count\":3}\n"));
    }

    #[test]
    fn a_level_that_is_off_costs_nothing_and_can_be_switched_on() {
        let (log, lines) = Logger::capture(Level::Info);
        debug!(log, "hidden", "field" => unreachable_field());
        assert_eq!(lines.text(), "");
        log.set_level(Level::Debug);
        debug!(log, "seen");
        assert!(lines.text().contains("\"msg\":\"seen\""));
    }

    fn unreachable_field() -> u64 {
        unreachable!("a field is not even made for a level that is off")
    }

    #[test]
    fn a_message_said_too_often_is_said_less() {
        let (log, lines) = Logger::capture(Level::Info);
        for _ in 0..300 {
            warn!(log, "slow");
        }
        assert_eq!(lines.text().lines().count(), 102);
    }
}
