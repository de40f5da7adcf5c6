//! Bugs planted on purpose, to see whether the simulation finds them.
//!
//! A place in the code asks [`planted!`] whether a certain mistake is to be made there. In every build but one
//! the answer is a constant `false` and the mistake is not even compiled. The one is the simulation's own test,
//! which asks for the feature `enabled` by name and then plants one bug at a time, on its own thread.
//!
//! The product cannot be built with it: a release build with the feature does not compile, and `node` does not
//! compile with it at all.

#[cfg(all(feature = "enabled", not(debug_assertions)))]
compile_error!("planted bugs are for the simulation's tests, never for a release");

/// Whether this build can make planted mistakes.
pub const COMPILED_IN: bool = cfg!(feature = "enabled");

/// Whether the mistake of this name is to be made here.
#[macro_export]
macro_rules! planted {
    ($name:literal) => {
        $crate::COMPILED_IN && $crate::is_planted($name)
    };
}

/// Whether the mistake of this name is planted on this thread. Use [`planted!`].
#[cfg(not(feature = "enabled"))]
#[inline(always)]
pub const fn is_planted(_: &str) -> bool {
    false
}

#[cfg(feature = "enabled")]
mod enabled {
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<&'static str>> = const { Cell::new(None) };
        static REACHED: Cell<u64> = const { Cell::new(0) };
    }

    /// Whether the mistake of this name is planted on this thread. Use [`crate::planted!`].
    pub fn is_planted(name: &str) -> bool {
        let planted = PLANTED.get() == Some(name);
        if planted {
            REACHED.set(REACHED.get() + 1);
        }
        planted
    }

    /// Plants one mistake on this thread, or none.
    pub fn plant(name: Option<&'static str>) {
        PLANTED.set(name);
        REACHED.set(0);
    }

    /// How often the planted mistake was asked for since it was planted.
    pub fn reached() -> u64 {
        REACHED.get()
    }
}

#[cfg(feature = "enabled")]
pub use enabled::{is_planted, plant, reached};
