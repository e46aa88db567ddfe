//! TLS for the streaming server.

use crate::error::StreamError;
use crate::settings::Settings;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

impl Settings {
    /// Whether the files of the certificate and its key are there and fit each other.
    ///
    /// # Errors
    /// What [`crate::Server::open`] would say of them.
    pub fn check_host(&self) -> Result<(), StreamError> {
        acceptor(self).map(drop)
    }
}

/// What accepts TLS connections; `None` where no certificate is set.
pub(crate) fn acceptor(settings: &Settings) -> Result<Option<TlsAcceptor>, StreamError> {
    let Settings { tls_cert_file: certificate, tls_key_file: key, .. } = settings;
    match (certificate.as_os_str().is_empty(), key.as_os_str().is_empty()) {
        (true, true) => return Ok(None),
        (false, false) => {}
        _ => return Err(StreamError::HalfTls),
    }
    let unreadable = |path: &std::path::Path| {
        let path = path.to_owned();
        move |source| StreamError::Pem { path, source }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(unreadable(certificate))?;
    if chain.is_empty() {
        return Err(StreamError::NoCertificate(certificate.clone()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private));
    let config = config.map_err(|source| StreamError::Tls {
        certificate: certificate.clone(),
        key: key.clone(),
        source,
    })?;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}
