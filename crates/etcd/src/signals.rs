//! Being asked to end: SIGINT and SIGTERM.
//!
//! Before the member serves there is nothing to end in order, so the process ends at once. Once it
//! serves, the first signal is handed to whoever waits for it and further ones change nothing. Either way
//! the process dies by the very signal it was sent, so that a shell or init sees how it ended.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use logging::{Logger, info};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// A signal that asks to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(i32);

impl Signal {
    /// As Go names it.
    pub fn name(self) -> &'static str {
        if self.0 == SIGINT { "interrupt" } else { "terminated" }
    }

    /// Ends the process by this signal.
    pub fn die(self) -> ! {
        // Should even that be impossible, the code a shell would show says the same.
        let _ = emulate_default_handler(self.0);
        std::process::exit(128 + self.0)
    }
}

/// Where signals go.
pub struct Door {
    /// Taken by the first to serve; while it is there nobody serves.
    serving: Arc<Mutex<Option<Sender<Signal>>>>,
}

impl Door {
    /// From now on signals are heard.
    ///
    /// # Errors
    /// If the system refuses to tell us of signals.
    pub fn open(log: &Logger) -> io::Result<Door> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let serving: Arc<Mutex<Option<Sender<Signal>>>> = Arc::default();
        let door = Door { serving: Arc::clone(&serving) };
        let log = log.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            let mut heard = false;
            for signal in signals.forever().map(Signal) {
                if !heard {
                    info!(log, "received signal; shutting down", "signal" => signal.name());
                }
                let serving = serving.lock().unwrap_or_else(PoisonError::into_inner);
                match &*serving {
                    None => signal.die(),
                    // Nobody listens any more once the end has begun.
                    Some(sender) => drop(sender.send(signal)),
                }
                heard = true;
            }
        })?;
        Ok(door)
    }

    /// The member serves: signals are handed over from now on.
    pub fn serve(&self) -> Receiver<Signal> {
        let (sender, receiver) = channel();
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }
}
