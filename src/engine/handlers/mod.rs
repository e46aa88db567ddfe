//! Handlers: how the containers of a pod are run, by the name that a RuntimeClass gives.

mod bundle;
mod command;
mod features;
mod handler;
mod native;
mod rlimits;

pub(crate) use bundle::{ExecFile, last_error};
pub use handler::HandlerInfo;
pub(crate) use handler::{CommandLine, Handler, Home};

use crate::error::EngineError;
use crate::in_memory::Pod;
use crate::settings::{HostProblem, SettingError, Settings};
use command::Runtime;
use oci::OciResult;
use oci::rlimits::Rlimits;
use oci::spec::HostDevices;
use oci_spec::runtime::PosixRlimit;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the handler that is always there.
const NATIVE: &str = "native";
/// What runtimes keep that are not told where, below the state directory: a directory by the handler's name.
const DIR: &str = "handlers";

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
    /// Limits of the processes of containers by name, in the place of those of `runtime.rlimits`.
    #[serde(default)]
    pub rlimits: BTreeMap<String, String>,
    /// A privileged container sees and may use none of the host's devices but those that it asks for.
    #[serde(default)]
    pub privileged_without_host_devices: bool,
    /// Beside it: a privileged container may use every device all the same, once it has made a node for it.
    #[serde(default)]
    pub privileged_without_host_devices_all_devices_allowed: bool,
}

impl HandlerSettings {
    fn host_devices(&self) -> HostDevices {
        match (self.privileged_without_host_devices, self.privileged_without_host_devices_all_devices_allowed)
        {
            (false, _) => HostDevices::Shown,
            (true, true) => HostDevices::Allowed,
            (true, false) => HostDevices::None,
        }
    }

    fn check(&self, name: &str) -> Vec<SettingError> {
        let mut problems = Vec::new();
        let mut refuse = |wrong: bool, key: &str, problem: &str| {
            if wrong {
                problems.push(SettingError::new(format!("handlers.{name}{key}"), problem));
            }
        };
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
        let is_plain = !name.is_empty() && name.bytes().all(plain);
        refuse(!is_plain, "", "the name of a handler has letters, digits, `-`, `_` and `.` only");
        let (is_oci, names_binary) = (self.kind == HandlerKind::Oci, !self.binary.as_os_str().is_empty());
        let is_native = is_oci && name == NATIVE;
        refuse(is_native, "", "this is the name of the built-in handler, which runs no other program");
        let lacks = "a handler of the type oci needs one: the absolute path of the runtime";
        refuse(is_oci && !names_binary, ".binary", lacks);
        let is_relative = is_oci && names_binary && !self.binary.is_absolute();
        refuse(is_relative, ".binary", "expected an absolute path");
        let has_program = names_binary || !self.args.is_empty();
        refuse(!is_oci && has_program, ".binary", "only a handler of the type oci runs a program");
        let is_relative = !self.root.as_os_str().is_empty() && !self.root.is_absolute();
        refuse(is_relative, ".root", "expected an absolute path, or nothing");
        refuse(
            self.privileged_without_host_devices_all_devices_allowed && !self.privileged_without_host_devices,
            ".privileged_without_host_devices_all_devices_allowed",
            "needs privileged_without_host_devices beside it",
        );
        let key = format!("handlers.{name}.rlimits");
        let rlimits = Rlimits::parse(&key, &self.rlimits).err();
        problems.extend(rlimits.map(|error| SettingError::of(key, error)));
        problems
    }
}

/// What of the handlers makes no sense on any host.
pub(crate) fn check(settings: &Settings) -> Vec<SettingError> {
    let each = settings.handlers.iter().flat_map(|(name, one)| one.check(name));
    let mut problems: Vec<SettingError> = each.collect();
    let default = &settings.default_handler;
    if default != NATIVE && !settings.handlers.contains_key(default) {
        let known: Vec<&str> = settings.handlers.keys().map(String::as_str).chain([NATIVE]).collect();
        let problem = format!("no handler `{default}` is configured; there are {}", known.join(", "));
        problems.push(SettingError::new("runtime.default_handler", problem));
    }
    problems
}

/// The programs of handlers that this host lacks, and limits of processes that it does not allow.
pub(crate) fn check_host(settings: &Settings) -> Vec<HostProblem> {
    let programs = settings.handlers.iter().filter(|(_, handler)| handler.kind == HandlerKind::Oci);
    let missing = programs.filter_map(|(name, handler)| {
        let path = &handler.binary;
        let (_, problem) = crate::runtime::executable(path).err()?;
        let problem =
            format!("{}: {problem}: pods of this handler are refused until it is there", path.display());
        Some(HostProblem::tolerated(format!("handlers.{name}.binary"), problem))
    });
    missing.chain(rlimits::check_host(settings)).collect()
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

/// Every handler.
#[derive(Debug)]
pub(crate) struct Handlers {
    default: String,
    named: BTreeMap<String, Arc<dyn Handler>>,
    /// Where it is not the usual.
    host_devices: BTreeMap<String, HostDevices>,
    rlimits: rlimits::ByHandler,
}

impl Handlers {
    /// Reads the settings and asks each runtime what it can do. A runtime that is not installed stays on the list: its pods
    /// are refused until it is.
    ///
    /// # Errors
    /// [`EngineError::Setting`] for settings that make no sense.
    pub(crate) async fn open(settings: &Settings, state: &Path) -> Result<Self, EngineError> {
        if let Some(problem) = check(settings).into_iter().next() {
            return Err(problem.into());
        }
        let mut named = BTreeMap::from([(NATIVE.to_owned(), native())]);
        let mut host_devices = BTreeMap::new();
        for (name, one) in &settings.handlers {
            let handler = match one.kind {
                HandlerKind::Native => native(),
                HandlerKind::Oci => Arc::new(Runtime::probe(name, one, state).await?),
            };
            named.insert(name.clone(), handler);
            host_devices.insert(name.clone(), one.host_devices());
        }
        let rlimits = rlimits::ByHandler::new(settings)?;
        Ok(Self { default: settings.default_handler.clone(), named, host_devices, rlimits })
    }

    /// Removes what runtimes have left that are configured no more: directories in which nothing is.
    pub(crate) fn tidy(&self, state: &Path) {
        for entry in std::fs::read_dir(state.join(DIR)).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| !self.named.contains_key(name)) {
                // One that holds something is somebody's.
                let _ = std::fs::remove_dir(entry.path());
            }
        }
    }

    /// What of the host's devices a privileged container of a handler gets.
    pub(crate) fn host_devices(&self, name: &str) -> HostDevices {
        let name = if name.is_empty() { &self.default } else { name };
        self.host_devices.get(name).copied().unwrap_or_default()
    }

    /// Limits of the processes of a handler's containers. `confined`: made ready in a user namespace.
    pub(crate) fn rlimits(&self, name: &str, confined: bool) -> OciResult<Vec<PosixRlimit>> {
        let name = if name.is_empty() { &self.default } else { name };
        self.rlimits.of(name, confined)
    }

    /// The highest limits that these can be given.
    pub(crate) fn ceilings(&self, confined: bool) -> &oci::rlimits::Ceilings {
        self.rlimits.ceilings(confined)
    }

    /// The handler of a name; the empty one is the default.
    ///
    /// # Errors
    /// [`EngineError::UnknownHandler`].
    pub(crate) fn find(&self, name: &str) -> Result<&Arc<dyn Handler>, EngineError> {
        let name = if name.is_empty() { &self.default } else { name };
        self.named.get(name).ok_or_else(|| EngineError::UnknownHandler {
            name: name.to_owned(),
            known: self.named.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        })
    }

    /// The handler of a pod. What one that is not configured any more has made, the shim's takes away.
    pub(crate) fn of(&self, pod: &Pod) -> Arc<dyn Handler> {
        self.find(&pod.handler()).cloned().unwrap_or_else(|_| native())
    }

    /// What Status tells of them, the default first; `native` is what the shim can do.
    pub(crate) fn info(&self, native: &HandlerInfo) -> Vec<HandlerInfo> {
        let default = self.named.get(&self.default).map(|handler| handler.info("", native));
        let named = self.named.iter().map(|(name, handler)| handler.info(name, native));
        default.into_iter().chain(named).collect()
    }
}

fn native() -> Arc<dyn Handler> {
    Arc::new(native::Native)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(name: &str, kind: HandlerKind, binary: &str) -> Settings {
        let one = HandlerSettings {
            kind,
            binary: binary.into(),
            root: PathBuf::new(),
            args: Vec::new(),
            rlimits: BTreeMap::new(),
            privileged_without_host_devices: false,
            privileged_without_host_devices_all_devices_allowed: false,
        };
        Settings { handlers: BTreeMap::from([(name.to_owned(), one)]), ..Settings::default() }
    }

    async fn open(settings: &Settings) -> Result<Handlers, EngineError> {
        Handlers::open(settings, Path::new("/run/nowhere")).await
    }

    #[tokio::test]
    async fn the_empty_name_is_the_default() {
        let handlers = open(&settings("fast", HandlerKind::Native, "")).await.unwrap();
        assert!(!handlers.find("").unwrap().is_foreign());
        assert!(!handlers.find("fast").unwrap().is_foreign());
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
    async fn the_hosts_devices_are_a_matter_of_the_handler() {
        let chosen = |without, all| {
            let mut settings = settings("close", HandlerKind::Native, "");
            let one = settings.handlers.get_mut("close").unwrap();
            one.privileged_without_host_devices = without;
            one.privileged_without_host_devices_all_devices_allowed = all;
            settings
        };
        for (without, all, wanted) in [
            (false, false, HostDevices::Shown),
            (true, false, HostDevices::None),
            (true, true, HostDevices::Allowed),
        ] {
            let handlers = open(&chosen(without, all)).await.unwrap();
            assert_eq!(handlers.host_devices("close"), wanted);
            assert_eq!(handlers.host_devices(""), HostDevices::Shown);
        }
        assert!(open(&chosen(false, true)).await.is_err());
    }

    #[tokio::test]
    async fn a_runtime_that_is_not_installed_is_listed_and_refused() {
        let handlers = open(&settings("gone", HandlerKind::Oci, "/nowhere/runtime")).await.unwrap();
        let runtime = handlers.find("gone").unwrap();
        let error = runtime.check_pod(&model::SandboxConfig::default()).unwrap_err();
        assert!(error.to_string().contains("/nowhere/runtime"), "{error}");
        let able = HandlerInfo { name: String::new(), recursive_read_only: true, user_namespaces: true };
        assert!(!runtime.info("gone", &able).recursive_read_only);
    }
}
