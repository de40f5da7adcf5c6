//! What bounds the hub's memory and the size of what it sends.

/// The bounds of one hub, in bytes or pieces. Each can be moved; none can be switched off.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes sent to a stream and not yet taken by its client, above which its watchers wait.
    pub stream_bytes_max: usize,
    /// Responses sent to a stream and not yet taken by its client, above which its watchers wait.
    pub stream_responses_max: usize,
    /// The same in bytes over all streams: then only streams with nothing under way get more.
    pub pending_bytes_max: usize,
    /// Bytes of recent changes kept in memory to catch up watchers that are a little late.
    pub recent_bytes_max: usize,
    /// Recent changes kept, in revisions.
    pub recent_revisions_max: usize,
    /// Bytes of events in one catch-up response, to the next whole revision.
    pub response_bytes_max: usize,
    /// Bytes of wanted rows that one history read returns, to the next whole revision.
    pub history_bytes_max: usize,
    /// Bytes of rows that one history read may pass, wanted or not, before it reports back.
    pub scan_bytes_max: usize,
    /// Watchers that one history read serves.
    pub watchers_per_read_max: usize,
    /// Encoded size at which a response is split for a watch that asked for fragments: the longest
    /// request and the frame overhead (`docs/etcd/api.md` 5.3).
    pub fragment_bytes: usize,
    /// Watches over all streams; further ones are refused.
    pub watches_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            stream_bytes_max: 4 * 1024 * 1024,
            stream_responses_max: 4096,
            pending_bytes_max: 128 * 1024 * 1024,
            recent_bytes_max: 4 * 1024 * 1024,
            recent_revisions_max: 4096,
            response_bytes_max: 1024 * 1024,
            history_bytes_max: 1024 * 1024,
            scan_bytes_max: 16 * 1024 * 1024,
            watchers_per_read_max: 512,
            fragment_bytes: 1_572_864 + 512 * 1024,
            watches_max: 10_000_000,
        }
    }
}
