//! Where images and writable layers lie: whether containers can live there, and how much room there is.

use super::finding::Finding;
use crate::config::Config;
use rustix::fs::{StatVfs, StatVfsMountFlags, statfs, statvfs};
use std::path::Path;

/// Less room than this is worth a word.
const LITTLE: u64 = 2 << 30;
/// So is less than one in so many of all bytes, or of all inodes.
const SHARE: u64 = 20;

/// Names of filesystems by their magic numbers (`linux/magic.h`).
const NAMES: [(i64, &str); 6] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x0102_1994, "tmpfs"),
    (0x794c_7630, "overlayfs"),
    (0x2fc1_2fc1, "zfs"),
];

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let data = &config.data_dir;
    let mut found = vec![overlay(config), users(config)];
    found.extend(options(data));
    found.extend(room("data_dir", data));
    if device(data) != device(&config.images.root) {
        found.extend(room("images.root", &config.images.root));
    }
    found
}

fn overlay(config: &Config) -> Finding {
    let data = &config.data_dir;
    match config.engine().try_overlay(data) {
        Ok(()) => Finding::ok("overlay", format!("can be mounted below data_dir {}", data.display())),
        Err(unfit) => Finding::error("overlay", unfit.to_string())
            .costs("the node is not ready, and no container starts")
            .mend("data_dir on ext4 or xfs; `modprobe overlay`; the daemon as root"),
    }
}

fn users(config: &Config) -> Finding {
    match config.engine().try_user_namespaces(&config.data_dir) {
        Ok(()) => Finding::ok("user-namespaces", "with idmapped layers"),
        Err(reason) => Finding::warning("user-namespaces", reason)
            .costs("pods with hostUsers: false are refused")
            .mend("Linux 5.19 or newer, and data_dir on a filesystem that can idmap (ext4, xfs, btrfs)"),
    }
}

/// What the mount of the data directory takes away from everything in containers.
fn options(data: &Path) -> Vec<Finding> {
    let Some(found) = there(data).and_then(|path| statvfs(path).ok()) else { return Vec::new() };
    let text = |name: &str| format!("data_dir {} is mounted {name}", data.display());
    let mut told = Vec::new();
    if found.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        let finding = Finding::error("mount-options", text("noexec"));
        told.push(finding.costs("no program of a container can be run").mend("mount it without noexec"));
    }
    if found.f_flag.contains(StatVfsMountFlags::NOSUID) {
        let finding = Finding::warning("mount-options", text("nosuid"));
        let costs = "programs in containers do not change their user (su, sudo)";
        told.push(finding.costs(costs).mend("mount it without nosuid"));
    }
    told
}

fn room(key: &str, path: &Path) -> Option<Finding> {
    let there = there(path)?;
    let (figures, kind) = (statvfs(there).ok()?, statfs(there).ok()?.f_type);
    let name = NAMES.iter().find(|(magic, _)| *magic == kind);
    let name = name.map_or_else(|| format!("filesystem {kind:#x}"), |(_, name)| (*name).to_owned());
    Some(judge(&format!("{key} {} ({name})", path.display()), &figures))
}

fn judge(what: &str, figures: &StatVfs) -> Finding {
    let (free, all) = (figures.f_bavail * figures.f_frsize, figures.f_blocks * figures.f_frsize);
    let (inodes, all_inodes) = (figures.f_favail, figures.f_files);
    let is_little = free < LITTLE || free < all / SHARE;
    let tell = format!("{what}: {:.1} of {:.1} GiB free", gibibytes(free), gibibytes(all));
    if is_little {
        return Finding::warning("disk", tell)
            .costs("pulls fail, and the kubelet evicts pods")
            .mend("more room, or `corten image prune`");
    }
    // Filesystems that make inodes as they go have none to count.
    if all_inodes > 0 && inodes < all_inodes / SHARE {
        return Finding::warning("disk", format!("{what}: {inodes} of {all_inodes} inodes free"))
            .costs("pulls fail with \"no space left on device\"")
            .mend("a filesystem with more inodes, or `corten image prune`");
    }
    Finding::ok("disk", tell)
}

#[allow(clippy::cast_precision_loss, reason = "shown with one digit")]
fn gibibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// What there is of a path that may have to be made yet.
fn there(path: &Path) -> Option<&Path> {
    path.ancestors().find(|path| path.exists())
}

fn device(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    there(path)?.metadata().ok().map(|found| found.dev())
}
