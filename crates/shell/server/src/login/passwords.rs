//! Passwords are hashed and compared on threads of their own.
//!
//! bcrypt is slow on purpose: 50 to 100 ms at the usual cost. On a thread that serves connections a login would
//! delay everybody's puts by that much. These threads are few, yield to all others, and take only so many
//! passwords at a time; one more is refused.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use tokio::sync::oneshot;
use types::Refusal;

/// The longest password: bcrypt looks at no more bytes.
const PASSWORD_BYTES_MAX: usize = 72;

/// Passwords that may wait for a thread.
const WAITING_MAX: usize = 512;

/// How far these threads step back behind those that serve (`nice`).
const NICE: i32 = 10;

/// What is compared with when there is no such user, so that finding that out takes as long.
const NOBODYS_SALT: [u8; 16] = [0; 16];

/// The threads' handle. They end with the last clone.
#[derive(Clone)]
pub(crate) struct Passwords {
    cost: u32,
    jobs: SyncSender<Job>,
}

/// A password, which is overwritten when the last one who holds it is done.
#[derive(Clone)]
pub(crate) struct Password(Arc<Text>);

struct Text(Vec<u8>);

impl Drop for Text {
    fn drop(&mut self) {
        self.0.fill(0);
        // The compiler may not leave the line above out: somebody might still look.
        std::hint::black_box(&self.0);
    }
}

impl Password {
    /// Takes it out of a message, which is left without.
    pub(crate) fn take(text: &mut String) -> Password {
        Password(Arc::new(Text(std::mem::take(text).into_bytes())))
    }

    fn bytes(&self) -> &[u8] {
        &self.0.0
    }
}

enum Job {
    Hash { password: Password, cost: u32, answer: oneshot::Sender<Result<String, Refusal>> },
    Compare { password: Password, with: Option<Vec<u8>>, cost: u32, answer: oneshot::Sender<bool> },
}

impl Passwords {
    /// Starts the threads: half as many as there are cores.
    ///
    /// # Errors
    /// When the system gives none.
    pub(crate) fn start(cost: u32) -> io::Result<Passwords> {
        let (jobs, waiting) = sync_channel(WAITING_MAX);
        let waiting = Arc::new(std::sync::Mutex::new(waiting));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for number in 0..(cores / 2).max(1) {
            let waiting = waiting.clone();
            let name = format!("password-{number}");
            thread::Builder::new().name(name).spawn(move || {
                step_back();
                while let Some(job) = next(&waiting) {
                    job.run();
                }
            })?;
        }
        Ok(Passwords { cost, jobs })
    }

    /// The bcrypt text of a password, with a salt of its own.
    ///
    /// # Errors
    /// When it is too long, or too many wait.
    pub(crate) async fn hash(&self, password: Password) -> Result<String, Refusal> {
        if PASSWORD_BYTES_MAX < password.bytes().len() {
            return Err(Refusal::unknown("bcrypt: password length exceeds 72 bytes"));
        }
        let (answer, hashed) = oneshot::channel();
        self.send(Job::Hash { password, cost: self.cost, answer })?;
        hashed.await.map_err(|_| Refusal::Stopped)?
    }

    /// Whether a password belongs to a bcrypt text. Without one it never does, which takes as long.
    ///
    /// # Errors
    /// When too many wait.
    pub(crate) async fn matches(
        &self,
        password: Password,
        with: Option<Vec<u8>>,
    ) -> Result<bool, Refusal> {
        let (answer, compared) = oneshot::channel();
        self.send(Job::Compare { password, with, cost: self.cost, answer })?;
        compared.await.map_err(|_| Refusal::Stopped)
    }

    fn send(&self, job: Job) -> Result<(), Refusal> {
        self.jobs.try_send(job).map_err(|failed| match failed {
            TrySendError::Full(_) => Refusal::RequestTooManyRequests,
            TrySendError::Disconnected(_) => Refusal::Stopped,
        })
    }
}

fn next(waiting: &std::sync::Mutex<Receiver<Job>>) -> Option<Job> {
    waiting.lock().expect("no holder of the lock panics").recv().ok()
}

/// Whoever serves goes first. Where the system says no, the threads are as urgent as all others.
fn step_back() {
    let here = rustix::thread::gettid();
    let _ = rustix::process::setpriority_process(Some(here), NICE);
}

impl Job {
    fn run(self) {
        match self {
            Job::Hash { password, cost, answer } => {
                let _ = answer.send(hashed(password.bytes(), cost));
            }
            Job::Compare { password, with, cost, answer } => {
                let _ = answer.send(compared(password.bytes(), with.as_deref(), cost));
            }
        }
    }
}

fn hashed(password: &[u8], cost: u32) -> Result<String, Refusal> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)
        .map_err(|_| Refusal::unknown("bcrypt: no random bytes for a salt"))?;
    let parts = bcrypt::hash_with_salt(password, cost, salt)
        .map_err(|error| Refusal::unknown(format!("bcrypt: {error}")))?;
    Ok(parts.format_for_version(bcrypt::Version::TwoA))
}

fn compared(password: &[u8], with: Option<&[u8]>, cost: u32) -> bool {
    let Some(with) = with else {
        let _ = std::hint::black_box(bcrypt::hash_with_salt(password, cost, NOBODYS_SALT));
        return false;
    };
    // In constant time over the hashes; a text that is no hash belongs to no password.
    std::str::from_utf8(with).is_ok_and(|with| bcrypt::verify(password, with).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_as_go_writes_it_and_belongs_to_its_password_alone() {
        let hash = hashed(b"secret", 4).expect("it is short");
        assert!(hash.starts_with("$2a$04$"), "{hash}");
        assert_eq!(hash.len(), 60);
        assert!(compared(b"secret", Some(hash.as_bytes()), 4));
        assert!(!compared(b"Secret", Some(hash.as_bytes()), 4));
        assert!(!compared(b"secret", None, 4));
        assert!(!compared(b"secret", Some(b"no hash"), 4));
        assert_ne!(hashed(b"secret", 4), Ok(hash));
    }

    #[test]
    fn a_password_leaves_its_message_and_is_never_shown() {
        let mut message = "secret".to_owned();
        let password = Password::take(&mut message);
        assert_eq!((message.as_str(), password.bytes()), ("", &b"secret"[..]));
        drop(password.clone());
        assert_eq!(password.bytes(), b"secret");
    }

    #[test]
    fn at_a_login_bytes_after_the_72nd_do_not_count() {
        let hash = hashed(&[b'x'; 72], 4).expect("it just fits");
        assert!(compared(&[b'x'; 80], Some(hash.as_bytes()), 4));
        assert!(!compared(&[b'x'; 71], Some(hash.as_bytes()), 4));
    }

    #[test]
    fn a_hash_that_go_made_is_understood() {
        // Go's own example: "allmine", cost 10.
        let hash = "$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga";
        assert!(compared(b"allmine", Some(hash.as_bytes()), 10));
    }
}
