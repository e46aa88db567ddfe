//! The validator that is built in: what no plugin may change, and which plugins have to be there.

use crate::api::security_profile::ProfileType;
use crate::api::{Field, FieldOwners, PluginInstance, PodSandbox, ValidateContainerAdjustmentRequest};
use std::fmt::Write as _;

/// A pod's own list of plugins without which its containers are not made.
const REQUIRED: &str = "required-plugins.noderesource.dev";

/// What is rejected: nothing, unless it is enabled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether anything is looked at.
    pub enable: bool,
    /// Hooks that plugins add.
    pub oci_hooks: bool,
    /// Changes of the runtime's own seccomp profile.
    pub runtime_default_seccomp: bool,
    /// Changes where a container has no seccomp profile.
    pub unconfined_seccomp: bool,
    /// Changes of a seccomp profile that the node has.
    pub custom_seccomp: bool,
    /// Changes of namespaces.
    pub namespaces: bool,
    /// Changes of kernel parameters.
    pub sysctls: bool,
    /// Plugins without which no container is made.
    pub required_plugins: Vec<String>,
    /// The annotation by which a pod does without them; empty: none.
    pub tolerate_missing_plugins_annotation: String,
}

/// Looks at what plugins want of a container.
///
/// # Errors
/// Why it is rejected.
pub fn check(settings: &Settings, request: &ValidateContainerAdjustmentRequest) -> Result<(), String> {
    if !settings.enable {
        return Ok(());
    }
    let id = request.container.as_ref().map(|container| container.id.as_str()).unwrap_or_default();
    let owners = request.owners.as_ref().and_then(|owners| owners.owners.get(id));
    if let (Some(owners), true) = (owners, request.adjust.is_some()) {
        hooks(settings, owners)?;
        seccomp(settings, request, owners)?;
        entries(settings.namespaces, "namespaces", owners, Field::Namespace)?;
        entries(settings.sysctls, "kernel parameters", owners, Field::Sysctl)?;
    }
    required(settings, request)
}

fn hooks(settings: &Settings, owners: &FieldOwners) -> Result<(), String> {
    match owners.simple.get(&(Field::OciHooks as i32)) {
        Some(owners) if settings.oci_hooks => Err(format!("OCI hooks of {owners} are not allowed")),
        _ => Ok(()),
    }
}

/// The kind of profile that the request asks for decides, not the one that is asked for in its place.
fn seccomp(
    settings: &Settings,
    request: &ValidateContainerAdjustmentRequest,
    owners: &FieldOwners,
) -> Result<(), String> {
    let Some(owner) = owners.simple.get(&(Field::SeccompPolicy as i32)) else { return Ok(()) };
    let linux = request.container.as_ref().and_then(|container| container.linux.as_ref());
    let profile = linux.and_then(|linux| linux.seccomp_profile.as_ref());
    let (rejected, kind) = match profile.map(crate::api::SecurityProfile::profile_type) {
        None | Some(ProfileType::Unconfined) => (settings.unconfined_seccomp, "an unconfined container"),
        Some(ProfileType::RuntimeDefault) => {
            (settings.runtime_default_seccomp, "a container of the runtime's default profile")
        }
        Some(ProfileType::Localhost) => (settings.custom_seccomp, "a container of a profile of the node"),
    };
    if rejected {
        return Err(format!("the seccomp policy of {owner} for {kind} is not allowed"));
    }
    Ok(())
}

fn entries(rejected: bool, what: &str, owners: &FieldOwners, field: Field) -> Result<(), String> {
    let Some(entries) = owners.compound.get(&(field as i32)).filter(|_| rejected) else { return Ok(()) };
    let mut list = String::new();
    for (key, owner) in &entries.owners {
        let between = if list.is_empty() { "" } else { ", " };
        // The mark of a removal is none of the name.
        let owner = owner.strip_prefix('-').unwrap_or(owner);
        let _ = write!(list, "{between}{key} by {owner}");
    }
    if list.is_empty() { Ok(()) } else { Err(format!("changes of {what} are not allowed: {list}")) }
}

/// An annotation of the pod for one container, for the pod as such, or for all.
fn annotation<'a>(request: &'a ValidateContainerAdjustmentRequest, key: &str) -> Option<&'a String> {
    let annotations = &request.pod.as_ref()?.annotations;
    let name = request.container.as_ref().map(|container| container.name.as_str()).unwrap_or_default();
    let keys = [format!("{key}/container.{name}"), format!("{key}/pod"), key.to_owned()];
    keys.iter().find_map(|key| annotations.get(key))
}

fn required(settings: &Settings, request: &ValidateContainerAdjustmentRequest) -> Result<(), String> {
    let toleration = &settings.tolerate_missing_plugins_annotation;
    if let Some(value) = annotation(request, toleration).filter(|_| !toleration.is_empty())
        && truth(value)
            .ok_or_else(|| format!("annotation {toleration}: {value:?} is neither true nor false"))?
    {
        return Ok(());
    }
    let mut required = settings.required_plugins.clone();
    if let Some(list) = annotation(request, REQUIRED) {
        let names: Vec<String> = oci::yaml::parse(list)
            .map_err(|error| format!("annotation {REQUIRED}: {list:?} is no list of names: {error}"))?;
        required.extend(names);
    }
    let there: Vec<_> = request.plugins.iter().map(|plugin| (&*plugin.index, &*plugin.name)).collect();
    match missing(&required, &there).as_slice() {
        [] => Ok(()),
        [missing] => Err(format!("the required NRI plugin {missing} is not connected")),
        missing => Err(format!("the required NRI plugins {} are not connected", missing.join(", "))),
    }
}

/// Why no container of a pod is created, where plugins are missing beside these, by index and name.
pub(crate) fn lack(settings: &Settings, pod: PodSandbox, there: Vec<(String, String)>) -> Option<String> {
    if !settings.enable {
        return None;
    }
    let plugins = there.into_iter().map(|(index, name)| PluginInstance { name, index }).collect();
    let request = ValidateContainerAdjustmentRequest { pod: Some(pod), plugins, ..Default::default() };
    required(settings, &request).err()
}

/// Whether a plugin of this whole name is meant by the one that is asked for.
pub fn is_called(asked: &str, name: &str) -> bool {
    asked == name || name.split_once('-').is_some_and(|(_, base)| base == asked)
}

/// Whether a plugin can be called so.
pub fn may_be_called(asked: &str) -> bool {
    !asked.is_empty() && asked.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte))
}

/// Whether a pod can have an annotation with this key: a name, with or without the name of a domain before it.
pub fn may_be_annotation(key: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let is_word = |word: &str, longest: usize, others: &[u8]| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || others.contains(&byte);
        let bytes = word.as_bytes();
        word.len() <= longest && is_end(bytes.first()) && is_end(bytes.last()) && word.bytes().all(is_part)
    };
    let is_domain = |domain: &str| {
        let is_lower = !domain.bytes().any(|byte| byte.is_ascii_uppercase());
        is_lower && domain.len() <= 253 && domain.split('.').all(|label| is_word(label, 253, b"-"))
    };
    match key.split_once('/') {
        Some((domain, name)) => is_domain(domain) && is_word(name, 63, b"-_."),
        None => is_word(key, 63, b"-_."),
    }
}

/// Those that are not among plugins of these indices and names. They can be called by the name alone.
pub(crate) fn missing(required: &[String], there: &[(&str, &str)]) -> Vec<String> {
    let is_there = |asked: &String| {
        there.iter().any(|(index, name)| asked == name || *asked == format!("{index}-{name}"))
    };
    required.iter().filter(|name| !is_there(name)).cloned().collect()
}

/// As Go's `strconv.ParseBool` reads it.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
