//! What is decided about peers, without a socket or a clock: times come in from outside.

mod activity;
mod channel;
mod checks;
mod pace;
mod queue;
mod urls;
mod version;

pub use activity::{Activity, Change, Failure};
pub use channel::{Attached, Channel, channel_for};
pub use checks::{
    Accepted, CLUSTER_MISMATCH, Checks, Endpoint, Head, INCOMPATIBLE_VERSION, Known, Refused,
    Remote, StreamKind, header, parse_id,
};
pub use pace::{Pace, REDIAL_MAX, REDIAL_MIN};
pub use queue::{Queue, QueueLimits};
pub use urls::{BadUrl, PeerUrl, REMOTES_MAX, Scheme, URLS_MAX, Urls};
pub use version::Version;
