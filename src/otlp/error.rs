//! What can go wrong with traces.

use std::path::PathBuf;

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The endpoint is no URL of a collector.
    #[error("`{endpoint}` is not http://HOST:PORT or https://HOST:PORT")]
    Endpoint {
        /// What was set.
        endpoint: String,
    },
    /// The certificates to trust cannot be read.
    #[error("read {path}", path = .path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The certificates to trust are none.
    #[error("{path} has no certificate", path = .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// TLS cannot be set up.
    #[error("set up TLS to the collector")]
    Tls(#[from] rustls::Error),
    /// The client cannot be made.
    #[error("set up the collector's client")]
    Client(#[source] reqwest::Error),
    /// The counter cannot be registered.
    #[error("register the metrics of traces")]
    Metrics(#[from] prometheus::Error),
    /// The collector does not answer.
    #[error("reach the collector")]
    Unreachable(#[source] reqwest::Error),
    /// The collector answered something else than yes.
    #[error("the collector answered {answer}")]
    Refused {
        /// Status and message.
        answer: String,
        /// Whether it says that the same may be tried again.
        again: bool,
    },
}
