//! TLS for the streaming server.

use crate::error::StreamError;
use crate::settings::Settings;
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// The longest file of a certificate or key that is read, in bytes.
const LONGEST: u64 = 1 << 20;

impl Settings {
    /// Whether the files of the certificate and its key are there and fit each other.
    ///
    /// # Errors
    /// What [`crate::Server::open`] would say of them.
    pub fn check_host(&self) -> Result<(), StreamError> {
        acceptor(&self.tls_cert_file, &self.tls_key_file).map(drop)
    }
}

/// What accepts TLS connections with a certificate and its key; `None` where both are empty.
///
/// # Errors
/// The files cannot be read, or do not fit each other.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<Option<TlsAcceptor>, StreamError> {
    match (certificate.as_os_str().is_empty(), key.as_os_str().is_empty()) {
        (true, true) => return Ok(None),
        (false, false) => {}
        _ => return Err(StreamError::HalfTls),
    }
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| StreamError::Pem { path, source }
    };
    let read = |path: &Path| {
        sys::regular::read(path, LONGEST).map_err(|error| unreadable(path)(pem::Error::Io(error)))
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(unreadable(certificate))?;
    if chain.is_empty() {
        return Err(StreamError::NoCertificate(certificate.to_owned()));
    }
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(unreadable(key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private));
    let config = config.map_err(|source| StreamError::Tls {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    })?;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_no_file_is_refused_and_not_waited_for() {
        let fifo = std::env::temp_dir().join(format!("corten-tls-{}", std::process::id()));
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let settings = Settings { tls_cert_file: fifo.clone(), tls_key_file: fifo, ..Settings::default() };
        let refused = settings.check_host().unwrap_err();
        std::fs::remove_file(&settings.tls_key_file).unwrap();
        assert!(model::chain(&refused).contains("not a regular file"), "{refused}");
    }
}
