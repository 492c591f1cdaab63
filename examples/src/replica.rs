//! Who answers: the part played, on which host, since when.
//!
//! Does: put the same four fields in front of every service's answer, so that readers see which replica spoke.
//! Never: reads anything but the kernel's host name.
//! Called by: every service.

use std::{fs, time::Instant};

use serde_json::{Value, json};

/// One running copy of a service.
#[derive(Debug, Clone)]
pub struct Replica {
    /// The service: `front`, `user`, ...
    pub service: &'static str,
    /// The container's host name.
    pub host: String,
    started: Instant,
}

// === impl Replica ===

impl Replica {
    /// This process, started now.
    pub fn new(service: &'static str) -> Replica {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = if host.trim().is_empty() { "unknown".to_owned() } else { host.trim().to_owned() };
        Replica { service, host, started: Instant::now() }
    }

    /// Whole seconds since the start.
    pub fn uptime_seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// An answer: `{"name", "state": "ok", "replica", "uptime_seconds", "answer", "data"}`; `answer` is a sentence.
    pub fn answer(&self, answer: &str, data: Value) -> Value {
        json!({
            "name": self.service,
            "state": "ok",
            "replica": self.host,
            "uptime_seconds": self.uptime_seconds(),
            "answer": answer,
            "data": data,
        })
    }

    /// An answer that could not be given: `{"name", "state": "away", "replica", "error"}`.
    pub fn away(&self, error: &str) -> Value {
        json!({ "name": self.service, "state": "away", "replica": self.host, "error": error })
    }
}
