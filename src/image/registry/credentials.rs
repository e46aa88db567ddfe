//! Who pulls.

use crate::digest::Digest;
use crate::error::ImageError;
use crate::hosts::origin;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use reqwest::Url;
use std::fmt;

/// What a client knows of a registry account (CRI `AuthConfig`). Empty fields are unset.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User name, with `password`.
    pub username: String,
    /// Password.
    pub password: String,
    /// Base64 of `user:password`, as in Docker's configuration.
    pub auth: String,
    /// The host to which they belong; empty: the registry of the reference.
    pub server_address: String,
    /// An OAuth2 refresh token.
    pub identity_token: String,
    /// A token to send as it is.
    pub registry_token: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("server_address", &self.server_address).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Whether they can be sent.
    ///
    /// # Errors
    /// [`ImageError::Credentials`].
    pub fn check(&self) -> Result<(), ImageError> {
        Login::new(self).map(drop)
    }
}

/// Checked credentials: what to send and where they belong.
#[derive(Clone)]
pub(crate) struct Login {
    pub secret: Secret,
    /// Host and port, lower case; `None`: the reference's registry.
    server: Option<String>,
    /// Tells one login from another without holding it.
    pub fingerprint: Digest,
}

#[derive(Clone)]
pub(crate) enum Secret {
    Password { user: String, password: String },
    Identity { user: String, token: String },
    Registry { token: String },
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.secret.kind())
    }
}

impl Secret {
    /// The kind of credential, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Password { .. } => "a user name and password",
            Self::Identity { .. } => "an identity token",
            Self::Registry { .. } => "a registry token",
        }
    }

    /// What of it must not be shown.
    pub(super) fn hidden(&self) -> Vec<&str> {
        match self {
            Self::Password { password, .. } => vec![password],
            Self::Identity { token, .. } | Self::Registry { token } => vec![token],
        }
    }
}

impl Login {
    /// Checks the fields; `None` when all are empty: an anonymous pull.
    ///
    /// # Errors
    /// When `auth` is not the base64 of `user:password`.
    pub(crate) fn new(credentials: &Credentials) -> Result<Option<Self>, ImageError> {
        let secret = if !credentials.registry_token.is_empty() {
            Secret::Registry { token: credentials.registry_token.clone() }
        } else if !credentials.identity_token.is_empty() {
            Secret::Identity { user: credentials.username.clone(), token: credentials.identity_token.clone() }
        } else if !credentials.username.is_empty() || !credentials.password.is_empty() {
            Secret::Password { user: credentials.username.clone(), password: credentials.password.clone() }
        } else if !credentials.auth.is_empty() {
            let (user, password) = decode(&credentials.auth)?;
            Secret::Password { user, password }
        } else {
            return Ok(None);
        };
        let (kind, user, text) = match &secret {
            Secret::Password { user, password } => ("password", user.as_str(), password),
            Secret::Identity { user, token } => ("identity", user.as_str(), token),
            Secret::Registry { token } => ("registry", "", token),
        };
        let server = Some(server_host(&credentials.server_address)).filter(|server| !server.is_empty());
        let fingerprint = Digest::of(format!("{kind}\0{user}\0{text}\0{server:?}").as_bytes());
        Ok(Some(Self { secret, server, fingerprint }))
    }

    /// The host to which they belong.
    pub(crate) fn home<'a>(&'a self, registry: &'a str) -> &'a str {
        self.server.as_deref().unwrap_or(registry)
    }

    /// Whether these credentials may be sent to the host: it is the one that they name or, where they name
    /// none, the registry of the reference. A mirror never gets what was meant for the registry.
    pub(crate) fn belongs_to(&self, base: &Url, registry: &str) -> bool {
        let server = docker_hub(self.home(registry));
        let name = origin(base);
        let host = name.split_once("://").map_or("", |(_, host)| host);
        let default = if base.scheme() == "http" { "80" } else { "443" };
        host.eq_ignore_ascii_case(server) || format!("{host}:{default}").eq_ignore_ascii_case(server)
    }
}

fn docker_hub(server: &str) -> &str {
    match server {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        _ => server,
    }
}

/// `https://index.docker.io/v1/` is what Docker's configuration writes for a host.
fn server_host(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split('/').next().unwrap_or("").to_ascii_lowercase()
}

fn decode(auth: &str) -> Result<(String, String), ImageError> {
    let text = auth.trim().trim_end_matches('=');
    let bytes = STANDARD_NO_PAD
        .decode(text)
        .or_else(|_| STANDARD.decode(auth.trim()))
        .map_err(|_| ImageError::Credentials("auth is not base64"))?;
    let text = String::from_utf8(bytes).map_err(|_| ImageError::Credentials("auth is not text in base64"))?;
    // Docker's own configurations may end in zero bytes.
    let text = text.trim_end_matches('\0');
    let (user, password) =
        text.split_once(':').ok_or(ImageError::Credentials("auth is not user:password in base64"))?;
    Ok((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn login(credentials: &Credentials) -> Login {
        Login::new(credentials).unwrap().unwrap()
    }

    #[test]
    fn auth_is_user_and_password_in_base64() {
        let auth = |text: &str| Login::new(&Credentials { auth: text.into(), ..Default::default() });
        let good = STANDARD.encode("user:pa:ss");
        match auth(&good).unwrap().unwrap().secret {
            Secret::Password { user, password } => {
                assert_eq!((user.as_str(), password.as_str()), ("user", "pa:ss"));
            }
            other => panic!("{}", other.kind()),
        }
        for bad in ["!!!", &STANDARD.encode("nocolon"), &STANDARD.encode([0xff, 0xfe])] {
            let error = auth(bad).unwrap_err().to_string();
            assert!(!error.contains(bad) && !error.contains("nocolon"), "{error}");
        }
        assert!(Login::new(&Credentials::default()).unwrap().is_none());
    }

    #[test]
    fn credentials_stay_with_their_host() {
        let url = |text: &str| Url::parse(text).unwrap();
        let own = login(&Credentials { username: "u".into(), ..Default::default() });
        assert!(own.belongs_to(&url("https://reg.example/v2"), "reg.example"));
        assert!(own.belongs_to(&url("https://reg.example/v2"), "reg.example:443"));
        assert!(own.belongs_to(&url("https://registry-1.docker.io/v2"), "docker.io"));
        assert!(!own.belongs_to(&url("https://mirror.example/v2"), "reg.example"));
        assert!(!own.belongs_to(&url("https://reg.example:8443/v2"), "reg.example"));
        let named = login(&Credentials {
            username: "u".into(),
            server_address: "https://Mirror.example:5000/v1/".into(),
            ..Default::default()
        });
        assert!(named.belongs_to(&url("http://mirror.example:5000/v2"), "reg.example"));
        assert!(!named.belongs_to(&url("https://reg.example/v2"), "reg.example"));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let credentials = Credentials {
            username: "u-secret".into(),
            password: "p-secret".into(),
            identity_token: "i-secret".into(),
            ..Default::default()
        };
        let text = format!("{credentials:?} {:?}", login(&credentials));
        assert!(!text.contains("secret"), "{text}");
    }
}
