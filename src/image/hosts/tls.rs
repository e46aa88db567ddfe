//! The TLS configuration of a host.

use super::signatures;
use super::{Host, HostsError, MAX_BYTES, Pem};
use crate::digest::{Digest, Hasher};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
};
use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

/// What the files of a client are there for.
const CA: &str = "ca";
const CERTIFICATE: &str = "client certificate";
const KEY: &str = "key of a client certificate";
/// What a PEM file has of a key that takes a passphrase.
const ENCRYPTED: &[u8] = b"ENCRYPTED PRIVATE KEY-----";

/// How TLS is spoken to a host.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    pub config: ClientConfig,
    /// The same for hosts to which it is spoken alike: of everything that was read for it.
    pub identity: Digest,
}

/// The system's roots plus the host's own, its client certificate, and whether anything is verified.
///
/// # Errors
/// When a certificate or key file is unusable.
pub(crate) fn client_config(host: &Host) -> Result<Tls, HostsError> {
    let seen = RefCell::new(Hasher::default());
    seen.borrow_mut().update(if host.skip_verify { b"anything" } else { b"verified" });
    let config = config(host, &seen)?;
    Ok(Tls { config, identity: seen.into_inner().finish() })
}

fn config(host: &Host, seen: &RefCell<Hasher>) -> Result<ClientConfig, HostsError> {
    let mut errors = Vec::new();
    let (roots, own) = trusted(host, seen, &mut errors);
    let identity = identity(host, seen, &mut errors);
    if let Some(error) = HostsError::all(errors) {
        return Err(error);
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
        let inner = verifier.map_err(|error| HostsError::Tls(error.to_string()))?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(OrNamed { inner, own }))
    };
    let Some(Identity { certificate, key, chain, private }) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    builder.with_client_auth_cert(chain, private).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            key.problem(&format!("it is not the key of the certificate {}", certificate.pem.path.display()))
        }
        other => certificate.problem(&other),
    })
}

/// The system's roots and the host's own; the latter by themselves, too.
fn trusted(
    host: &Host,
    seen: &RefCell<Hasher>,
    errors: &mut Vec<HostsError>,
) -> (RootCertStore, Vec<CertificateDer<'static>>) {
    let (mut roots, mut own) = (system_roots().clone(), Vec::new());
    for pem in &host.ca {
        let file = PemFile { host, role: CA, pem, seen };
        match file.certificates() {
            Ok(found) => {
                for certificate in found {
                    match roots.add(certificate.clone()) {
                        Ok(()) => own.push(certificate),
                        Err(error) => errors.push(file.problem(&error)),
                    }
                }
            }
            Err(error) => errors.push(error),
        }
    }
    (roots, own)
}

/// By what the host knows this node.
struct Identity<'a> {
    certificate: PemFile<'a>,
    key: PemFile<'a>,
    chain: Vec<CertificateDer<'static>>,
    private: PrivateKeyDer<'static>,
}

/// One client certificate is what TLS asks for; of several the first is used.
fn identity<'a>(
    host: &'a Host,
    seen: &'a RefCell<Hasher>,
    errors: &mut Vec<HostsError>,
) -> Option<Identity<'a>> {
    let (pem, key) = host.client.first()?;
    let certificate = PemFile { host, role: CERTIFICATE, pem, seen };
    let key = PemFile { host, role: KEY, pem: key.as_ref().unwrap_or(pem), seen };
    match (certificate.certificates(), key.key()) {
        (Ok(chain), Ok(private)) => Some(Identity { certificate, key, chain, private }),
        (chain, private) => {
            // Where both are to be in one file that cannot be read, that is one mistake.
            let is_one = chain.is_err() && key.pem.path == pem.path;
            errors.extend(chain.err());
            errors.extend(private.err().filter(|_| !is_one));
            None
        }
    }
}

/// A file, and what it is there for.
#[derive(Clone, Copy)]
struct PemFile<'a> {
    host: &'a Host,
    role: &'static str,
    pem: &'a Pem,
    seen: &'a RefCell<Hasher>,
}

impl PemFile<'_> {
    fn problem(&self, error: &dyn std::fmt::Display) -> HostsError {
        HostsError::Certificate {
            at: self.pem.line.map(|line| (self.host.file.clone(), line)),
            role: self.role,
            path: self.pem.path.clone(),
            problem: error.to_string(),
        }
    }

    fn read(&self) -> Result<Vec<u8>, HostsError> {
        let bytes = sys::regular::read(&self.pem.path, MAX_BYTES).map_err(|error| self.problem(&error))?;
        let mut seen = self.seen.borrow_mut();
        // Neither can be taken for the other, nor two files for one.
        seen.update(self.role.as_bytes());
        seen.update(&(bytes.len() as u64).to_le_bytes());
        seen.update(&bytes);
        Ok(bytes)
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, HostsError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.read()?).collect();
        let found = found.map_err(|error| self.unusable(error))?;
        if found.is_empty() {
            return Err(self.problem(&"it holds no certificate"));
        }
        Ok(found)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, HostsError> {
        let text = self.read()?;
        let is_encrypted = text.windows(ENCRYPTED.len()).any(|part| part == ENCRYPTED);
        PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound if is_encrypted => {
                self.problem(&"it is encrypted, and nobody is there to type the passphrase (`openssl pkey` writes it without)")
            }
            error => self.unusable(error),
        })
    }

    fn unusable(&self, error: pem::Error) -> HostsError {
        match error {
            pem::Error::NoItemsFound => self.problem(&"it holds none"),
            other => self.problem(&format!("it is no PEM file: {other}")),
        }
    }
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
    fn hosts_share_an_identity_where_the_same_was_read_for_them_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        std::fs::write(&path, OWN).unwrap();
        let plain = |address: &str| crate::hosts::bare(reqwest::Url::parse(address).unwrap(), "reg.example");
        let identity = |host: &Host| client_config(host).unwrap().identity;
        let own = Host { ca: vec![Pem { path: path.clone(), line: None }], ..plain("https://a/v2") };
        let careless = Host { skip_verify: true, ..plain("https://a/v2") };
        assert_eq!(identity(&plain("https://a/v2")), identity(&plain("https://b/v2")));
        assert_eq!(identity(&own), identity(&own));
        let (before, both) = (identity(&own), Host { skip_verify: true, ..own.clone() });
        std::fs::write(&path, format!("{OWN}\n")).unwrap();
        let all =
            [before, identity(&own), identity(&both), identity(&careless), identity(&plain("https://a/v2"))];
        for (number, one) in all.iter().enumerate() {
            assert!(!all[..number].contains(one), "{number}");
        }
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
