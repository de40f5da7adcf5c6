//! Endpoints from SRV records.

use client::SrvRecord;
use logging::{List, Logger, info};

/// Where SRV records are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Empty for nowhere.
    pub domain: String,
    /// Added to the service's usual name; empty for nothing.
    pub service: String,
    /// Takes endpoints without looking at their certificates.
    pub insecure: bool,
}

/// An endpoint as its record has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whether the record stands for TLS.
    pub encrypted: bool,
    /// The record.
    pub record: SrvRecord,
}

impl Found {
    /// `https://host.:port`, as the record says it.
    pub fn url(&self) -> String {
        let scheme = if self.encrypted { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.record.target, self.record.port)
    }
}

impl Discovery {
    /// Asks the system's name servers; nothing is found where nothing is looked for.
    ///
    /// # Errors
    /// No server knows a record of either service, in Go's words.
    pub fn ask(&self, log: &Logger) -> Result<Vec<Found>, String> {
        if self.domain.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for (encrypted, records) in client::srv_records(&self.domain, &self.service)? {
            found.extend(records.into_iter().map(|record| Found { encrypted, record }));
        }
        let urls: Vec<String> = found.iter().map(Found::url).collect();
        let domain = self.domain.as_str();
        let text = "discovered cluster from SRV";
        info!(log, text, "srv-server" => domain, "endpoints" => List(urls.iter()));
        Ok(found)
    }
}
