//! What a device needs, put into a spec.

use super::FIELD;
use super::document::{self, Edits, Mount, Node};
use crate::error::{OciError, OciResult};
use crate::last::keep_last;
use crate::spec::{destination, device_at, device_rule};
use oci_spec::runtime::{Hook, Hooks, LinuxDevice, LinuxDeviceType, Spec};
use std::collections::HashSet;
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
}

/// The edits of all devices of a container, in their order.
#[derive(Default)]
pub(super) struct Gathered<'a> {
    env: Vec<&'a String>,
    groups: Vec<u32>,
    devices: Vec<(LinuxDevice, &'a Node)>,
    mounts: Vec<oci_spec::runtime::Mount>,
    hooks: Vec<&'a document::Hook>,
}

impl<'a> Gathered<'a> {
    /// Adds those of a device or a file; `name` is whose they are.
    pub(super) fn add(&mut self, name: &str, edits: &'a Edits) -> OciResult<()> {
        self.env.extend(&edits.env);
        self.groups.extend(edits.additional_gids.iter().filter(|gid| **gid != 0));
        for node in &edits.device_nodes {
            self.devices.push((device(name, node)?, node));
        }
        for request in &edits.mounts {
            self.mounts.push(mount(name, request)?);
        }
        self.hooks.extend(&edits.hooks);
        Ok(())
    }

    /// Makes them; what has the same place is replaced.
    pub(super) fn apply(self, spec: &mut Spec) {
        if let Some(process) = spec.process_mut() {
            if !self.env.is_empty() {
                let own: HashSet<&str> = self.env.iter().map(|pair| key(pair)).collect();
                let env = process.env_mut().get_or_insert_default();
                env.retain(|known| !own.contains(key(known)));
                env.extend(self.env.into_iter().cloned());
                keep_last(env, |pair: &String| key(pair));
            }
            if !self.groups.is_empty() {
                process.user_mut().additional_gids_mut().get_or_insert_default().extend(self.groups);
            }
        }
        add_devices(self.devices, spec);
        add_hooks(&self.hooks, spec);
        if !self.mounts.is_empty() {
            let all = spec.mounts_mut().get_or_insert_default();
            all.extend(self.mounts);
            keep_last(all, |mount: &oci_spec::runtime::Mount| mount.destination().as_path());
            all.sort_by_key(|mount| mount.destination().components().count());
        }
    }
}

/// `NAME=` of a variable.
fn key(pair: &str) -> &str {
    pair.split_inclusive('=').next().unwrap_or(pair)
}

fn add_hooks(hooks: &[&document::Hook], spec: &mut Spec) {
    for one in hooks {
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

fn add_devices(devices: Vec<(LinuxDevice, &Node)>, spec: &mut Spec) {
    if devices.is_empty() {
        return;
    }
    let owner = spec.process().as_ref().map(|process| (process.user().uid(), process.user().gid()));
    let Some(linux) = spec.linux_mut() else { return };
    for (mut device, node) in devices {
        let (uid, gid) = owner.unwrap_or_default();
        device.set_uid(node.uid.or(Some(uid))).set_gid(node.gid.or(Some(gid)));
        if device.typ() != LinuxDeviceType::P {
            let permissions = if node.permissions.is_empty() { "rwm" } else { &node.permissions };
            let rules = linux.resources_mut().get_or_insert_default().devices_mut().get_or_insert_default();
            // A privileged container, whose last rule allows everything, needs none.
            let is_all = rules
                .last()
                .is_some_and(|last| last.allow() && matches!(last.typ(), None | Some(LinuxDeviceType::A)));
            if !is_all {
                rules.push(device_rule(&device, permissions));
            }
        }
        linux.devices_mut().get_or_insert_default().push(device);
    }
    if let Some(all) = linux.devices_mut() {
        keep_last(all, |device: &LinuxDevice| device.path().as_path());
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
