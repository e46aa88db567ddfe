//! Bundles: what a runtime finds of a container, and what it leaves.

use super::command::{LOG, Runtime, make};
use super::handler::{CommandLine, Handler, Home};
use crate::error::EngineError;
use crate::handlers::HandlerInfo;
use model::SandboxConfig;
use oci_spec::runtime::{LinuxNamespaceType, Mount, Process, Spec};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use sys::fd::as_path;
use wire::plan::{Bytes, ContainerPlan, RuntimePlan};

impl Runtime {
    /// Writes the bundle of a container, of which `plan` is what the shim itself would do; the result makes and starts it.
    fn prepare(&self, bundle: &Path, spec: &Spec, plan: &ContainerPlan) -> Result<RuntimePlan, EngineError> {
        self.check()?;
        make(self.root())?;
        make(bundle)?;
        let runtime = self.plan(bundle, plan);
        for image in runtime.images.iter().filter(|image| !image.is_empty()) {
            make(&bundle.join(as_path(image)))?;
        }
        let user_namespace =
            (!runtime.user_namespace.is_empty()).then(|| bundle.join(as_path(&runtime.user_namespace)));
        if let Some(path) = &user_namespace {
            fs::write(path, "").map_err(EngineError::io("make the file", path))?;
        }
        let own_score = fs::read_to_string("/proc/self/oom_score_adj").ok();
        let mut spec = adapted(spec, own_score.and_then(|text| text.trim().parse().ok()).unwrap_or(0));
        join_user_namespace(&mut spec, user_namespace.as_deref());
        for (mount, image) in spec.mounts_mut().iter_mut().flatten().zip(&runtime.images) {
            if !image.is_empty() {
                bind_image(mount, bundle.join(as_path(image)));
            }
        }
        crate::record::write(&bundle.join("config.json"), &plan.id, &spec)?;
        Ok(runtime)
    }

    /// Refuses a user namespace that the runtime has not got.
    fn check_users(&self, config: &SandboxConfig) -> Result<(), EngineError> {
        if config.linux.security.namespaces.users.is_none() || self.features().user_namespaces {
            return Ok(());
        }
        Err(EngineError::Invalid {
            field: "config.linux.security_context.namespace_options.userns_options",
            problem: format!("the runtime of the handler {} has no user namespaces", self.name()),
        })
    }

    /// Refuses mappings of mounts that the runtime would ignore.
    fn check_mounts(&self, spec: &Spec) -> Result<(), EngineError> {
        let is_mapped = |mount: &Mount| {
            mount.typ().as_deref() == Some("bind")
                && mount.uid_mappings().as_ref().is_some_and(|mappings| !mappings.is_empty())
        };
        match spec.mounts().iter().flatten().find(|mount| is_mapped(mount)) {
            Some(mount) if !self.features().idmapped_mounts => Err(EngineError::Invalid {
                field: "config.mounts.uidMappings",
                problem: format!(
                    "the runtime of the handler {} has no idmapped mounts, as one is asked for at {}",
                    self.name(),
                    mount.destination().display()
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Refuses what plugins have put into a spec and the runtime would leave out.
    fn check_features(&self, spec: &Spec) -> Result<(), EngineError> {
        let Some(field) = self.features().lacking(spec) else { return Ok(()) };
        let problem =
            format!("its runtime does not name {field} among its features, which a plugin asks for");
        Err(EngineError::Handler { name: self.name().to_owned(), problem })
    }
}

impl Handler for Runtime {
    fn check_pod(&self, config: &SandboxConfig) -> Result<(), EngineError> {
        self.check()?;
        self.check_users(config)
    }

    fn check_container(&self, _: &SandboxConfig, spec: &Spec) -> Result<(), EngineError> {
        self.check_mounts(spec)?;
        self.check_features(spec)
    }

    fn is_foreign(&self) -> bool {
        true
    }

    fn furnish(&self, home: Home<'_>, spec: &Spec, plan: &mut ContainerPlan) -> Result<(), EngineError> {
        plan.runtime = Some(self.prepare(home.bundle, spec, plan)?);
        Ok(())
    }

    /// Hooks are the runtime's own business.
    fn started(&self, _: Home<'_>, _: Option<i32>) {}

    /// Writes the process of a command where the runtime finds it.
    fn command(
        &self,
        home: Home<'_>,
        spec: &Spec,
        command: &CommandLine,
    ) -> Result<Option<ExecFile>, EngineError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("exec-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (path, log) = (home.bundle.join(format!("{name}.json")), home.bundle.join(format!("{name}.log")));
        crate::record::write(&path, home.id, &process(spec, command))?;
        Ok(Some(ExecFile { command: self.exec(&log, &path, home.id), path, log }))
    }

    /// A runtime that fails, or is not there any more, does not keep the container from going.
    fn discard(&self, home: Home<'_>) -> Result<(), EngineError> {
        if let Err(error) = self.delete(home.id) {
            tracing::warn!(
                container_id = home.id,
                error = crate::chain(&error),
                "the runtime's state is removed without it"
            );
            remove(&self.state_of(home.id))?;
        }
        remove(home.bundle)
    }

    fn info(&self, name: &str, native: &HandlerInfo) -> HandlerInfo {
        HandlerInfo {
            name: name.to_owned(),
            recursive_read_only: native.recursive_read_only && self.features().recursive_read_only,
            user_namespaces: native.user_namespaces && self.features().runs_user_namespaces(),
        }
    }
}

/// The container's process with another program.
fn process(spec: &Spec, command: &CommandLine) -> Process {
    let mut process = spec.process().clone().unwrap_or_default();
    process.set_args(Some(command.argv.words().to_vec())).set_terminal(Some(command.tty));
    if let Some((columns, rows)) = command.size {
        let size = oci_spec::runtime::BoxBuilder::default().width(columns).height(rows).build();
        // Both are there, and so it is whole.
        process.set_console_size(size.ok());
    }
    let mut env = process.env().clone().unwrap_or_default();
    if command.tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
        process.set_env(Some(env));
    }
    process
}

/// The spec's user namespace is the pod's, which nobody could join without knowing where it is.
fn join_user_namespace(spec: &mut Spec, path: Option<&Path>) {
    let namespaces = spec.linux_mut().as_mut().and_then(|linux| linux.namespaces_mut().as_mut());
    for namespace in namespaces.into_iter().flatten() {
        if namespace.typ() == LinuxNamespaceType::User {
            namespace.set_path(path.map(Path::to_path_buf));
        }
    }
}

/// An image is mounted already, with the owners that it is to have.
fn bind_image(mount: &mut Mount, source: PathBuf) {
    let options = mount.options().iter().flatten();
    let options = options.filter(|option| *option != "idmap" && *option != "ridmap");
    let options: Vec<String> = std::iter::once("rbind".to_owned()).chain(options.cloned()).collect();
    mount
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(source))
        .set_options(Some(options))
        .set_uid_mappings(None)
        .set_gid_mappings(None);
}

/// Removes a directory of a container, and all that is in it.
pub(crate) fn remove(dir: &Path) -> Result<(), EngineError> {
    sys::tree::remove(dir).map_err(|error| EngineError::io("remove", dir)(error.into()))
}

/// What the runtime said last of a container's life, where it failed.
pub(crate) fn last_error(bundle: &Path) -> Option<String> {
    error_in(&bundle.join(LOG))
}

/// The files of one exec; they go with the value.
#[derive(Debug)]
pub(crate) struct ExecFile {
    /// What the shim runs.
    pub(crate) command: Vec<Bytes>,
    path: PathBuf,
    log: PathBuf,
}

impl ExecFile {
    /// Why the runtime did not run the command.
    pub(crate) fn error(&self) -> Option<String> {
        error_in(&self.log)
    }
}

impl Drop for ExecFile {
    fn drop(&mut self) {
        for path in [&self.path, &self.log] {
            // A runtime that had nothing to say wrote no log; the bundle's removal takes the rest.
            let _ = fs::remove_file(path);
        }
    }
}

/// A line of a runtime's log.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
}

fn error_in(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    let mut lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines.find(|line| line.level == "error" && !line.msg.is_empty()).map(|line| line.msg)
}

/// A version of the runtime spec that has all that this crate's specs say: older runtimes refuse what they do not know.
const VERSION: &str = "1.0.2";

/// The spec as other runtimes take it: they refuse a version newer than themselves and a hostname without a UTS
/// namespace, and fail on an OOM score that the host does not let them set, where the shim keeps its own.
fn adapted(spec: &Spec, own_score: i32) -> Spec {
    let mut spec = spec.clone();
    spec.set_version(VERSION.to_owned());
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let has_uts = namespaces.into_iter().flatten().any(|one| one.typ() == LinuxNamespaceType::Uts);
    if !has_uts {
        spec.set_hostname(None);
    }
    let mut process = spec.process().clone();
    if let Some(process) = &mut process
        && !oci::caps::available().contains(oci::caps::SYS_RESOURCE)
        && process.oom_score_adj().is_some_and(|score| score < own_score)
    {
        process.set_oom_score_adj(Some(own_score));
    }
    spec.set_process(process);
    spec
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_last_error_of_a_log_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(last_error(dir.path()), None);
        let log = "{\"level\":\"error\",\"msg\":\"one\"}\nnoise\n{\"level\":\"error\",\"msg\":\"two\"}\n{\"level\":\"warning\",\"msg\":\"three\"}\n";
        fs::write(dir.path().join(LOG), log).unwrap();
        assert_eq!(last_error(dir.path()).as_deref(), Some("two"));
    }

    #[test]
    fn a_hostname_needs_a_uts_namespace() {
        let spec = |namespaces: &str| -> Spec {
            let text = format!(
                r#"{{"ociVersion":"1.2.0","hostname":"pod","linux":{{"namespaces":[{namespaces}]}}}}"#
            );
            adapted(&serde_json::from_str(&text).unwrap(), 0)
        };
        assert_eq!(spec(r#"{"type":"mount"}"#).hostname(), &None);
        assert_eq!(spec(r#"{"type":"uts"}"#).hostname().as_deref(), Some("pod"));
    }
}
