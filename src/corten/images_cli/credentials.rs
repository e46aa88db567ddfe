//! Where the command line finds the credentials of a registry.

use crate::admin::Secrets;
use crate::error::Error;
use cli::image::CredentialArgs;
use image::{Credentials, ImageError, Reference};
use serde::Deserialize;
use std::collections::HashMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Credentials and where they are from.
pub(crate) struct Found {
    pub(crate) secrets: Option<Secrets>,
    /// The source, by name.
    pub(crate) source: String,
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: HashMap<String, Entry>,
    #[serde(rename = "credHelpers", default)]
    helpers: HashMap<String, String>,
    #[serde(rename = "credsStore", default)]
    store: Option<String>,
}

#[derive(Deserialize, Default)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(rename = "identitytoken", default)]
    identity_token: String,
    #[serde(rename = "registrytoken", default)]
    registry_token: String,
}

/// The credentials for the registry of this reference.
///
/// # Errors
/// When a file that is named, or stdin, cannot be read.
pub(crate) fn find(args: &CredentialArgs, reference: &str) -> Result<Found, Error> {
    if let Some(text) = &args.creds {
        return given(args, text);
    }
    let registry = match Reference::parse(reference) {
        Ok(reference) => reference.registry().to_owned(),
        // The daemon says what is wrong with it.
        Err(_) => return Ok(Found { secrets: None, source: "none".to_owned() }),
    };
    let Some((path, named)) = file(args) else {
        return Ok(Found { secrets: None, source: "none".to_owned() });
    };
    let refuse = |reason: String| Error::Credentials { path: path.clone(), reason };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !named => {
            return Ok(Found { secrets: None, source: format!("none ({} does not exist)", path.display()) });
        }
        Err(error) => return Err(refuse(error.to_string())),
    };
    // The parser's message tells line and column, and would quote what may be a secret.
    let config: DockerConfig = serde_json::from_str(&text)
        .map_err(|error| refuse(format!("malformed at line {}, column {}", error.line(), error.column())))?;
    let found = config.find(&registry, &path);
    match found.secrets.clone().map(|secrets| Credentials::from(secrets).check()) {
        Some(Err(ImageError::Credentials(problem))) => {
            Err(refuse(format!("its entry for {registry}: {problem}")))
        }
        Some(Err(error)) => Err(refuse(error.to_string())),
        Some(Ok(())) | None => Ok(found),
    }
}

fn given(args: &CredentialArgs, text: &str) -> Result<Found, Error> {
    let (username, password) = match (text.split_once(':'), args.password_stdin) {
        (None, false) | (Some(_), true) => {
            let reason = "--creds takes USER:PASSWORD, or USER together with --password-stdin".to_owned();
            return Err(Error::Credentials { path: "--creds".into(), reason });
        }
        (Some((user, password)), false) => (user.to_owned(), password.to_owned()),
        (None, true) => (text.to_owned(), password_from_stdin()?),
    };
    let secrets = Some(Secrets { username, password, ..Secrets::default() });
    Ok(Found { secrets, source: "--creds".to_owned() })
}

/// The file to look into, and whether it must be there.
fn file(args: &CredentialArgs) -> Option<(PathBuf, bool)> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = &args.authfile {
        return Some((path.clone(), true));
    }
    if let Some(path) = variable("REGISTRY_AUTH_FILE") {
        return Some((path, true));
    }
    let directory = variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")));
    Some((directory?.join("config.json"), false))
}

impl DockerConfig {
    fn find(mut self, registry: &str, path: &Path) -> Found {
        let keys = match registry {
            "docker.io" => vec!["https://index.docker.io/v1/", "index.docker.io", "docker.io"],
            other => vec![other],
        };
        let spelled = |key: &str| {
            let bare = key.split_once("://").map_or(key, |(_, rest)| rest);
            bare.split('/').next().unwrap_or_default().to_owned()
        };
        let known = self.auths.keys().find(|key| {
            keys.contains(&key.as_str())
                || keys.iter().any(|wanted| spelled(key).eq_ignore_ascii_case(wanted))
        });
        let known = known.cloned();
        let entry = known.and_then(|key| self.auths.remove(&key)).unwrap_or_default();
        let secrets = Secrets {
            username: entry.username,
            password: entry.password,
            auth: entry.auth,
            identity_token: entry.identity_token,
            registry_token: entry.registry_token,
        };
        let empty = [&secrets.username, &secrets.auth, &secrets.identity_token, &secrets.registry_token]
            .iter()
            .all(|text| text.is_empty());
        if !empty {
            return Found { secrets: Some(secrets), source: path.display().to_string() };
        }
        let helper = self.helpers.get(registry).or(self.store.as_ref());
        let source = match helper {
            Some(helper) => {
                format!("none ({} leaves it to docker-credential-{helper}, which is not run)", path.display())
            }
            None => format!("none ({} knows no {registry})", path.display()),
        };
        Found { secrets: None, source }
    }
}

fn password_from_stdin() -> Result<String, Error> {
    let mut text = String::new();
    let read = io::stdin().lock().take(64 << 10).read_to_string(&mut text);
    read.map_err(|error| Error::Credentials { path: "stdin".into(), reason: error.to_string() })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn find(registry: &str) -> Found {
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"aHVi"},"Reg.example:5000":{"username":"u",
            "password":"p"},"empty.example":{}},"credHelpers":{"empty.example":"secretservice"}}"#;
        let config: DockerConfig = serde_json::from_str(text).unwrap();
        config.find(registry, Path::new("/x/config.json"))
    }

    #[test]
    fn an_entry_that_is_wrong_is_told_with_its_file_and_registry() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        std::fs::write(&path, r#"{"auths":{"reg.example":{"auth":"c2VjcmV0"},"b.example":{"auth":"!!"}}}"#)
            .unwrap();
        let args = CredentialArgs { creds: None, password_stdin: false, authfile: Some(path.clone()) };
        for (image, told) in [
            ("reg.example/app", "its entry for reg.example: "),
            ("b.example/app", "its entry for b.example: auth is not base64"),
        ] {
            let error = super::find(&args, image).err().unwrap().to_string();
            let start = format!("cannot use the credentials of {}: {told}", path.display());
            assert!(error.starts_with(&start) && !error.contains("secret"), "{error}");
        }
        assert!(super::find(&args, "c.example/app").is_ok());
    }

    #[test]
    fn the_entry_of_a_registry_is_found_as_docker_spells_it() {
        assert_eq!(find("docker.io").secrets.unwrap().auth, "aHVi");
        assert_eq!(find("reg.example:5000").secrets.unwrap().password, "p");
        assert_eq!(find("reg.example:5000").source, "/x/config.json");
        assert!(find("reg.example").secrets.is_none());
        let helped = find("empty.example");
        assert!(helped.secrets.is_none() && helped.source.contains("docker-credential-secretservice"));
    }
}
