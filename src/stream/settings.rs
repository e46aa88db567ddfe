//! The `[stream]` section of the configuration.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Settings of the streaming server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// PEM file with the certificate chain for TLS; empty together with the key: plain HTTP.
    pub tls_cert_file: PathBuf,
    /// PEM file with the private key.
    pub tls_key_file: PathBuf,
    /// Seconds of silence on both sides after which a stream is ended.
    pub idle_timeout_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls_cert_file: PathBuf::new(),
            tls_key_file: PathBuf::new(),
            idle_timeout_seconds: 4 * 3600,
        }
    }
}
