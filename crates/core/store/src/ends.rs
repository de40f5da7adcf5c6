//! Where something ends: the store with an entry, a segment's frames with a byte.

/// An entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) index: u64,
    pub(crate) term: u64,
}

/// Where a segment's frames end, and with what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FramesEnd {
    /// The end of the last frame.
    pub(crate) offset: u64,
    /// The last frame's checksum.
    pub(crate) chain: u32,
    /// The last entry that is complete there.
    pub(crate) index: u64,
    pub(crate) term: u64,
}
