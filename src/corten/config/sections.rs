//! The settings, section by section. Sections of a crate of their own are defined there.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Everything that an operator can set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The Unix socket of the CRI.
    pub(crate) socket: PathBuf,
    /// Runtime state: gone after a reboot.
    pub(crate) state_dir: PathBuf,
    /// Images, writable layers and the records of pods and containers.
    pub(crate) data_dir: PathBuf,
    /// The daemon process itself.
    pub(crate) daemon: Daemon,
    /// Logs.
    pub(crate) log: Log,
    /// The HTTP endpoint for metrics.
    pub(crate) metrics: Metrics,
    /// Where traces go.
    pub(crate) tracing: otlp::Settings,
    /// Pulling and keeping images.
    pub(crate) images: image::ImageConfig,
    /// The pods' network.
    pub(crate) network: net::NetworkSettings,
    /// Pods and containers.
    pub(crate) runtime: engine::Settings,
    /// Exec, attach and port forwarding.
    pub(crate) stream: stream::Settings,
    /// What the kubelet needs beside the CRI.
    pub(crate) kubelet: Kubelet,
    /// Plugins that see and adjust pods and containers.
    pub(crate) nri: engine::NriSettings,
    /// Ways of running containers beside the built-in one, by the name that a RuntimeClass gives.
    pub(crate) handlers: BTreeMap<String, engine::HandlerSettings>,
}

impl Config {
    /// The settings of pods and containers, with the handlers.
    pub(crate) fn engine(&self) -> engine::Settings {
        let (handlers, nri) = (self.handlers.clone(), self.nri.clone());
        engine::Settings { handlers, nri, ..self.runtime.clone() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            socket: "/run/corten/corten.sock".into(),
            state_dir: "/run/corten".into(),
            data_dir: "/var/lib/corten".into(),
            daemon: Daemon::default(),
            log: Log::default(),
            metrics: Metrics::default(),
            tracing: otlp::Settings::default(),
            images: image::ImageConfig::default(),
            network: net::NetworkSettings::default(),
            runtime: engine::Settings::default(),
            stream: stream::Settings::default(),
            kubelet: Kubelet::default(),
            nri: engine::NriSettings::default(),
            handlers: BTreeMap::new(),
        }
    }
}

/// The daemon process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Daemon {
    /// Threads that serve requests; 0: one a core, at most 4.
    pub(crate) workers: usize,
    /// Seconds for which requests in flight may end after SIGTERM.
    pub(crate) drain_seconds: u64,
    /// Most bytes of one gRPC request.
    pub(crate) max_request_bytes: usize,
}

impl Default for Daemon {
    fn default() -> Self {
        Self { workers: 0, drain_seconds: 30, max_request_bytes: 16 << 20 }
    }
}

/// What the kubelet needs beside the CRI.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Kubelet {
    /// Where its cAdvisor is answered in containerd's place; empty: nowhere.
    pub(crate) cadvisor_socket: PathBuf,
}

/// Logs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// A level, or a list of `target=level`.
    pub(crate) level: String,
    /// How a line looks.
    pub(crate) format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The HTTP endpoint for metrics and health.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Metrics {
    /// Where it listens.
    pub(crate) address: MetricsAddress,
    /// PEM file with the certificate chain for TLS; empty together with the key: plain HTTP.
    pub(crate) tls_cert_file: PathBuf,
    /// PEM file with the private key.
    pub(crate) tls_key_file: PathBuf,
    /// File with what a scrape has to bring; empty: nothing.
    pub(crate) token_file: PathBuf,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            address: MetricsAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 10290))),
            tls_cert_file: PathBuf::new(),
            tls_key_file: PathBuf::new(),
            token_file: PathBuf::new(),
        }
    }
}

/// Where metrics are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MetricsAddress {
    /// Nowhere; written as an empty string.
    Off,
    /// On an address and port.
    Tcp(SocketAddr),
    /// On a Unix socket; written as its absolute path.
    Unix(PathBuf),
}

/// What an address for metrics is.
pub(super) const METRICS_ADDRESS: &str =
    "an IP address with a port, for example 127.0.0.1:10290, the absolute path of a socket, or nothing";

impl FromStr for MetricsAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            Ok(Self::Off)
        } else if text.starts_with('/') {
            Ok(Self::Unix(text.into()))
        } else {
            text.parse().map(Self::Tcp).map_err(|_| METRICS_ADDRESS)
        }
    }
}

impl fmt::Display for MetricsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => Ok(()),
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl Serialize for MetricsAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MetricsAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
