//! What is left once the pods are taken down by their records.

use super::hand;
use super::survey::Survey;
use crate::cadvisor;
use crate::config::Config;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where iproute2 pins network namespaces, under both of its names.
const SHARED: [&str; 2] = ["/run/netns", "/var/run/netns"];

/// What of the records goes.
pub(super) struct Records {
    /// Those of pods, where these are gone.
    pub(super) may_forget: bool,
    pub(super) images: bool,
}

/// Takes it away; returns what stays and why. Records go last, and not while anything of a pod is there, so that the next
/// run finds it again.
pub(super) fn take(
    config: &Config,
    survey: &Survey,
    made: &BTreeSet<PathBuf>,
    records: &Records,
) -> Vec<String> {
    let mut failures = Vec::new();
    // While supervisors live they tell of their pods: a pin that outlived them might be nobody's.
    for pin in &survey.pins {
        failures.extend(sys::netns::remove(pin).err().map(|error| format!("network namespace {error}")));
    }
    failures.extend(hand::processes(survey.supervisors.iter(), &survey.ids));
    hand::made_cgroups(made);
    failures.extend(survey.mounts.iter().filter_map(|point| hand::mount(point).err()));
    let may_forget = records.may_forget && failures.is_empty();
    failures.extend(survey.groups.iter().filter_map(|group| engine::remove_cache_group(group).err()));
    failures.extend(survey.bridges.iter().filter_map(|name| hand::bridge(name).err()));
    failures.extend(net::remove_empty_tables().err().map(|error| format!("nftables: {error}")));
    let facade = &config.kubelet.cadvisor_socket;
    if cadvisor::is_ours(facade, &config.state_dir) {
        failures.extend(fs::remove_file(facade).err().map(|error| format!("{}: {error}", facade.display())));
    }
    failures
        .extend(survey.foreign.iter().map(|path| format!("{} is a mount of somebody else", path.display())));
    failures.extend(survey.sockets.iter().filter_map(|path| remove(path)));
    // Whatever is mounted there is not looked into, and the directory around it stays.
    if may_forget {
        let again = Survey::take(config, records.images);
        failures.extend(again.files.iter().filter_map(|path| remove(path)));
    }
    if failures.is_empty() {
        failures.extend(directories(config));
    }
    failures
}

fn remove(path: &Path) -> Option<String> {
    sys::tree::remove(path).err().map(|error| format!("{}: {error}", path.display()))
}

/// The directories themselves, where nothing is in them but the lock that is held.
fn directories(config: &Config) -> Vec<String> {
    let mut failures = Vec::new();
    for directory in [&config.state_dir, &config.data_dir] {
        let others = fs::read_dir(directory).into_iter().flatten().flatten();
        if others.filter(|entry| entry.file_name() != "corten.lock").count() > 0 {
            // Images.
            continue;
        }
        failures.extend(remove(&directory.join("corten.lock")));
        let removed = fs::remove_dir(directory);
        let is_left = |error: &std::io::Error| {
            // It may be a mount of the operator's.
            !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ResourceBusy)
        };
        failures
            .extend(removed.err().filter(is_left).map(|error| format!("{}: {error}", directory.display())));
    }
    // Where network namespaces have names is iproute2's, as is what else is pinned there: /run/netns stays.
    let netns = &config.runtime.netns_dir;
    if !SHARED.iter().any(|shared| netns == Path::new(shared)) {
        let _ = fs::remove_dir(netns);
    }
    // It is everybody's, and stays where something is in it.
    if let Some(parent) = config.kubelet.cadvisor_socket.parent().filter(|path| !path.as_os_str().is_empty())
    {
        let _ = fs::remove_dir(parent);
    }
    failures
}
