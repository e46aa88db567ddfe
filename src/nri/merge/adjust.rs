//! What plugins change of a container that is being created.

use super::entries::{self, Keyed as _, Split};
use super::error::MergeError;
use super::owners::Claims;
use super::removal::{mark, marked};
use super::resources::{self, clear};
use crate::api::{
    Container, ContainerAdjustment, Field, Hook, Hooks, KeyValue, LinuxContainer, LinuxContainerAdjustment,
    LinuxRdt, PosixRlimit,
};

/// Puts what one plugin asks for to what was asked for before, and into the container as the next one sees it.
/// `first` are the arguments that the container had before anybody changed them.
pub(super) fn merge(
    mut new: ContainerAdjustment,
    asked: &mut ContainerAdjustment,
    shown: &mut Container,
    first: &[String],
    claims: &mut Claims<'_>,
) -> Result<(), MergeError> {
    entries::map(
        Field::Annotations,
        new.annotations,
        &mut asked.annotations,
        &mut shown.annotations,
        claims,
    )?;
    // What is spelt in two ways is one place, and has one owner.
    new.mounts.iter_mut().for_each(|mount| respell(&mut mount.destination));
    entries::list(new.mounts, &mut asked.mounts, &mut shown.mounts, claims)?;
    environment(new.env, &mut asked.env, &mut shown.env, claims)?;
    arguments(new.args, asked, (shown, first), claims)?;
    if let Some(new) = new.hooks {
        hooks(new, asked.hooks.get_or_insert_default(), shown.hooks.get_or_insert_default(), claims);
    }
    if let Some(new) = new.linux {
        let (asked, shown) = (asked.linux.get_or_insert_default(), shown.linux.get_or_insert_default());
        linux(new, asked, shown, claims)?;
    }
    rlimits(new.rlimits, &mut asked.rlimits, &mut shown.rlimits, claims)?;
    for device in new.cdi_devices {
        claims.entry(Field::CdiDevices, &device.name)?;
        asked.cdi_devices.push(device);
    }
    Ok(())
}

/// The same without messages in which nothing is set: a plugin that asks for nothing may send those.
pub(crate) fn tidy(adjustment: &mut ContainerAdjustment) {
    if let Some(linux) = &mut adjustment.linux {
        resources::tidy(&mut linux.resources);
        clear(&mut linux.rdt);
    }
    clear(&mut adjustment.linux);
    clear(&mut adjustment.hooks);
}

/// A path free of `.`, `..`, doubled and trailing slashes; one that is none is refused later, as it is.
fn respell(path: &mut String) {
    let plain = marked(path).unwrap_or(path);
    if plain.is_empty() {
        return;
    }
    let clean = oci::rootfs::clean(plain).to_string_lossy().into_owned();
    *path = if marked(path).is_some() { mark(&clean) } else { clean };
}

fn environment(
    new: Vec<KeyValue>,
    asked: &mut Vec<KeyValue>,
    shown: &mut Vec<String>,
    claims: &mut Claims<'_>,
) -> Result<(), MergeError> {
    let split = Split::of(new);
    split.collect(asked, claims)?;
    shown.retain(|pair| !split.touches(pair.split_once('=').map_or(pair.as_str(), |(key, _)| key)));
    shown.extend(split.set.iter().map(|entry| format!("{}={}", entry.key(), entry.value)));
    Ok(())
}

/// An empty first argument takes away what others have asked for.
fn arguments(
    new: Vec<String>,
    asked: &mut ContainerAdjustment,
    (shown, first): (&mut Container, &[String]),
    claims: &mut Claims<'_>,
) -> Result<(), MergeError> {
    let arguments = match new.split_first() {
        None => return Ok(()),
        Some((mark, rest)) if mark.is_empty() => {
            claims.free_field(Field::Args);
            rest.to_vec()
        }
        Some(_) => new,
    };
    claims.field(Field::Args)?;
    shown.args = if arguments.is_empty() { first.to_vec() } else { arguments.clone() };
    asked.args = arguments;
    Ok(())
}

fn hooks(new: Hooks, asked: &mut Hooks, shown: &mut Hooks, claims: &mut Claims<'_>) {
    let Hooks { prestart, create_runtime, create_container, start_container, poststart, poststop } = new;
    let mut any = false;
    let mut append = |new: Vec<Hook>, asked: &mut Vec<Hook>, shown: &mut Vec<Hook>| {
        any |= !new.is_empty();
        shown.extend(new.iter().cloned());
        asked.extend(new);
    };
    append(prestart, &mut asked.prestart, &mut shown.prestart);
    append(create_runtime, &mut asked.create_runtime, &mut shown.create_runtime);
    append(create_container, &mut asked.create_container, &mut shown.create_container);
    append(start_container, &mut asked.start_container, &mut shown.start_container);
    append(poststart, &mut asked.poststart, &mut shown.poststart);
    append(poststop, &mut asked.poststop, &mut shown.poststop);
    if any {
        claims.join(Field::OciHooks);
    }
}

fn linux(
    mut new: LinuxContainerAdjustment,
    asked: &mut LinuxContainerAdjustment,
    shown: &mut LinuxContainer,
    claims: &mut Claims<'_>,
) -> Result<(), MergeError> {
    let absolute =
        new.devices.iter_mut().filter(|device| marked(&device.path).unwrap_or(&device.path).starts_with('/'));
    absolute.for_each(|device| respell(&mut device.path));
    entries::list(new.devices, &mut asked.devices, &mut shown.devices, claims)?;
    if let Some(limits) = &new.resources {
        let targets = &mut [asked.resources.get_or_insert_default(), shown.resources.get_or_insert_default()];
        resources::merge(limits, targets, claims)?;
    }
    if !new.cgroups_path.is_empty() {
        claims.field(Field::CgroupsPath)?;
        shown.cgroups_path.clone_from(&new.cgroups_path);
        asked.cgroups_path = new.cgroups_path;
    }
    if let Some(score) = new.oom_score_adj {
        claims.field(Field::OomScoreAdj)?;
        (shown.oom_score_adj, asked.oom_score_adj) = (Some(score), Some(score));
    }
    if let Some(priority) = new.io_priority {
        claims.field(Field::IoPriority)?;
        (shown.io_priority, asked.io_priority) = (Some(priority), Some(priority));
    }
    if let Some(policy) = new.seccomp_policy {
        claims.field(Field::SeccompPolicy)?;
        (shown.seccomp_policy, asked.seccomp_policy) = (Some(policy.clone()), Some(policy));
    }
    namespaces(&new.namespaces, claims);
    entries::list(new.namespaces, &mut asked.namespaces, &mut shown.namespaces, claims)?;
    entries::map(Field::Sysctl, new.sysctl, &mut asked.sysctl, &mut shown.sysctl, claims)?;
    entries::map(
        Field::LinuxNetDevices,
        new.net_devices,
        &mut asked.net_devices,
        &mut shown.net_devices,
        claims,
    )?;
    if let Some(scheduler) = new.scheduler {
        claims.field(Field::LinuxSched)?;
        (shown.scheduler, asked.scheduler) = (Some(scheduler.clone()), Some(scheduler));
    }
    if let Some(class) = new.rdt {
        rdt(class, asked.rdt.get_or_insert_default(), shown.rdt.get_or_insert_default(), claims)?;
    }
    if let Some(policy) = new.memory_policy {
        claims.field(Field::MemoryPolicy)?;
        asked.memory_policy = Some(policy);
    }
    Ok(())
}

/// A namespace that is taken away is a change that validators are told of, whoever set it.
fn namespaces(new: &[crate::api::LinuxNamespace], claims: &mut Claims<'_>) {
    for kind in new.iter().filter_map(|namespace| marked(&namespace.r#type)) {
        claims.free_entry(Field::Namespace, kind);
    }
}

/// A removal goes before what is set in the same reply.
fn rdt(
    new: LinuxRdt,
    asked: &mut LinuxRdt,
    shown: &mut LinuxRdt,
    claims: &mut Claims<'_>,
) -> Result<(), MergeError> {
    if new.remove {
        for field in [Field::RdtClosId, Field::RdtSchemata, Field::RdtEnableMonitoring] {
            claims.free_field(field);
        }
        *asked = LinuxRdt { remove: true, ..LinuxRdt::default() };
        *shown = LinuxRdt::default();
    }
    if let Some(group) = new.clos_id {
        claims.field(Field::RdtClosId)?;
        (shown.clos_id, asked.clos_id) = (Some(group.clone()), Some(group));
    }
    if let Some(schemata) = new.schemata {
        claims.field(Field::RdtSchemata)?;
        (shown.schemata, asked.schemata) = (Some(schemata.clone()), Some(schemata));
    }
    if let Some(monitoring) = new.enable_monitoring {
        claims.field(Field::RdtEnableMonitoring)?;
        (shown.enable_monitoring, asked.enable_monitoring) = (Some(monitoring), Some(monitoring));
    }
    Ok(())
}

fn rlimits(
    new: Vec<PosixRlimit>,
    asked: &mut Vec<PosixRlimit>,
    shown: &mut Vec<PosixRlimit>,
    claims: &mut Claims<'_>,
) -> Result<(), MergeError> {
    for limit in new {
        claims.entry(Field::Rlimits, &limit.r#type)?;
        shown.retain(|known| known.r#type != limit.r#type);
        shown.push(limit.clone());
        asked.push(limit);
    }
    Ok(())
}
