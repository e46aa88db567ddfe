//! Hooks that vendors' descriptions of devices bring (CDI). The launcher runs those up to the program; what comes behind
//! it is run here. Under an OCI runtime all of them are the runtime's.

use crate::error::EngineError;
use crate::objects::{Container, Pod};
use crate::{Engine, blocking, record};
use oci_spec::runtime::Spec;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use sys::fd::as_path;
use sys::hook::Hook;
use wire::plan::{HookPlan, HooksPlan};

const CONFIG: &str = "config.json";

impl Engine {
    /// Refuses hooks where the launcher cannot run them.
    pub(super) fn check_hooks(&self, pod: &Pod, spec: &Spec) -> Result<(), EngineError> {
        let native = self.handlers.runtime(&pod.handler()).is_none();
        if spec.hooks().is_none() || !native || crate::userns::root_of(&pod.config()).is_none() {
            return Ok(());
        }
        Err(EngineError::Invalid {
            field: "config.CDI_devices",
            problem:
                "a device brings hooks, which the native handler does not run in pods with user namespaces"
                    .to_owned(),
        })
    }

    /// The hooks of a container, and the bundle in which they find its configuration.
    pub(super) fn hooks(&self, container: &Container, spec: &Spec) -> Result<Option<HooksPlan>, EngineError> {
        if spec.hooks().is_none() {
            return Ok(None);
        }
        let bundle = container.pod.files.bundle(&container.id);
        let mut dir = fs::DirBuilder::new();
        dir.mode(0o700).create(&bundle).map_err(EngineError::io("make the directory", &bundle))?;
        record::write(&bundle.join(CONFIG), &container.id, spec)?;
        let beside = std::process::id().cast_signed();
        Ok(oci::plan::hooks(spec, state(spec, &container.id, &bundle), beside))
    }

    /// The container's program runs: its `poststart` hooks follow. One that fails is told in the log.
    pub(super) async fn poststart(&self, container: &Arc<Container>) {
        if container.record().config.cdi_devices.is_empty()
            || self.handlers.runtime(&container.pod.handler()).is_some()
        {
            return;
        }
        let bundle = container.pod.files.bundle(&container.id);
        let (id, pid) = (container.id.clone(), container.pid());
        let run = move || {
            let Some(spec) = record::read::<Spec>(&bundle.join(CONFIG)) else { return Ok(()) };
            let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.poststart().as_ref());
            let pid = pid.map_or(String::new(), |pid| format!(",\"pid\":{pid}"));
            let state =
                [state(&spec, &id, &bundle), format!(",\"status\":\"running\"{pid}}}").into()].concat();
            run_all("poststart", &id, &oci::plan::hook_list(hooks), &state);
            Ok(())
        };
        if let Err(error) = blocking("running hooks", run).await {
            tracing::warn!(container_id = %container.id, error = crate::chain(&error), "its poststart hooks");
        }
    }
}

/// Nothing of a container is left but the bundle: its `poststop` hooks run. Blocks.
pub(super) fn poststop(bundle: &Path, id: &str) {
    let Some(spec) = record::read::<Spec>(&bundle.join(CONFIG)) else { return };
    let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.poststop().as_ref());
    let state = [state(&spec, id, bundle), b",\"status\":\"stopped\"}".to_vec()].concat();
    run_all("poststop", id, &oci::plan::hook_list(hooks), &state);
}

/// What a hook reads of the container, but for its status and process.
fn state(spec: &Spec, id: &str, bundle: &Path) -> Vec<u8> {
    let state = serde_json::json!({
        "ociVersion": spec.version(), "id": id, "bundle": bundle, "annotations": spec.annotations()
    });
    let mut text = state.to_string().into_bytes();
    text.pop();
    text
}

fn run_all(stage: &str, id: &str, hooks: &[HookPlan], state: &[u8]) {
    for plan in hooks {
        let limit = (plan.timeout_seconds > 0).then(|| Duration::from_secs(plan.timeout_seconds));
        let path = as_path(&plan.path);
        let hook = Hook { path, args: &plan.args, env: &plan.env, limit, beside: None };
        if let Err(problem) = sys::hook::run(&hook, state) {
            tracing::warn!(container_id = id, hook = %path.display(), problem, "a {stage} hook failed");
        }
    }
}
