//! Signals that Go's runtime takes note of and goes on, where the system's default ends the process.
//!
//! Log rotation sends SIGUSR1, a file limit sends SIGXFSZ: a program that takes the place of Go's must not
//! end by them without a line. What a signal was about shows as the error of a call, as `file too large`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGALRM, SIGIO, SIGPROF, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ};
use signal_hook::flag;

/// Not named by the library: power is failing. 30 on Linux, the only system we are built for.
const SIGPWR: i32 = 30;
/// The signals without a meaning of their own, as far as the C library leaves them to us.
const SIGRT: std::ops::RangeInclusive<i32> = 34..=64;

/// From now on these signals end nothing.
///
/// They are handled rather than ignored: programs that we start find them as they should be.
///
/// # Errors
/// If the system does not let us.
pub fn outlive_signals() -> io::Result<()> {
    let named = [SIGUSR1, SIGUSR2, SIGALRM, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGIO, SIGPWR];
    let nobody_looks = Arc::new(AtomicBool::new(false));
    for signal in named.into_iter().chain(SIGRT) {
        flag::register(signal, Arc::clone(&nobody_looks))?;
    }
    Ok(())
}
