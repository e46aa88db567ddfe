//! Mount options as flags.

use crate::error::{OciError, OciResult};
use crate::spec::ImageVolume;
use model::Rootfs;
use oci_spec::runtime::{Mount, Spec};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use wire::plan::{IdMaps, MountPlan, MountSource};

/// `MOUNT_ATTR_*` of mount_setattr(2) by option; what `mount -o` calls them. With a leading `r` (OCI 1.1) for
/// everything mounted below, too.
const ATTRIBUTES: [(&str, u64); 9] = [
    ("ro", sys::mount::READ_ONLY),
    ("nosuid", sys::mount::NO_SUID),
    ("nodev", sys::mount::NO_DEV),
    ("noexec", sys::mount::NO_EXEC),
    ("noatime", sys::mount::NO_ACCESS_TIMES),
    ("strictatime", sys::mount::STRICT_TIMES),
    ("nodiratime", sys::mount::NO_DIRECTORY_TIMES),
    ("nosymfollow", sys::mount::NO_LINKS),
    // The kernel's default.
    ("relatime", sys::mount::RELATIVE_TIMES),
];

/// Options that take an attribute back.
const CLEARS: [(&str, u64); 5] = [
    ("suid", sys::mount::NO_SUID),
    ("dev", sys::mount::NO_DEV),
    ("exec", sys::mount::NO_EXEC),
    ("diratime", sys::mount::NO_DIRECTORY_TIMES),
    ("symfollow", sys::mount::NO_LINKS),
];

/// Options that say nothing: the kernel's own defaults, in the words of `mount -o`.
const EMPTY: [&str; 2] = ["defaults", "async"];

const PROPAGATIONS: [(&str, u64); 4] = [
    ("private", sys::fd::propagation::PRIVATE),
    ("slave", sys::fd::propagation::SLAVE),
    ("shared", sys::fd::propagation::SHARED),
    ("unbindable", sys::fd::propagation::UNBINDABLE),
];

/// The flags of a propagation by name; with a leading `r` for everything below.
pub(super) fn propagation(name: &str) -> Option<u64> {
    let flag = |name: &str| PROPAGATIONS.iter().find(|(known, _)| *known == name).map(|(_, flag)| *flag);
    flag(name)
        .or_else(|| name.strip_prefix('r').and_then(flag).map(|flag| flag | sys::fd::propagation::RECURSIVE))
}

/// Whether the container's /dev is a filesystem of its own, in which nodes may be made.
pub(super) fn makes_dev(spec: &Spec) -> bool {
    let mounts = spec.mounts().iter().flatten();
    mounts.into_iter().any(|mount| mount.destination() == Path::new("/dev") && kind(mount) == "tmpfs")
}

/// The mounts in the spec's order.
pub(super) fn mounts(spec: &Spec, images: &[ImageVolume]) -> OciResult<Vec<MountPlan>> {
    let ids = super::ids::of_spec(spec);
    let label = spec.linux().as_ref().and_then(|linux| linux.mount_label().as_deref()).unwrap_or_default();
    let images = images.iter().map(|volume| (volume.name().into(), volume)).collect();
    let container = Whole { ids, label, images };
    spec.mounts().iter().flatten().map(|mount| plan(mount, &container)).collect()
}

/// What the mounts of a container have in common.
struct Whole<'a> {
    /// Those of its user namespace.
    ids: IdMaps,
    /// For all files of its own filesystems (SELinux); empty: none.
    label: &'a str,
    /// By the sources that stand for them.
    images: HashMap<PathBuf, &'a ImageVolume>,
}

impl Whole<'_> {
    /// The image that an overlay's source names, if it is one.
    fn image(&self, source: Option<&Path>) -> Option<MountSource> {
        let volume = self.images.get(source?)?;
        let Rootfs::Layers(layers) = &volume.rootfs;
        let layers = layers.iter().map(|layer| super::bytes(layer)).collect();
        Some(MountSource::Overlay { layers, label: self.label.as_bytes().to_vec() })
    }
}

/// Filesystems whose files the kernel labels by itself.
const LABELLED: [&str; 2] = ["proc", "sysfs"];

/// With a label for all of the filesystem's files (SELinux); quoted, as it may contain a comma.
fn data(fstype: &str, options: &[&str], label: &str) -> Vec<u8> {
    let context = (!label.is_empty() && !LABELLED.contains(&fstype)).then(|| format!("context=\"{label}\""));
    options.iter().copied().chain(context.as_deref()).collect::<Vec<_>>().join(",").into_bytes()
}

fn kind(mount: &Mount) -> &str {
    mount.typ().as_deref().unwrap_or("none")
}

/// What the options of a mount say.
#[derive(Default)]
struct Options<'a> {
    shallow: Attributes,
    deep: Attributes,
    propagation: u64,
    /// Whether it is a bind, and then whether with everything mounted below.
    bind: Option<bool>,
    /// Whether owners are mapped, and then whether on everything mounted below, too.
    idmap: Option<bool>,
    /// For the filesystem.
    data: Vec<&'a str>,
}

/// Attributes to set and to clear; the last word about each counts.
#[derive(Default)]
struct Attributes {
    set: u64,
    clear: u64,
}

impl Attributes {
    /// Whether the word is about an attribute; takes it then.
    fn take(&mut self, word: &str) -> bool {
        if word == "rw" {
            // Lifts no read-only mount of the host: a volume that is one stays one.
            self.set &= !sys::mount::READ_ONLY;
        } else if let Some((_, bit)) = ATTRIBUTES.iter().find(|(name, _)| *name == word) {
            self.set |= bit;
            self.clear &= !bit;
        } else if let Some((_, bit)) = CLEARS.iter().find(|(name, _)| *name == word) {
            self.set &= !bit;
            self.clear |= bit;
        } else {
            return false;
        }
        true
    }
}

impl<'a> Options<'a> {
    fn parse(words: &'a [String]) -> Self {
        let mut options = Self::default();
        for word in words.iter().map(String::as_str) {
            match word {
                "bind" | "rbind" => options.bind = Some(word == "rbind"),
                "idmap" | "ridmap" => options.idmap = Some(word == "ridmap"),
                _ if EMPTY.contains(&word) => {}
                "rrw" => {
                    options.deep.set &= !sys::mount::READ_ONLY;
                    options.deep.clear |= sys::mount::READ_ONLY;
                }
                // Before `r…`: `ro`, `rw` and `relatime` are no deep forms of anything.
                _ if options.shallow.take(word) => {}
                _ if word.strip_prefix('r').is_some_and(|deep| options.deep.take(deep)) => {}
                _ => match propagation(word) {
                    Some(flag) => options.propagation = flag,
                    None => options.data.push(word),
                },
            }
        }
        options
    }
}

fn plan(mount: &Mount, container: &Whole<'_>) -> OciResult<MountPlan> {
    let words = mount.options().as_deref().unwrap_or_default();
    let refuse =
        |reason: String| OciError::invalid(format!("mount at {}", mount.destination().display()), reason);
    let options = Options::parse(words);
    let source = mount.source().as_deref();
    let source = match (kind(mount), options.bind) {
        ("bind", _) | (_, Some(_)) => MountSource::Bind {
            path: super::bytes(source.ok_or_else(|| refuse("has no source".to_owned()))?),
            recursive: options.bind.unwrap_or(true),
        },
        ("cgroup" | "cgroup2", _) => MountSource::Cgroup,
        ("overlay", _) if let Some(image) = container.image(source) => image,
        (fstype, _) => MountSource::Filesystem {
            fstype: fstype.as_bytes().to_vec(),
            source: super::bytes(source.unwrap_or(Path::new(fstype))),
            data: data(fstype, &options.data, container.label),
        },
    };
    if let (MountSource::Bind { .. }, Some(option)) = (&source, options.data.first()) {
        return Err(refuse(format!("{option:?} is no option of a bind mount")));
    }
    let idmap = idmap(mount, &options, &container.ids)?;
    if !idmap.is_empty() && matches!(source, MountSource::Filesystem { .. } | MountSource::Cgroup) {
        return Err(refuse("has mappings of ids, and is no bind mount".to_owned()));
    }
    Ok(MountPlan {
        target: super::bytes(mount.destination()),
        source,
        attributes: options.shallow.set,
        cleared: options.shallow.clear,
        deep_attributes: options.deep.set,
        deep_cleared: options.deep.clear,
        propagation: options.propagation,
        idmap,
        idmap_recursive: options.idmap.unwrap_or(false),
    })
}

/// How the owners of the mount's files are shown: through its own mappings, or, where only the option asks for it,
/// those of the container's user namespace.
fn idmap(mount: &Mount, options: &Options<'_>, own: &IdMaps) -> OciResult<IdMaps> {
    let refuse = |problem: &str| {
        Err(OciError::invalid(format!("mount at {}", mount.destination().display()), problem))
    };
    let uids = super::ids::of_list(mount.uid_mappings().as_ref());
    let gids = super::ids::of_list(mount.gid_mappings().as_ref());
    match (uids.is_empty(), gids.is_empty(), options.idmap) {
        (false, false, _) => Ok(IdMaps { uids, gids }),
        (true, true, None) => Ok(IdMaps::default()),
        (true, true, Some(_)) if own.is_empty() => {
            refuse("is to be idmapped, and has no mappings, nor has the container a user namespace")
        }
        (true, true, Some(_)) => Ok(own.clone()),
        _ => refuse("has mappings of only one of users and groups"),
    }
}
