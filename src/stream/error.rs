//! Why there is no stream.

use model::ErrorKind;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A failure of the streaming server.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// So many URLs wait for their client that no more are given out.
    #[error("{0} streams wait for their client already, try again later")]
    TooMany(usize),
    /// The kernel's random source.
    #[error("make a token")]
    Random(#[source] getrandom::Error),
    /// The address is taken, or not of this host.
    #[error("cannot listen for streams on {address} (setting stream.address)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Certificate and key belong together.
    #[error("stream.tls_cert_file and stream.tls_key_file must both be set, or neither")]
    HalfTls,
    /// A PEM file cannot be read.
    #[error("read {}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// A PEM file without a certificate.
    #[error("{} holds no certificate", .0.display())]
    NoCertificate(PathBuf),
    /// Certificate and key cannot be used.
    #[error("use {} with {}", certificate.display(), key.display())]
    Tls {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

impl StreamError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooMany(_) => ErrorKind::ResourceExhausted,
            Self::HalfTls | Self::NoCertificate(_) => ErrorKind::InvalidArgument,
            Self::Random(_) | Self::Listen { .. } | Self::Pem { .. } | Self::Tls { .. } => {
                ErrorKind::Internal
            }
        }
    }
}
