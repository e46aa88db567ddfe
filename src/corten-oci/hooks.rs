//! Hooks: programs that the configuration names, run at the points of a container's life that the runtime spec tells,
//! with the container's state on their stdin.

use std::time::Duration;

use oci_spec::runtime::{Hook, Spec};

use crate::error::{Error, Result};

/// The hooks of one point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Deprecated, as createRuntime.
    Prestart,
    /// In the runtime's namespaces, before the root changes.
    CreateRuntime,
    /// In the container's namespaces, before the root changes.
    CreateContainer,
    /// In the container, just before its program.
    StartContainer,
    /// In the runtime's namespaces, when the program runs.
    Poststart,
    /// In the runtime's namespaces, when the container is deleted.
    Poststop,
}

impl Stage {
    /// As the configuration calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }
}

/// The hooks of a stage, in order.
pub(crate) fn of(spec: &Spec, stage: Stage) -> &[Hook] {
    let Some(hooks) = spec.hooks() else { return &[] };
    let list = match stage {
        #[allow(deprecated, reason = "configurations still have them")]
        Stage::Prestart => hooks.prestart(),
        Stage::CreateRuntime => hooks.create_runtime(),
        Stage::CreateContainer => hooks.create_container(),
        Stage::StartContainer => hooks.start_container(),
        Stage::Poststart => hooks.poststart(),
        Stage::Poststop => hooks.poststop(),
    };
    list.as_deref().unwrap_or_default()
}

/// Runs the hooks of a stage; the first failure ends it.
pub(crate) fn run(spec: &Spec, stage: Stage, state: &[u8]) -> Result<()> {
    of(spec, stage).iter().try_for_each(|hook| run_one(hook, stage, state))
}

/// Runs all of them whatever happens, and returns what failed.
pub(crate) fn run_all(spec: &Spec, stage: Stage, state: &[u8]) -> Vec<Error> {
    of(spec, stage).iter().filter_map(|hook| run_one(hook, stage, state).err()).collect()
}

fn run_one(hook: &Hook, stage: Stage, state: &[u8]) -> Result<()> {
    let owned = |list: &Option<Vec<String>>| -> Vec<Vec<u8>> {
        list.iter().flatten().map(|text| text.clone().into_bytes()).collect()
    };
    let limit = hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let (args, env) = (owned(hook.args()), owned(hook.env()));
    // While the container is being made there is no mask.
    let umask = matches!(stage, Stage::CreateContainer).then_some(sys::hook::UMASK);
    let program = sys::hook::Hook { path: hook.path(), args: &args, env: &env, limit, beside: None, umask };
    sys::hook::run(&program, state).map_err(|problem| Error::Hook {
        stage: stage.name(),
        path: hook.path().clone(),
        problem,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn spec(hooks: &serde_json::Value) -> Spec {
        serde_json::from_value(serde_json::json!({ "ociVersion": "1.0.2", "hooks": { "poststop": hooks } }))
            .unwrap()
    }

    #[test]
    fn a_hook_reads_the_state_and_has_its_own_environment() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let script = format!("cat > {0}; echo $A$HOME >> {0}", out.display());
        let hooks = serde_json::json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["A=b"] }]);
        run(&spec(&hooks), Stage::Poststop, b"{}\n").unwrap();
        assert_eq!(std::fs::read_to_string(out).unwrap(), "{}\nb\n");
    }

    #[test]
    fn a_failing_hook_says_why() {
        let hooks = serde_json::json!([
            { "path": "/bin/sh", "args": ["sh", "-c", "echo no luck >&2; exit 3"] },
            { "path": "/nowhere/hook" },
            { "path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1 }
        ]);
        let told: Vec<String> =
            run_all(&spec(&hooks), Stage::Poststop, b"").iter().map(ToString::to_string).collect();
        assert!(
            told[0].contains("poststop") && told[0].contains("3") && told[0].contains("no luck"),
            "{told:?}"
        );
        assert!(told[1].contains("/nowhere/hook"), "{told:?}");
        assert!(told[2].contains("timeout"), "{told:?}");
    }
}
