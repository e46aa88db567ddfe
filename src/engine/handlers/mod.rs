//! Handlers: how the containers of a pod are run, by the name that a RuntimeClass gives.

mod bundle;
mod command;
mod features;

pub(crate) use bundle::{ExecFile, last_error, remove};
pub(crate) use command::Runtime;

use crate::error::EngineError;
use crate::settings::Settings;
use crate::view::HandlerInfo;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The name of the handler that is always there.
const NATIVE: &str = "native";

/// One handler; a `[handlers.NAME]` section of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandlerSettings {
    /// How containers are run.
    #[serde(rename = "type")]
    pub kind: HandlerKind,
    /// The runtime's program, absolute; for `oci` only.
    #[serde(default)]
    pub binary: PathBuf,
    /// Where the runtime keeps its state (its `--root`); empty: `handlers/NAME` in the state directory.
    #[serde(default)]
    pub root: PathBuf,
    /// Options of the runtime, before its commands.
    #[serde(default)]
    pub args: Vec<String>,
}

/// How a handler runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandlerKind {
    /// By the shim itself.
    Native,
    /// By the command line of an OCI runtime such as runc or crun.
    Oci,
}

/// A handler that can be asked for.
#[derive(Debug)]
pub(crate) enum Handler {
    /// The shim itself.
    Native,
    /// A runtime.
    Oci(Runtime),
}

/// Every handler.
#[derive(Debug)]
pub(crate) struct Handlers {
    default: String,
    named: BTreeMap<String, Handler>,
}

impl Handlers {
    /// Reads the settings and asks each runtime what it can do. A runtime that is not installed stays on the list: its pods
    /// are refused until it is.
    ///
    /// # Errors
    /// [`EngineError::Handler`] for settings that make no sense.
    pub(crate) async fn open(settings: &Settings, state: &Path) -> Result<Self, EngineError> {
        let mut named = BTreeMap::from([(NATIVE.to_owned(), Handler::Native)]);
        for (name, one) in &settings.handlers {
            let refuse =
                |problem: &str| EngineError::Handler { name: name.clone(), problem: problem.to_owned() };
            if name.is_empty()
                || !name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
            {
                return Err(refuse("is no name for a handler"));
            }
            let handler = match one.kind {
                HandlerKind::Native => Handler::Native,
                HandlerKind::Oci if name == NATIVE => return Err(refuse("is the name of the built-in one")),
                HandlerKind::Oci if !one.binary.is_absolute() => {
                    return Err(refuse("needs the absolute path of a binary"));
                }
                HandlerKind::Oci => Handler::Oci(Runtime::probe(name, one, state).await?),
            };
            named.insert(name.clone(), handler);
        }
        let default = settings.default_handler.clone();
        if !named.contains_key(&default) {
            return Err(EngineError::Handler {
                name: default,
                problem: "is the default, and is not configured".to_owned(),
            });
        }
        Ok(Self { default, named })
    }

    /// The handler of a name; the empty one is the default.
    ///
    /// # Errors
    /// [`EngineError::UnknownHandler`].
    pub(crate) fn find(&self, name: &str) -> Result<&Handler, EngineError> {
        let name = if name.is_empty() { &self.default } else { name };
        self.named.get(name).ok_or_else(|| EngineError::UnknownHandler {
            name: name.to_owned(),
            known: self.named.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        })
    }

    /// The runtime of a name, where that is how it runs containers.
    pub(crate) fn runtime(&self, name: &str) -> Option<&Runtime> {
        match self.find(name) {
            Ok(Handler::Oci(runtime)) => Some(runtime),
            _ => None,
        }
    }

    /// What Status tells of them, the default first; `native` is what the shim can do.
    pub(crate) fn info(&self, native: &HandlerInfo) -> Vec<HandlerInfo> {
        let info = |name: &str, handler: &Handler| match handler {
            Handler::Native => HandlerInfo { name: name.to_owned(), ..native.clone() },
            Handler::Oci(runtime) => HandlerInfo {
                name: name.to_owned(),
                recursive_read_only: native.recursive_read_only && runtime.features().recursive_read_only,
                user_namespaces: native.user_namespaces && runtime.features().runs_user_namespaces(),
            },
        };
        let default = self.named.get(&self.default).map(|handler| info("", handler));
        default.into_iter().chain(self.named.iter().map(|(name, handler)| info(name, handler))).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(name: &str, kind: HandlerKind, binary: &str) -> Settings {
        let one = HandlerSettings { kind, binary: binary.into(), root: PathBuf::new(), args: Vec::new() };
        Settings { handlers: BTreeMap::from([(name.to_owned(), one)]), ..Settings::default() }
    }

    async fn open(settings: &Settings) -> Result<Handlers, EngineError> {
        Handlers::open(settings, Path::new("/run/nowhere")).await
    }

    #[tokio::test]
    async fn the_empty_name_is_the_default() {
        let handlers = open(&settings("fast", HandlerKind::Native, "")).await.unwrap();
        assert!(matches!(handlers.find("").unwrap(), Handler::Native));
        assert!(matches!(handlers.find("fast").unwrap(), Handler::Native));
        let error = handlers.find("kata").unwrap_err().to_string();
        assert!(error.contains("kata") && error.contains("fast, native"), "{error}");
        let native = HandlerInfo { name: String::new(), recursive_read_only: true, user_namespaces: true };
        let names: Vec<String> = handlers.info(&native).into_iter().map(|info| info.name).collect();
        assert_eq!(names, ["", "fast", "native"]);
    }

    #[tokio::test]
    async fn settings_that_make_no_sense_are_refused() {
        for (name, kind, binary) in [
            ("native", HandlerKind::Oci, "/usr/bin/true"),
            ("x", HandlerKind::Oci, "crun"),
            ("a/b", HandlerKind::Native, ""),
        ] {
            assert!(open(&settings(name, kind, binary)).await.is_err(), "{name}");
        }
        let missing = Settings { default_handler: "gone".to_owned(), ..Settings::default() };
        assert!(open(&missing).await.is_err());
    }

    #[tokio::test]
    async fn a_runtime_that_is_not_installed_is_listed_and_refused() {
        let handlers = open(&settings("gone", HandlerKind::Oci, "/nowhere/runtime")).await.unwrap();
        let runtime = handlers.runtime("gone").unwrap();
        assert!(runtime.check().unwrap_err().to_string().contains("/nowhere/runtime"));
        assert!(!runtime.features().recursive_read_only);
    }
}
