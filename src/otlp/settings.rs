//! The section `[tracing]`.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How spans travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// OTLP/gRPC.
    #[serde(rename = "grpc")]
    Grpc,
    /// OTLP/HTTP with protobuf.
    #[serde(rename = "http/protobuf")]
    Http,
}

/// Where spans go, and which.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The collector: `http://HOST:PORT` or `https://HOST:PORT`; empty: nothing is traced.
    pub endpoint: String,
    /// How spans travel.
    pub protocol: Protocol,
    /// Certificates of the collector's authorities, in PEM; empty: those of the system.
    pub ca_file: PathBuf,
    /// Of a million requests without a trace of their caller's, how many are traced. A caller's trace decides for itself.
    pub samples_per_million: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            protocol: Protocol::Grpc,
            ca_file: PathBuf::new(),
            samples_per_million: 1_000_000,
        }
    }
}
