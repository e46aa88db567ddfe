//! Mounts: each is built detached, configured, and attached by descriptor to a target that was resolved
//! inside the new root.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use sys::fd::{errno, flag, propagation};
use sys::{SysResult, fd, mount, resolve};
use wire::plan::{ContainerPlan, MountPlan, MountSource, RootfsPlan};

use crate::ground::Ground;
use crate::groups::Volume;
use crate::userns::{self, Mapper};
use crate::{Context, Failure, images, pids};

const CGROUP_ROOT: &[u8] = b"/sys/fs/cgroup/";

/// Opens the sources of all bind mounts, before anything in the namespace changes.
pub(super) fn prepare(
    rootfs: &RootfsPlan,
    mounts: &[MountPlan],
    mapper: &mut Mapper<'_>,
    ground: &mut Ground<'_>,
) -> Result<Vec<Option<OwnedFd>>, Failure> {
    mounts.iter().map(|mount| open_source(mount, &rootfs.mountpoint, mapper, ground)).collect()
}

fn open_source(
    plan: &MountPlan,
    scratch: &[u8],
    mapper: &mut Mapper<'_>,
    ground: &mut Ground<'_>,
) -> Result<Option<OwnedFd>, Failure> {
    let (path, recursive) = match &plan.source {
        MountSource::Bind { path, recursive } => (path, recursive),
        MountSource::Overlay { layers, label } => {
            return images::overlay(plan, (layers, label), scratch, mapper, ground).map(Some);
        }
        // Their namespaces, of the network and of IPC, need not be those of the user namespace.
        MountSource::Filesystem { fstype, source, data }
            if mapper.has_pod() && matches!(fstype.as_slice(), b"sysfs" | b"mqueue") =>
        {
            let tree = mount::filesystem(fstype, source, data, plan.attributes);
            return tree.map(Some).context("mount", &plan.target);
        }
        MountSource::Filesystem { .. } | MountSource::Cgroup => return Ok(None),
    };
    let tree = mount::clone_tree(None, path, *recursive).context("mount", &plan.target)?;
    ground.cut_off(tree.as_fd()).context("mount", &plan.target)?;
    if !plan.idmap.is_empty() {
        let mapped = mapper.map(tree.as_fd(), &plan.idmap, plan.idmap_recursive);
        mapped.context("mount", &plan.target).map_err(userns::explain)?;
    }
    Ok(Some(tree))
}

/// Attaches all mounts in order, then verifies that `/proc` is what the plan wants there. Returns the volumes that have
/// yet to be shared.
pub(super) fn attach_all<'p>(
    root: BorrowedFd<'_>,
    plan: &'p ContainerPlan,
    sources: Vec<Option<OwnedFd>>,
    ground: &Ground<'_>,
) -> Result<Vec<Volume<'p>>, Failure> {
    let mut has_proc = false;
    let mut volumes = Vec::new();
    for (index, (mount, source)) in plan.mounts.iter().zip(sources).enumerate() {
        volumes.iter_mut().try_for_each(|volume: &mut Volume<'_>| volume.cover(root, &mount.target))?;
        match (&mount.source, source) {
            (MountSource::Filesystem { fstype, source, data }, made) => {
                refuse_link(root, fstype, &mount.target)?;
                has_proc |= fstype == b"proc";
                let copied = made.is_some();
                let tree = match made {
                    Some(tree) => Ok(tree),
                    None => {
                        let make = || mount::filesystem(fstype, source, data, mount.attributes);
                        if takes_no_path(fstype) { make() } else { ground.in_sight_of_host(make) }
                    }
                };
                let tree = tree.context("mount", &mount.target)?;
                if copied && pids::is_procfs(mount) {
                    place(root, &pids::as_copy(mount), &tree, true)?;
                } else {
                    place(root, mount, &tree, true)?;
                }
            }
            (MountSource::Bind { .. } | MountSource::Overlay { .. }, Some(tree)) => {
                let directory = fd::identity(&tree)?.is_dir();
                let following = plan.mounts.get(index + 1..).unwrap_or_default();
                match Volume::seclude(mount, &tree, following)? {
                    Some(volume) => {
                        let private = MountPlan { propagation: propagation::PRIVATE, ..mount.clone() };
                        place(root, &private, &tree, directory)?;
                        volumes.push(volume);
                    }
                    None => place(root, mount, &tree, directory)?,
                }
            }
            (MountSource::Bind { .. } | MountSource::Overlay { .. }, None) => {}
            (MountSource::Cgroup, _) => attach_cgroup(root, mount, plan, ground)?,
        }
    }
    if has_proc {
        let proc = resolve::open_in_root(root, b"/proc", flag::O_PATH)?;
        fd::expect_procfs(&proc).context("verify", b"/proc")?;
    }
    Ok(volumes)
}

/// Of others the source, or an option, may be a path of the host's.
fn takes_no_path(fstype: &[u8]) -> bool {
    [b"proc".as_slice(), b"sysfs", b"tmpfs", b"devpts", b"mqueue"].contains(&fstype)
}

/// An image whose `/proc` or `/sys` is a link could send later writes somewhere else (CVE-2019-19921).
fn refuse_link(root: BorrowedFd<'_>, fstype: &[u8], target: &[u8]) -> Result<(), Failure> {
    if !matches!(fstype, b"proc" | b"sysfs") {
        return Ok(());
    }
    match resolve::open_in_root(root, target, flag::O_PATH | flag::O_NOFOLLOW) {
        Ok(found) if !fd::identity(&found)?.is_dir() => Err(Failure::setup(
            errno::ENOTDIR,
            format!(
                "mount {}: the image has something else than a directory there",
                String::from_utf8_lossy(target)
            ),
        )),
        _ => Ok(()),
    }
}

/// Configures a detached tree and attaches it at its target, which is created when absent.
fn place(root: BorrowedFd<'_>, plan: &MountPlan, tree: &OwnedFd, directory: bool) -> Result<(), Failure> {
    let target = find_target(root, &plan.target, directory)?;
    let spread = match plan.propagation & !propagation::RECURSIVE {
        0 => propagation::PRIVATE,
        asked => asked,
    };
    let deep = plan.propagation == 0 || plan.propagation & propagation::RECURSIVE != 0;
    // A new filesystem has its attributes already and is private by birth.
    let attributes = match plan.source {
        MountSource::Filesystem { .. } => Attributes::default(),
        _ => Attributes::of(plan),
    };
    if matches!(plan.source, MountSource::Filesystem { .. }) && spread == propagation::PRIVATE {
        return attach(plan, tree, &target, directory);
    }
    let early = attributes.apply(tree.as_fd(), (spread, deep));
    let late = matches!(&early, Err(error) if error.errno == errno::ENOSYS);
    if !late {
        early.context("mount", &plan.target)?;
    } else if !attributes.is_simple() {
        // mount(2) reaches one mount only: less than was asked for, and nobody would notice.
        return Err(Failure::setup(
            errno::ENOSYS,
            format!(
                "mount {}: recursive attributes need mount_setattr (Linux 5.12)",
                String::from_utf8_lossy(&plan.target)
            ),
        ));
    }
    attach(plan, tree, &target, directory)?;
    if late {
        configure(tree.as_fd(), attributes.top.0, spread, deep).context("mount", &plan.target)?;
    }
    Ok(())
}

/// Opens a mount's target, which is created when absent. No link of the image leads a mount into procfs, in which the
/// spec allows only few places.
fn find_target(root: BorrowedFd<'_>, path: &[u8], directory: bool) -> Result<OwnedFd, Failure> {
    let target = resolve::open_or_create(root, path, directory).context("mount", path)?;
    let meant = path == b"/proc" || path.starts_with(b"/proc/");
    if !meant && fd::expect_procfs(&target).is_ok() {
        let path = String::from_utf8_lossy(path);
        return Err(Failure::setup(
            errno::ELOOP,
            format!("mount {path}: a link of the image leads into /proc"),
        ));
    }
    Ok(target)
}

/// The kernel says only that something is invalid when one is a directory and the other is not.
fn attach(plan: &MountPlan, tree: &OwnedFd, target: &OwnedFd, directory: bool) -> Result<(), Failure> {
    let attached = mount::attach(tree.as_fd(), target.as_fd());
    if attached.is_err() && fd::identity(target)?.is_dir() != directory {
        let path = String::from_utf8_lossy(&plan.target);
        let (source, place) = if directory { ("directory", "file") } else { ("file", "directory") };
        let source = match &plan.source {
            MountSource::Bind { path, .. } => format!("the {source} {}", String::from_utf8_lossy(path)),
            _ => format!("a {source}"),
        };
        let problem =
            format!("mount {path}: {source} cannot be mounted on it, which is a {place} in the image");
        return Err(Failure::setup(errno::ENOTDIR, problem));
    }
    attached.context("mount", &plan.target)
}

/// What is to be set and cleared on a mount, and on everything below it.
#[derive(Default)]
struct Attributes {
    top: (u64, u64),
    deep: (u64, u64),
}

impl Attributes {
    fn of(plan: &MountPlan) -> Self {
        Self { top: (plan.attributes, plan.cleared), deep: (plan.deep_attributes, plan.deep_cleared) }
    }

    /// Whether mount(2) can do it. What it leaves as it is, is what the mount has from its source.
    fn is_simple(&self) -> bool {
        self.deep == (0, 0) && self.top.1 & !mount::READ_ONLY == 0
    }

    /// Propagation and attributes, in one call where they reach equally deep.
    fn apply(&self, tree: BorrowedFd<'_>, (spread, all): (u64, bool)) -> SysResult<()> {
        let (shallow, deep) = if all { (0, spread) } else { (spread, 0) };
        if self.deep != (0, 0) || deep != 0 {
            mount::change_attributes(tree, self.deep, deep, true)?;
        }
        if self.top.0 != 0 || self.top.1 != 0 || shallow != 0 {
            mount::change_attributes(tree, self.top, shallow, false)?;
        }
        Ok(())
    }
}

/// Configures an attached mount, also on kernels before 5.12, where the low attribute bits (read-only, nosuid,
/// nodev, noexec) are those of mount(2).
pub(super) fn configure(tree: BorrowedFd<'_>, attributes: u64, spread: u64, deep: bool) -> SysResult<()> {
    match mount::set_attributes(tree, attributes, spread, deep) {
        Err(error) if error.errno == errno::ENOSYS => {}
        other => return other,
    }
    let path = format!("/proc/self/fd/{}", tree.as_raw_fd());
    if attributes != 0 {
        mount::classic(b"", path.as_bytes(), b"", mount::REMOUNT | mount::BIND | attributes & 0xf, b"")?;
    }
    if spread != 0 {
        let depth = if deep { propagation::RECURSIVE } else { 0 };
        mount::classic(b"", path.as_bytes(), b"", spread | depth, b"")?;
    }
    Ok(())
}

/// The container's view of its cgroup: the unified tree, or one bind a controller below a tmpfs.
fn attach_cgroup(
    root: BorrowedFd<'_>,
    plan: &MountPlan,
    container: &ContainerPlan,
    ground: &Ground<'_>,
) -> Result<(), Failure> {
    let (cgroup, label) = (&container.cgroup, container.rootfs.label.as_slice());
    if cgroup.v1.is_empty() {
        // Mounted anew in the host's cgroup namespace, the whole hierarchy would take this mount's options
        // (cgroups(7): nsdelegate, memory_recursiveprot) for its own.
        let tree = if container.new_cgroup_namespace {
            mount::filesystem(b"cgroup2", b"cgroup", b"", plan.attributes).context("mount", &plan.target)?
        } else {
            let tree = ground.in_sight_of_host(|| mount::clone_tree(None, CGROUP_ROOT, false));
            let tree = tree.context("mount", &plan.target)?;
            configure(tree.as_fd(), plan.attributes, propagation::PRIVATE, false)
                .context("mount", &plan.target)?;
            tree
        };
        let target = find_target(root, &plan.target, true)?;
        return mount::attach(tree.as_fd(), target.as_fd()).context("mount", &plan.target);
    }
    let attributes = plan.attributes & !mount::READ_ONLY;
    let mut data = b"mode=755".to_vec();
    if !label.is_empty() {
        data.extend([b",context=\"", label, b"\""].concat());
    }
    let base = mount::filesystem(b"tmpfs", b"cgroup", &data, attributes).context("mount", &plan.target)?;
    let target = find_target(root, &plan.target, true)?;
    mount::attach(base.as_fd(), target.as_fd()).context("mount", &plan.target)?;
    // The tree of version 2 beside it is for those alone who may write to it, such as a systemd: whoever else finds one takes
    // the host for one of version 2.
    let is_writable = plan.attributes & mount::READ_ONLY == 0;
    let beside = cgroup.v2.iter().filter(|_| is_writable);
    let dirs = cgroup.v1.iter().chain(beside).filter_map(|dir| Some((controller(dir)?, dir)));
    let (trees, seals) = ground
        .in_sight_of_host(|| {
            let trees = dirs.map(|(name, dir)| Ok((name, mount::clone_tree(None, dir, false)?)));
            Ok((trees.collect::<SysResult<Vec<_>>>()?, is_writable && has_unmounted_controllers()))
        })
        .context("mount", &plan.target)?;
    for (name, tree) in &trees {
        resolve::make_dir(base.as_fd(), name).context("mount", &plan.target)?;
        mount::attach_at(tree.as_fd(), base.as_fd(), name).context("mount", &plan.target)?;
        for single in name.split(|byte| *byte == b',').filter(|single| single != name) {
            resolve::make_link(base.as_fd(), name, single).context("mount", &plan.target)?;
        }
    }
    settle_cgroups(base.as_fd(), trees.iter().map(|(_, tree)| tree), plan.attributes)
        .context("mount", &plan.target)?;
    if seals {
        configure(base.as_fd(), plan.attributes | mount::READ_ONLY, 0, false)
            .context("mount", &plan.target)?;
    }
    Ok(())
}

/// Gives all hierarchies their attributes, in one call where the kernel has it.
fn settle_cgroups<'t>(
    base: BorrowedFd<'_>,
    trees: impl Iterator<Item = &'t OwnedFd>,
    attributes: u64,
) -> SysResult<()> {
    match mount::set_attributes(base, attributes, propagation::PRIVATE, true) {
        Err(error) if error.errno == errno::ENOSYS => {
            for tree in trees {
                configure(tree.as_fd(), attributes, propagation::PRIVATE, false)?;
            }
            if attributes & mount::READ_ONLY != 0 {
                configure(base, attributes, 0, false)?;
            }
            Ok(())
        }
        other => other,
    }
}

/// Whether the host has mounted a controller of v1 nowhere. A systemd in a container would make a directory for it and
/// mount it there, with it a hierarchy for the whole host, where it can.
fn has_unmounted_controllers() -> bool {
    // Missing where the kernel has no v1: nothing can be mounted then.
    let table = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
    // Name, hierarchy, number of cgroups, enabled.
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some("0") && fields.nth(1) == Some("1")
    })
}

/// `/sys/fs/cgroup/cpu,cpuacct/kubepods/…` → `cpu,cpuacct`.
fn controller(dir: &[u8]) -> Option<&[u8]> {
    dir.strip_prefix(CGROUP_ROOT)?.split(|byte| *byte == b'/').next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::controller;

    #[test]
    fn the_controller_is_the_first_directory_below_the_cgroup_root() {
        assert_eq!(controller(b"/sys/fs/cgroup/cpu,cpuacct/kubepods/x"), Some(&b"cpu,cpuacct"[..]));
        assert_eq!(controller(b"/sys/fs/cgroup/unified/x"), Some(&b"unified"[..]));
        assert_eq!(controller(b"/elsewhere/memory"), None);
    }
}
