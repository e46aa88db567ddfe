//! What went wrong on the way to a host, in words that say what to do.

use super::answer::Answer;
use super::names::NameError;
use crate::hosts::{Host, is_authority};
use rustls::{AlertDescription, CertificateError, Error as TlsError, InvalidMessage, PeerIncompatible};
use std::error::Error;
use std::path::PathBuf;

/// Of a server that found nothing to use in what it was offered.
const NO_SUITE: &str = "offers none of the TLS cipher suites that this node takes, which are those of AES-GCM and \
    ChaCha20-Poly1305, with ECDHE (not AES-CBC, and no exchange of keys by RSA or DHE): enable one of them there";

/// Whom the node trusts to be a host, and where that is said.
pub(super) struct Trust {
    /// The `hosts.toml`.
    file: PathBuf,
    /// The authorities that it names.
    ca: Vec<PathBuf>,
}

impl Trust {
    pub(super) fn of(host: &Host) -> Self {
        Self { file: host.file.clone(), ca: host.ca.iter().map(|pem| pem.path.clone()).collect() }
    }

    /// What to do so that a certificate is trusted.
    fn remedy(&self, whose: &str) -> String {
        let file = self.file.display();
        match self.ca.as_slice() {
            [] => format!("to trust it, name {whose} as `ca` in {file}"),
            known => {
                let known: Vec<String> = known.iter().map(|path| path.display().to_string()).collect();
                format!(
                    "it is none of those in {}, which {file} names as `ca`: name {whose} there",
                    known.join(", ")
                )
            }
        }
    }
}

/// The answer of a host that could not be spoken to.
pub(super) fn unreachable(error: &reqwest::Error, trust: &Trust) -> Answer {
    match tls_error(error).and_then(|error| tls(error, trust)) {
        Some(problem) => Answer::Tls { problem },
        None => Answer::Unreachable { reason: causes(error) },
    }
}

/// The chain of causes without the address, whose query may be a signature. That a name has no address says it all.
pub(crate) fn causes(error: &reqwest::Error) -> String {
    if let Some(error) = name_error(error) {
        return error.to_string();
    }
    let mut text = if error.is_timeout() {
        "timed out".to_owned()
    } else if error.is_connect() {
        "no connection".to_owned()
    } else {
        "request failed".to_owned()
    };
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn name_error(error: &reqwest::Error) -> Option<&NameError> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        source = cause.source();
    }
    None
}

/// The failure of TLS among the causes. One inside of an I/O error is none of that one's sources.
fn tls_error(error: &reqwest::Error) -> Option<&TlsError> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref::<TlsError>() {
            return Some(found);
        }
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        source = match inner {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    None
}

fn tls(error: &TlsError, trust: &Trust) -> Option<String> {
    let file = trust.file.display();
    Some(match error {
        error if is_authority(error) => {
            let remedy = trust.remedy("that very certificate");
            format!("has a certificate that is an authority's own; {remedy}")
        }
        TlsError::InvalidCertificate(problem) => certificate(problem, trust),
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => {
            format!("answers plain HTTP on that port; if that is meant, write http:// in {file}")
        }
        TlsError::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA,
        ) => {
            format!(
                "wants a client's certificate from an authority that it knows; name one as `client` in {file}"
            )
        }
        TlsError::AlertReceived(AlertDescription::ProtocolVersion)
        | TlsError::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "offers neither TLS 1.2 nor TLS 1.3, and this node takes no older version".to_owned(),
        TlsError::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity,
        )
        | TlsError::PeerIncompatible(_) => NO_SUITE.to_owned(),
        _ => return None,
    })
}

fn certificate(problem: &CertificateError, trust: &Trust) -> String {
    match problem {
        CertificateError::UnknownIssuer => format!(
            "has a certificate of an authority that this node does not know; {}",
            trust.remedy("the authority's file")
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has a certificate that has expired, or this node's clock is wrong".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "has a certificate that is not valid yet, or this node's clock is wrong".to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<&str> = presented.iter().take(5).map(|name| plain(name)).collect();
            if names.is_empty() {
                return "has a certificate without any name: it needs the host's as a subjectAltName, a common name does \
                    not count"
                    .to_owned();
            }
            format!("has a certificate for another host: {}", names.join(", "))
        }
        CertificateError::NotValidForName => "has a certificate for another host".to_owned(),
        CertificateError::BadSignature => format!(
            "has a certificate that the authority of its issuer's name has not signed: if that authority was made anew, \
             put its present file in the place of `ca` in {}",
            trust.file.display()
        ),
        other => format!("has a certificate that is not accepted: {other}"),
    }
}

/// `name` of `DnsName("name")`.
fn plain(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rustls::pki_types::ServerName;

    #[test]
    fn words_on_certificates_say_what_to_do() {
        let expected = ServerName::try_from("registry.test").unwrap();
        let nameless = CertificateError::NotValidForNameContext { expected, presented: Vec::new() };
        let trust = |ca: &[&str]| Trust {
            file: "/c/r/hosts.toml".into(),
            ca: ca.iter().map(PathBuf::from).collect(),
        };
        assert!(certificate(&nameless, &trust(&[])).contains("subjectAltName"));
        let again = certificate(&CertificateError::BadSignature, &trust(&["/c/r/old.pem"]));
        assert!(again.ends_with("in the place of `ca` in /c/r/hosts.toml"), "{again}");
        let unknown = certificate(&CertificateError::UnknownIssuer, &trust(&[]));
        assert!(
            unknown.ends_with("; to trust it, name the authority's file as `ca` in /c/r/hosts.toml"),
            "{unknown}"
        );
        let other = certificate(&CertificateError::UnknownIssuer, &trust(&["/c/r/a.pem", "/c/b.pem"]));
        let told = "it is none of those in /c/r/a.pem, /c/b.pem, which /c/r/hosts.toml names as `ca`: name the authority's \
            file there";
        assert!(other.ends_with(told), "{other}");
    }
}
