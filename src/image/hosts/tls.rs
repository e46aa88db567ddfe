//! The TLS configuration of a host.

use super::signatures;
use super::{Host, HostsError, MAX_BYTES};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// What the files of a client are there for.
const CERTIFICATE: &str = "client certificate";
const KEY: &str = "key of a client certificate";

/// The system's roots plus the host's own, its client certificate, and whether anything is verified.
///
/// # Errors
/// When a certificate or key file is unusable.
pub(crate) fn client_config(host: &Host) -> Result<ClientConfig, HostsError> {
    let mut roots = system_roots().clone();
    let mut own = Vec::new();
    for path in &host.ca {
        for certificate in certificates("ca", path)? {
            roots.add(certificate.clone()).map_err(|error| problem("ca", path, &error))?;
            own.push(certificate);
        }
    }
    let provider = Arc::new(signatures::provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| HostsError::Tls(error.to_string()))?;
    let builder = if host.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anything(provider)))
    } else if own.is_empty() {
        builder.with_root_certificates(roots)
    } else {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let path = host.ca.first().map_or(Path::new("ca"), PathBuf::as_path);
        let inner = verifier.map_err(|error| problem("ca", path, &error))?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(OrNamed { inner, own }))
    };
    // One client certificate is what TLS asks for; of several the first is used.
    match host.client.first() {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let key = key.as_ref().unwrap_or(certificate);
            let text = read(KEY, key)?;
            let chain = certificates(CERTIFICATE, certificate)?;
            let private = PrivateKeyDer::from_pem_slice(&text).map_err(|error| unusable(KEY, key, error))?;
            builder
                .with_client_auth_cert(chain, private)
                .map_err(|error| problem(CERTIFICATE, certificate, &error))
        }
    }
}

fn problem(role: &'static str, path: &Path, error: &dyn std::fmt::Display) -> HostsError {
    HostsError::Certificate { role, path: path.to_owned(), problem: error.to_string() }
}

fn read(role: &'static str, path: &Path) -> Result<Vec<u8>, HostsError> {
    sys::regular::read(path, MAX_BYTES).map_err(|error| problem(role, path, &error))
}

fn unusable(role: &'static str, path: &Path, error: pem::Error) -> HostsError {
    match error {
        pem::Error::NoItemsFound => problem(role, path, &"it holds none"),
        other => problem(role, path, &format!("it is no PEM file: {other}")),
    }
}

fn certificates(role: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, HostsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(role, path)?).collect();
    let found = found.map_err(|error| unusable(role, path, error))?;
    if found.is_empty() {
        return Err(problem(role, path, &"it holds no certificate"));
    }
    Ok(found)
}

/// The system's roots, read once: a machine without any still reaches registries over plain HTTP or
/// with a `ca` of their own.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let loaded = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(loaded.certs);
        if added == 0 {
            tracing::warn!(
                "the system has no certificate roots: registries over HTTPS need a ca in hosts.toml"
            );
        }
        roots
    })
}

/// As usual, but a certificate that `ca` itself names is a server's too, though it is made as an authority's: so do the
/// manuals of registries have them made. Its name and its time must be right.
#[derive(Debug)]
struct OrNamed {
    inner: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for OrNamed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let usual = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match usual {
            // Told only of a certificate whose time is right, which is looked at before.
            Err(error) if is_authority(&error) && self.own.iter().any(|own| own == end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Whether a certificate is refused for being an authority's.
pub(crate) fn is_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) = error else {
        return false;
    };
    matches!(cause.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// Takes any certificate: `skip_verify`. Signatures are still checked, so that a handshake is a handshake.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Of P-521, for reg.example, an authority's by openssl's defaults; ten years from [`DAY`] on.
    const OWN: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIICITCCAYKgAwIBAgIUUTgPxqQbzMps9FKU2Ix4FN98nLowCgYIKoZIzj0EAwIw\n\
FjEUMBIGA1UEAwwLcmVnLmV4YW1wbGUwHhcNMjYxMTI3MTMzNDM1WhcNMzYxMTI0\n\
MTMzNDM1WjAWMRQwEgYDVQQDDAtyZWcuZXhhbXBsZTCBmzAQBgcqhkjOPQIBBgUr\n\
gQQAIwOBhgAEAUlS0s/xIQw4DhmaqZiqU8Y2oAPuy/f+iIXu/7okT67XM6lnpwDO\n\
8bBGttUONRELclyvs2R9a65TmKvxCjU884rIAap8QmCY7fyoxmTEHBawGJWYHHQN\n\
+hKdSevbzcf61U/1Q45zRIgVAvb4rp69PGj/sKZD+4d+Ik3t1qVJ7mr7HSq6o2sw\n\
aTAdBgNVHQ4EFgQU8H1ubep2+6ACiIUQ5unIYeoFsQQwHwYDVR0jBBgwFoAU8H1u\n\
bep2+6ACiIUQ5unIYeoFsQQwDwYDVR0TAQH/BAUwAwEB/zAWBgNVHREEDzANggty\n\
ZWcuZXhhbXBsZTAKBggqhkjOPQQDAgOBjAAwgYgCQgDMBDus4vKiuwNTfbyiPP6Q\n\
EOEf4AaoaSqkZpYMUqceb/CK6kXIYbd2EQskFwXB9WiPphhpEUz7arNV8jMhxAuY\n\
mQJCAUunjXulCOq19dQzapMHdaZtFC4zCxMcUPRz6WCO0o7nlYFxhHyg7oKeZ8+o\n\
jNdizpZ7Qpc99LI1D+WEfGIB/WeR\n\
-----END CERTIFICATE-----\n\
";
    const DAY: u64 = 1_795_872_876;

    fn verify(own: Vec<CertificateDer<'static>>, name: &str, at: u64) -> Result<(), rustls::Error> {
        let certificate = CertificateDer::from_pem_slice(OWN.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let provider = Arc::new(signatures::provider());
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
        OrNamed { inner, own }.verify_server_cert(&certificate, &[], &name, &[], at).map(drop)
    }

    #[test]
    fn a_certificate_that_is_named_is_trusted_for_its_name_and_its_time() {
        let own = || vec![CertificateDer::from_pem_slice(OWN.as_bytes()).unwrap()];
        verify(own(), "reg.example", DAY).unwrap();
        assert!(is_authority(&verify(Vec::new(), "reg.example", DAY).unwrap_err()));
        let other = verify(own(), "other.example", DAY).unwrap_err().to_string();
        assert!(other.contains("other.example"), "{other}");
        for at in [DAY - 10 * 86_400, DAY + 20 * 365 * 86_400] {
            let error = verify(own(), "reg.example", at).unwrap_err();
            assert!(!is_authority(&error) && error.to_string().contains("certificate"), "{error}");
        }
    }
}
