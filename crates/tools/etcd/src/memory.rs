//! How the allocator gives freed memory back to the system.

use std::ffi::{c_int, c_long};

/// The allocator's option for how long freed memory is kept, in milliseconds. The bindings name the options
/// around it only.
const PURGE_DELAY: c_int = libmimalloc_sys::mi_option_use_numa_nodes - 1;

/// Memory that was freed is given back after so long.
///
/// Whoever allocates when that time is over gives back all that was freed meanwhile, and waits for it. After
/// the allocator's own delay, a second, that was what a compaction had freed of an index of a million keys:
/// 20 to 36 ms of a thread that serves clients. A tenth of that time leaves a tenth of that wait.
const PURGE_DELAY_MS: c_long = 100;

/// Sets the delay. To be called once, at the start.
#[expect(unsafe_code, reason = "the allocator has no other door to its options")]
pub fn configure() {
    // SAFETY: the function stores a number in a table of options and may be called by any thread at any
    // time; it passes over an option that there is not.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "as above")]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: the function reads a number from a table of options.
        let get = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(get(), 1000, "the allocator's own delay");
        configure();
        assert_eq!(get(), PURGE_DELAY_MS);
    }
}
