//! Being asked to end: SIGINT and SIGTERM.
//!
//! Before the member serves there is nothing to end in order, so the process ends at once. Once it
//! serves, the first signal is handed to whoever waits for it and further ones change nothing. Either way
//! the process dies by the very signal it was sent, so that a shell or init sees how it ended.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

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

/// Why a member that serves ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Somebody asks it to.
    Asked(Signal),
    /// It was removed from its cluster.
    Removed,
}

/// Whoever is told why the member ends; nobody before it serves.
type Serving = Arc<Mutex<Option<Sender<Ending>>>>;

/// Where signals go.
pub struct Door {
    serving: Serving,
}

/// Ends the member for another reason than a signal.
#[derive(Clone)]
pub struct Ender(Serving);

/// How long a removed member goes on: the others are still to be told that it knows, as in etcd.
const REMOVED_GOES_ON: Duration = Duration::from_secs(1);

impl Ender {
    /// The member was removed: it ends soon, in order.
    pub fn removed(&self) {
        let serving = self.0.clone();
        thread::spawn(move || {
            thread::sleep(REMOVED_GOES_ON);
            match &*serving.lock().unwrap_or_else(PoisonError::into_inner) {
                // Nobody listens any more once the end has begun.
                Some(sender) => drop(sender.send(Ending::Removed)),
                None => std::process::exit(0),
            }
        });
    }
}

impl Door {
    /// From now on signals are heard.
    ///
    /// # Errors
    /// If the system refuses to tell us of signals.
    pub fn open(log: &Logger) -> io::Result<Door> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let serving = Serving::default();
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
                    Some(sender) => drop(sender.send(Ending::Asked(signal))),
                }
                heard = true;
            }
        })?;
        Ok(door)
    }

    /// For whoever learns that the member was removed.
    pub fn ender(&self) -> Ender {
        Ender(self.serving.clone())
    }

    /// The member serves: signals are handed over from now on.
    pub fn serve(&self) -> Receiver<Ending> {
        let (sender, receiver) = channel();
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }
}
