//! Work that would keep others of its connection's thread waiting, done where nobody else waits.
//!
//! Whatever leaves a connection's thread leaves it by [`aside`]; the build refuses `spawn_blocking`
//! elsewhere. What goes with the work is owned by it: its turn, what was reserved for its answer, and a
//! way to learn that nobody waits for it any more. A call that ends early thus cannot give its turn to
//! somebody else while its work goes on, and its work ends at the next look.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use types::Refusal;

use crate::Call;

/// Long pieces of work under way at once, over all threads.
const TURNS: usize = 4;

static LONG: Semaphore = Semaphore::const_new(TURNS);

/// The right to do one long piece of work.
#[derive(Debug)]
pub struct Turn {
    _permit: SemaphorePermit<'static>,
}

impl Turn {
    /// Waits for one of the turns. A `call` that was overtaken by answers its client does not read gives
    /// the turn back and waits for room first.
    ///
    /// # Errors
    /// None today: the turns never end.
    pub async fn take(call: Option<&Call>) -> Result<Turn, Refusal> {
        loop {
            if let Some(call) = call {
                call.room().await;
            }
            let permit = LONG.acquire().await.map_err(|_| Refusal::Stopped)?;
            if call.is_none_or(Call::has_room) {
                return Ok(Turn { _permit: permit });
            }
        }
    }
}

/// Tells work whether anybody still waits for what it makes.
#[derive(Clone, Debug)]
pub struct Wanted(Arc<AtomicBool>);

impl Wanted {
    /// For short work that is done where it was asked for: nobody can go meanwhile.
    pub fn always() -> Wanted {
        Wanted(Arc::new(AtomicBool::new(true)))
    }

    /// Whether somebody waits. Look at it between two pieces that take a few milliseconds.
    pub fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The same as a step that fails.
    ///
    /// # Errors
    /// What ends the work when nobody waits: nobody will be told.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.is_wanted() { Ok(()) } else { Err(crate::Gone.into()) }
    }
}

/// Says that nobody waits any more.
struct Asker(Wanted);

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Relaxed);
    }
}

/// Works on a thread that serves nobody else. Dropping the future tells the work; the turn is free when the
/// work has ended.
///
/// # Errors
/// [`Refusal::Stopped`] when the process ends meanwhile.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub async fn aside<T: Send + 'static>(
    turn: Turn,
    work: impl FnOnce(&Wanted) -> T + Send + 'static,
) -> Result<T, Refusal> {
    let wanted = Wanted(Arc::new(AtomicBool::new(true)));
    let asker = Asker(wanted.clone());
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&wanted);
        drop(turn);
        done
    });
    let done = done.await.map_err(|_| Refusal::Stopped);
    drop(asker);
    done
}

/// Lets go of something that takes long to free.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn let_go(something: impl Send + 'static) {
    // Without a runtime the process is ending.
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn_blocking(move || drop(something));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// Guarantee (a turn belongs to the work): who takes a call back does not let a fifth one begin.
    #[test]
    fn work_keeps_its_turn_when_nobody_waits_any_more_and_is_told() {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (go, may_go) = mpsc::channel::<()>();
            let (say, told) = mpsc::channel();
            let turn = Turn::take(None).await.expect("free");
            let free = LONG.available_permits();
            let work = aside(turn, move |wanted| {
                may_go.recv().expect("it is told to");
                say.send(wanted.is_wanted()).expect("somebody listens");
            });
            let early = tokio::time::timeout(Duration::from_millis(20), work).await;
            assert!(early.is_err());
            assert_eq!(LONG.available_permits(), free, "it is not free while it works");
            go.send(()).expect("it listens");
            assert_eq!(told.recv(), Ok(false));
            let again = tokio::time::timeout(Duration::from_secs(5), async {
                while LONG.available_permits() == free {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
            again.await.expect("it is free afterwards");
        });
    }
}
