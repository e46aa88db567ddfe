//! What went wrong on the way to a host, in words that say what to do.

use super::answer::Answer;
use super::names::NameError;
use crate::hosts::is_authority;
use rustls::{AlertDescription, CertificateError, Error as TlsError, InvalidMessage, PeerIncompatible};
use std::error::Error;

/// Of a server that found nothing to use in what it was offered.
const NO_SUITE: &str = "offers none of the TLS cipher suites that this node takes, which are those of AES-GCM and \
    ChaCha20-Poly1305, with ECDHE (not AES-CBC, and no exchange of keys by RSA or DHE): enable one of them there";

/// The answer of a host that could not be spoken to; `registry` is the directory of its configuration.
pub(super) fn unreachable(error: &reqwest::Error, registry: &str) -> Answer {
    match tls_error(error).and_then(|error| tls(error, registry)) {
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

fn tls(error: &TlsError, registry: &str) -> Option<String> {
    let file = format!("certs.d/{registry}/hosts.toml");
    Some(match error {
        error if is_authority(error) => format!(
            "has a certificate that is an authority's own; to trust it, name that very certificate as `ca` in {file}"
        ),
        TlsError::InvalidCertificate(problem) => certificate(problem, &file),
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

fn certificate(problem: &CertificateError, file: &str) -> String {
    match problem {
        CertificateError::UnknownIssuer => format!(
            "has a certificate of an authority that this node does not know; name the authority's file as `ca` in {file}"
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
             put its present file in the place of `ca` in {file}"
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
        assert!(certificate(&nameless, "certs.d/r/hosts.toml").contains("subjectAltName"));
        let again = certificate(&CertificateError::BadSignature, "certs.d/r/hosts.toml");
        assert!(again.ends_with("in the place of `ca` in certs.d/r/hosts.toml"), "{again}");
    }
}
