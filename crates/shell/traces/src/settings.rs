//! What whoever switches traces on says, and is told.

/// Where traces go, and which.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `host:port` of the collector, spoken to in the clear.
    pub address: String,
    /// The service that spans are filed under.
    pub service_name: String,
    /// The instance that spans are filed under; empty for none.
    pub instance_id: String,
    /// How many of a million calls that nobody follows yet are sampled.
    pub sampled_per_million: u32,
}

/// What an operator is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The collector took nothing; said once until it takes something again.
    Failing(String),
    /// It takes spans again.
    Exporting,
}

/// Whoever is told.
pub type Told = Box<dyn Fn(&Event) + Send>;
