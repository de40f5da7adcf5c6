//! Remarks made while the configuration is read, to be logged once there is a log.

use crate::log::Level;

/// One log line to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How serious it is.
    pub level: Level,
    /// What is said.
    pub message: String,
    /// What it is said about.
    pub fields: Vec<(&'static str, go::Value)>,
}

impl Note {
    /// A remark in passing.
    pub fn info(message: impl Into<String>) -> Note {
        Note { level: Level::Info, message: message.into(), fields: Vec::new() }
    }

    /// A remark that somebody should act on some day.
    pub fn warn(message: impl Into<String>) -> Note {
        Note { level: Level::Warn, message: message.into(), fields: Vec::new() }
    }

    /// A remark on something that cannot be.
    pub fn error(message: impl Into<String>) -> Note {
        Note { level: Level::Error, message: message.into(), fields: Vec::new() }
    }

    /// Names what it is about.
    pub fn with(mut self, field: &'static str, value: impl Into<go::Value>) -> Note {
        self.fields.push((field, value.into()));
        self
    }
}
