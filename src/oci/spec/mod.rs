//! A CRI request as an OCI runtime spec, with every default filled in.

mod binds;
mod devices;
mod env;
mod inputs;
mod mounts;
mod namespaces;
mod process;
mod propagation;
mod resources;
mod seccomp;
mod settings;
mod sources;
#[cfg(test)]
pub(crate) mod tests;
mod userns;
mod volumes;

pub use binds::destination;
pub(crate) use devices::{at as device_at, rule as device_rule};
pub use inputs::{ContainerInputs, ImageConfig, PodFiles, PodNamespaces};
pub use process::stop_signal;
pub use propagation::needs_sharing;
pub use resources::resources;
pub use settings::{HostDevices, Settings, UnsetSeccomp};
pub use sources::make_sources;
pub use volumes::{AnonymousVolume, ImageVolume, Volumes, anonymous_volumes};

use crate::error::OciResult;
use model::AbsPath;
use oci_spec::runtime::{Linux, Root, Spec};
use std::collections::HashMap;

/// The version of the runtime spec that is meant.
const VERSION: &str = "1.2.0";

/// The spec of a container.
///
/// # Errors
/// [`OciError`] naming the field of the request that cannot be kept; nothing has been changed on the host.
pub fn container(inputs: &ContainerInputs<'_>) -> OciResult<Spec> {
    let security = &inputs.container.security;
    let caps = process::granted(inputs)?;
    userns::check(inputs.sandbox, inputs.user)?;
    let mut root = Root::default();
    root.set_path(inputs.rootfs.to_path_buf()).set_readonly(Some(security.readonly_rootfs));
    let (masked, readonly) = if security.privileged {
        (Vec::new(), Vec::new())
    } else {
        (
            security.masked_paths.iter().map(AbsPath::to_string).collect(),
            security.readonly_paths.iter().map(AbsPath::to_string).collect(),
        )
    };
    let (nodes, rules) = devices::devices(inputs)?;
    let all_devices = security.privileged && inputs.host_devices != HostDevices::None;
    let mut limits = resources(&inputs.container.resources, inputs.settings, all_devices);
    if !all_devices {
        limits.devices_mut().get_or_insert_default().extend(rules);
    }
    let mut linux = Linux::default();
    linux
        .set_resources(Some(limits))
        .set_cgroups_path(Some(inputs.cgroup.into()))
        .set_namespaces(Some(namespaces::namespaces(inputs)))
        .set_uid_mappings(userns::mappings(inputs.sandbox, |users| users.uids)?)
        .set_gid_mappings(userns::mappings(inputs.sandbox, |users| users.gids)?)
        .set_devices((!nodes.is_empty()).then_some(nodes))
        .set_seccomp(seccomp::profile(inputs, caps.granted)?)
        .set_mount_label((!inputs.labels.mount.is_empty()).then(|| inputs.labels.mount.clone()))
        .set_rootfs_propagation(Some(mounts::root_propagation(&inputs.container.mounts).to_owned()))
        .set_masked_paths(Some(masked))
        .set_readonly_paths(Some(readonly));
    let mut spec = Spec::default();
    spec.set_version(VERSION.to_owned())
        .set_root(Some(root))
        .set_mounts(Some(mounts::mounts(inputs)?))
        .set_process(Some(process::process(inputs, caps)?))
        .set_hostname((!inputs.hostname.is_empty()).then(|| inputs.hostname.to_owned()))
        .set_annotations(Some(annotations(inputs)))
        .set_linux(Some(linux));
    Ok(spec)
}

/// The names under which containerd's users know them; annotations of the request decide nothing and stay out.
fn annotations(inputs: &ContainerInputs<'_>) -> HashMap<String, String> {
    let pod = &inputs.sandbox.metadata;
    [
        ("container-type", "container"),
        ("container-name", &inputs.container.metadata.name),
        ("image-name", inputs.image_name),
        ("sandbox-id", inputs.sandbox_id.as_str()),
        ("sandbox-name", &pod.name),
        ("sandbox-namespace", &pod.namespace),
        ("sandbox-uid", &pod.uid),
    ]
    .into_iter()
    .map(|(name, value)| (format!("io.kubernetes.cri.{name}"), value.to_owned()))
    .collect()
}
