//! Hooks of the runtime spec.

use oci_spec::runtime::{Hook, Spec};
use wire::plan::{HookPlan, HooksPlan};

/// Those that run on a container's way to its program; `None` without any. `state` is the container's in JSON, without
/// `status`, `pid` and the closing brace, and `beside` a process in the runtime's namespaces.
#[must_use]
pub fn hooks(spec: &Spec, state: Vec<u8>, beside: i32) -> Option<HooksPlan> {
    let hooks = spec.hooks().as_ref()?;
    #[allow(deprecated, reason = "vendors' descriptions still have them")]
    let mut create_runtime = hook_list(hooks.prestart().as_ref());
    create_runtime.extend(hook_list(hooks.create_runtime().as_ref()));
    Some(HooksPlan {
        create_runtime,
        create_container: hook_list(hooks.create_container().as_ref()),
        start_container: hook_list(hooks.start_container().as_ref()),
        state,
        beside,
    })
}

/// The hooks of one point of a container's life.
#[must_use]
pub fn hook_list(list: Option<&Vec<Hook>>) -> Vec<HookPlan> {
    let words = |list: &Option<Vec<String>>| -> Vec<Vec<u8>> {
        list.iter().flatten().map(|text| text.clone().into_bytes()).collect()
    };
    let one = |hook: &Hook| HookPlan {
        path: super::bytes(hook.path()),
        args: words(hook.args()),
        env: words(hook.env()),
        timeout_seconds: hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0),
    };
    list.into_iter().flatten().map(one).collect()
}
