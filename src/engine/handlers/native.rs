//! The shim itself. Hooks that vendors' descriptions of devices bring (CDI) are all that it keeps of a container: the
//! launcher runs those up to the program; what comes behind it is run here.

use super::bundle::{self, ExecFile};
use super::handler::{CommandLine, Handler, Home};
use crate::error::EngineError;
use crate::handlers::HandlerInfo;
use crate::record;
use model::SandboxConfig;
use oci_spec::runtime::Spec;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;
use sys::fd::as_path;
use sys::hook::Hook;
use wire::plan::{ContainerPlan, HookPlan};

const CONFIG: &str = "config.json";

/// See the module.
#[derive(Debug)]
pub(super) struct Native;

impl Handler for Native {
    fn check_pod(&self, _: &SandboxConfig) -> Result<(), EngineError> {
        Ok(())
    }

    fn check_container(&self, pod: &SandboxConfig, spec: &Spec) -> Result<(), EngineError> {
        if spec.hooks().is_none() || crate::userns::root_of(pod).is_none() {
            return Ok(());
        }
        Err(EngineError::Invalid {
            field: "config.CDI_devices",
            problem:
                "a device or a plugin brings hooks, which the native handler does not run in pods with user namespaces"
                    .to_owned(),
        })
    }

    fn is_foreign(&self) -> bool {
        false
    }

    /// The hooks of a container, and the bundle in which they find its configuration.
    fn furnish(&self, home: Home<'_>, spec: &Spec, plan: &mut ContainerPlan) -> Result<(), EngineError> {
        if spec.hooks().is_none() {
            return Ok(());
        }
        let mut dir = fs::DirBuilder::new();
        let made = dir.mode(0o700).create(home.bundle);
        made.map_err(EngineError::io("make the directory", home.bundle))?;
        record::write(&home.bundle.join(CONFIG), home.id, spec)?;
        let beside = std::process::id().cast_signed();
        plan.hooks = oci::plan::hooks(spec, state(spec, home), beside);
        Ok(())
    }

    /// Its `poststart` hooks follow. One that fails is told in the log.
    fn started(&self, home: Home<'_>, pid: Option<i32>) {
        let Some(spec) = record::read::<Spec>(&home.bundle.join(CONFIG)) else { return };
        let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.poststart().as_ref());
        let pid = pid.map_or(String::new(), |pid| format!(",\"pid\":{pid}"));
        let state = [state(&spec, home), format!(",\"status\":\"running\"{pid}}}").into()].concat();
        run_all("poststart", home.id, &oci::plan::hook_list(hooks), &state);
    }

    fn command(&self, _: Home<'_>, _: &Spec, _: &CommandLine) -> Result<Option<ExecFile>, EngineError> {
        Ok(None)
    }

    /// Nothing of the container is left but the bundle: its `poststop` hooks run.
    fn discard(&self, home: Home<'_>) -> Result<(), EngineError> {
        if let Some(spec) = record::read::<Spec>(&home.bundle.join(CONFIG)) {
            let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.poststop().as_ref());
            let state = [state(&spec, home), b",\"status\":\"stopped\"}".to_vec()].concat();
            run_all("poststop", home.id, &oci::plan::hook_list(hooks), &state);
        }
        bundle::remove(home.bundle)
    }

    fn info(&self, name: &str, native: &HandlerInfo) -> HandlerInfo {
        HandlerInfo { name: name.to_owned(), ..native.clone() }
    }
}

/// What a hook reads of the container, but for its status and process.
fn state(spec: &Spec, home: Home<'_>) -> Vec<u8> {
    let bundle: &Path = home.bundle;
    let state = serde_json::json!({
        "ociVersion": spec.version(), "id": home.id, "bundle": bundle, "annotations": spec.annotations()
    });
    let mut text = state.to_string().into_bytes();
    text.pop();
    text
}

fn run_all(stage: &str, id: &str, hooks: &[HookPlan], state: &[u8]) {
    for plan in hooks {
        let limit = (plan.timeout_seconds > 0).then(|| Duration::from_secs(plan.timeout_seconds));
        let path = as_path(&plan.path);
        let hook = Hook { path, args: &plan.args, env: &plan.env, limit, beside: None, umask: None };
        if let Err(problem) = sys::hook::run(&hook, state) {
            tracing::warn!(container_id = id, hook = %path.display(), problem, "a {stage} hook failed");
        }
    }
}
