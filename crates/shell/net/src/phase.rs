//! How far the end of a server has come.

use tokio::sync::watch;

/// How far the end has come. Later phases compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Open,
    /// No new connections and calls; streams end, unary calls may finish.
    Draining,
    /// Connections are cut.
    Closed,
}

/// Learns how far the end of a server has come. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Phases(pub(crate) watch::Receiver<Phase>);

impl Phases {
    /// Waits until the end has come so far. A server that was dropped has ended.
    pub async fn reached(&mut self, wanted: Phase) {
        let _ = self.0.wait_for(|phase| wanted <= *phase).await;
    }
}
