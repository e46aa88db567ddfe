//! What a device needs, put into a spec.

use super::FIELD;
use super::document::{Edits, Mount, Node};
use crate::error::{OciError, OciResult};
use crate::spec::{destination, device_at, device_rule};
use oci_spec::runtime::{Hook, Hooks, LinuxDevice, LinuxDeviceType, Spec};
use std::path::{Path, PathBuf};

impl Edits {
    /// Refuses what this runtime does not do, and what is malformed. `name` is whose edits they are.
    pub(super) fn check(&self, name: &str) -> OciResult<()> {
        let refuse = |reason: String| Err(OciError::invalid(FIELD, format!("{name}: {reason}")));
        for hook in &self.hooks {
            if list_of(&mut Hooks::default(), &hook.hook_name).is_none() {
                return refuse(format!("{:?} is no hook of a container", hook.hook_name));
            }
            if !hook.path.starts_with('/') {
                return refuse(format!("its {} hook {:?} is no absolute path", hook.hook_name, hook.path));
            }
            if hook.timeout.is_some_and(|seconds| seconds <= 0) {
                return refuse(format!("its {} hook {} has no time", hook.hook_name, hook.path));
            }
        }
        if self.intel_rdt.is_some() {
            return refuse("intelRdt is not supported".to_owned());
        }
        if !self.net_devices.is_empty() {
            return refuse("netDevices are not supported".to_owned());
        }
        for pair in &self.env {
            if pair.find('=').is_none_or(|at| at == 0) || pair.contains('\0') {
                return refuse(format!("{pair:?} is no environment variable"));
            }
        }
        for node in &self.device_nodes {
            if !node.path.starts_with('/') {
                return refuse(format!("{:?} is no path of a device", node.path));
            }
            if !node.permissions.bytes().all(|c| matches!(c, b'r' | b'w' | b'm')) {
                return refuse(format!("{:?} are no permissions", node.permissions));
            }
        }
        Ok(())
    }

    /// Adds them; what has the same place is replaced.
    pub(super) fn apply(&self, name: &str, spec: &mut Spec) -> OciResult<()> {
        let devices: Vec<LinuxDevice> =
            self.device_nodes.iter().map(|node| device(name, node)).collect::<OciResult<_>>()?;
        let mounts: Vec<_> =
            self.mounts.iter().map(|request| mount(name, request)).collect::<OciResult<_>>()?;
        if let Some(process) = spec.process_mut() {
            let env = process.env_mut().get_or_insert_default();
            for pair in &self.env {
                let key = pair.split_inclusive('=').next().unwrap_or(pair);
                env.retain(|known| !known.starts_with(key));
                env.push(pair.clone());
            }
            let groups: Vec<u32> = self.additional_gids.iter().copied().filter(|gid| *gid != 0).collect();
            if !groups.is_empty() {
                let all = process.user_mut().additional_gids_mut().get_or_insert_default();
                all.extend(groups);
            }
        }
        self.add_devices(devices, spec);
        self.add_hooks(spec);
        if !mounts.is_empty() {
            let all = spec.mounts_mut().get_or_insert_default();
            all.retain(|known| !mounts.iter().any(|mount| mount.destination() == known.destination()));
            all.extend(mounts);
            all.sort_by_key(|mount| mount.destination().components().count());
        }
        Ok(())
    }

    fn add_hooks(&self, spec: &mut Spec) {
        for one in &self.hooks {
            let mut hook = Hook::default();
            hook.set_path(PathBuf::from(&one.path))
                .set_args((!one.args.is_empty()).then(|| one.args.clone()))
                .set_env((!one.env.is_empty()).then(|| one.env.clone()))
                .set_timeout(one.timeout);
            if let Some(list) = list_of(spec.hooks_mut().get_or_insert_default(), &one.hook_name) {
                list.get_or_insert_default().push(hook);
            }
        }
    }

    fn add_devices(&self, devices: Vec<LinuxDevice>, spec: &mut Spec) {
        let owner = spec.process().as_ref().map(|process| (process.user().uid(), process.user().gid()));
        let Some(linux) = spec.linux_mut() else { return };
        for (mut device, node) in devices.into_iter().zip(&self.device_nodes) {
            let (uid, gid) = owner.unwrap_or_default();
            device.set_uid(node.uid.or(Some(uid))).set_gid(node.gid.or(Some(gid)));
            if device.typ() != LinuxDeviceType::P {
                let permissions = if node.permissions.is_empty() { "rwm" } else { &node.permissions };
                let rules =
                    linux.resources_mut().get_or_insert_default().devices_mut().get_or_insert_default();
                // A privileged container, whose last rule allows everything, needs none.
                let is_all = rules.last().is_some_and(|last| {
                    last.allow() && matches!(last.typ(), None | Some(LinuxDeviceType::A))
                });
                if !is_all {
                    rules.push(device_rule(&device, permissions));
                }
            }
            let all = linux.devices_mut().get_or_insert_default();
            all.retain(|known| known.path() != device.path());
            all.push(device);
        }
    }
}

/// The hooks of a point of a container's life; `None` when there is none of the name.
fn list_of<'a>(hooks: &'a mut Hooks, name: &str) -> Option<&'a mut Option<Vec<Hook>>> {
    Some(match name {
        #[allow(deprecated, reason = "vendors' descriptions still have them")]
        "prestart" => hooks.prestart_mut(),
        "createRuntime" => hooks.create_runtime_mut(),
        "createContainer" => hooks.create_container_mut(),
        "startContainer" => hooks.start_container_mut(),
        "poststart" => hooks.poststart_mut(),
        "poststop" => hooks.poststop_mut(),
        _ => return None,
    })
}

/// The node, with what the description leaves to the host taken from there.
fn device(name: &str, node: &Node) -> OciResult<LinuxDevice> {
    let refuse = |reason: String| OciError::invalid(FIELD, format!("{name}: {}: {reason}", node.path));
    let typ = match node.r#type.as_str() {
        "" => None,
        "b" => Some(LinuxDeviceType::B),
        "c" | "u" => Some(LinuxDeviceType::C),
        "p" => Some(LinuxDeviceType::P),
        other => return Err(refuse(format!("{other:?} is no type of a device"))),
    };
    let mut device = LinuxDevice::default();
    match (typ, node.major) {
        (Some(typ), Some(major)) => {
            device.set_typ(typ).set_major(major).set_minor(node.minor.unwrap_or(0));
        }
        (Some(typ @ LinuxDeviceType::P), None) => drop(device.set_typ(typ)),
        _ => {
            let host = if node.host_path.is_empty() { &node.path } else { &node.host_path };
            device = device_at(Path::new(host)).map_err(|source| OciError::Missing {
                field: format!("{FIELD}: {name}"),
                path: host.into(),
                source,
            })?;
            if typ.is_some_and(|typ| typ != device.typ()) {
                return Err(refuse(format!("{host} is of another type on the host")));
            }
        }
    }
    if let Some(mode) = node.file_mode {
        device.set_file_mode(Some(mode));
    }
    device.set_path(PathBuf::from(&node.path));
    Ok(device)
}

fn mount(name: &str, request: &Mount) -> OciResult<oci_spec::runtime::Mount> {
    let field = format!("{FIELD}: {name}: containerPath");
    let source = PathBuf::from(&request.host_path);
    let place = destination(&field, &request.container_path, Some(&source))?;
    let kind = if request.r#type.is_empty() { "bind" } else { &request.r#type };
    if kind == "bind" {
        std::fs::metadata(&source).map_err(|error| OciError::Missing {
            field: format!("{FIELD}: {name}"),
            path: source.clone(),
            source: error,
        })?;
    }
    let mut mount = oci_spec::runtime::Mount::default();
    mount
        .set_destination(place)
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source))
        .set_options(Some(request.options.clone()));
    Ok(mount)
}
