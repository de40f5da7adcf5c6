//! Where lines go: standard error, standard output, files, the systemd journal.
//!
//! A line that cannot be written is lost; the server does not stop over its log.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use options::{Level, LogOptions, Output};

use crate::clock::Now;
use crate::rotation::{RotatingFile, open_file};

/// Where the journal takes lines from.
const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// A log could not be opened. The text is etcd's, cause and all.
#[derive(Debug, thiserror::Error)]
#[error("open sink \"{}\": open {}: {}", path.display(), path.display(), go::io_text(fault))]
pub struct OpenLogError {
    path: PathBuf,
    fault: io::Error,
}

/// One place that lines go to.
pub(crate) enum Sink {
    Stderr,
    Stdout,
    File(File),
    Rotating(RotatingFile),
    Journal(UnixDatagram),
    Memory(Arc<Mutex<String>>),
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Sink::Stderr => "Stderr",
            Sink::Stdout => "Stdout",
            Sink::File(_) => "File",
            Sink::Rotating(_) => "Rotating",
            Sink::Journal(_) => "Journal",
            Sink::Memory(_) => "Memory",
        })
    }
}

impl Sink {
    /// Opens all that the options name.
    pub fn open_all(options: &LogOptions, now: Now) -> Result<Vec<Sink>, OpenLogError> {
        let open = |output: &Output| match output {
            Output::Stderr => Ok(Sink::Stderr),
            Output::Stdout => Ok(Sink::Stdout),
            Output::Journal => open_journal(),
            Output::File(path) => {
                let fault = |fault| OpenLogError { path: path.clone(), fault };
                match &options.rotation {
                    Some(rotation) => RotatingFile::open(path, rotation.clone(), now)
                        .map(Sink::Rotating)
                        .map_err(fault),
                    None => open_file(path).map(Sink::File).map_err(fault),
                }
            }
        };
        options.outputs.iter().map(open).collect()
    }

    /// Writes one line, which ends in a line feed.
    pub fn write(&mut self, level: Level, line: &str) {
        let bytes = line.as_bytes();
        // There is nowhere left to complain to if the log itself cannot be written.
        let _ = match self {
            Sink::Stderr => io::stderr().lock().write_all(bytes),
            Sink::Stdout => io::stdout().lock().write_all(bytes),
            Sink::File(file) => file.write_all(bytes),
            Sink::Rotating(file) => file.write_all(bytes),
            Sink::Journal(socket) => socket.send(&journal_entry(level, line)).map(drop),
            Sink::Memory(lines) => {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push_str(line);
                Ok(())
            }
        };
    }
}

fn open_journal() -> Result<Sink, OpenLogError> {
    let fault = |fault| OpenLogError { path: JOURNAL_SOCKET.into(), fault };
    let socket = UnixDatagram::unbound().map_err(fault)?;
    socket.connect(JOURNAL_SOCKET).map_err(fault)?;
    Ok(Sink::Journal(socket))
}

/// The line in the journal's own protocol.
fn journal_entry(level: Level, line: &str) -> Vec<u8> {
    let priority = match level {
        Level::Debug => 7,
        Level::Info => 6,
        Level::Warn => 4,
        Level::Error => 3,
        Level::Panic | Level::Fatal => 2,
    };
    // The line holds no line feed but its last, so the simple form of the protocol will do.
    format!("PRIORITY={priority}\nSYSLOG_IDENTIFIER=etcd\nMESSAGE={line}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_a_missing_folder_is_refused_in_etcds_words() {
        let options = LogOptions {
            outputs: vec![Output::File("/no/such/folder/x".into())],
            ..LogOptions::default()
        };
        let fault = Sink::open_all(&options, std::time::SystemTime::now).expect_err("no folder");
        assert_eq!(
            fault.to_string(),
            "open sink \"/no/such/folder/x\": open /no/such/folder/x: no such file or directory"
        );
    }

    #[test]
    fn the_journal_is_told_the_priority() {
        let entry = journal_entry(Level::Warn, "{}\n");
        assert_eq!(entry, b"PRIORITY=4\nSYSLOG_IDENTIFIER=etcd\nMESSAGE={}\n");
    }
}
