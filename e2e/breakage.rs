//! What of a node can be broken for a while: a disk of its own for what the runtime stores, and a CNI plugin.

use crate::error::{Context, Error};
use crate::world::World;
use crate::{command, tools};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Puts an empty disk of this size (`400m`) and number of files under what the runtime stores, and starts it anew there.
///
/// # Errors
/// When it cannot be mounted, or the runtime does not start.
pub fn put_on_small_disk(world: &mut World, size: &str, files: u32) -> Result<(), Error> {
    world.daemon.kill()?;
    let mut mount = Command::new(tools::system("mount")?);
    mount.args(["-t", "tmpfs", "-o", &format!("size={size},nr_inodes={files},mode=711"), "tmpfs"]);
    mount.arg(&world.daemon.place().data);
    command::run(&mut mount, Duration::from_secs(10))?;
    world.daemon.restart()
}

fn ballast(disk: &Path) -> PathBuf {
    disk.join("ballast")
}

/// Takes what room there is on a disk.
///
/// # Errors
/// When that cannot be.
pub fn fill(disk: &Path) -> Result<(), Error> {
    let path = ballast(disk);
    let file = File::create(&path).at("create", &path)?;
    let failed = |source| Error::System { operation: "fill a disk", source };
    let mut taken = 0;
    for _ in 0..100 {
        let found = statvfs(disk).map_err(failed)?;
        let free = found.blocks_free() * found.fragment_size();
        if free == 0 {
            break;
        }
        taken += i64::try_from(free).unwrap_or_default();
        // Others write meanwhile.
        let _ = fallocate(&file, FallocateFlags::empty(), 0, taken);
    }
    Ok(())
}

/// Gives it back.
///
/// # Errors
/// When it was not taken.
pub fn empty(disk: &Path) -> Result<(), Error> {
    let path = ballast(disk);
    fs::remove_file(&path).at("remove", &path)
}

/// Puts a bridge plugin into a directory that works, or is broken: it is `gone`, `fails`, or `babbles`.
///
/// # Errors
/// When it cannot be written.
pub fn install_bridge(directory: &Path, manner: &str) -> Result<(), Error> {
    let (path, new) = (directory.join("bridge"), directory.join("bridge.new"));
    let real = tools::dist().join("cni/bridge");
    let script = match manner {
        "gone" => return fs::remove_file(&path).at("remove", &path),
        "fails" => r#"echo '{"cniVersion": "1.0.0", "code": 11, "msg": "not now"}'; exit 1"#.to_owned(),
        // It does not say either that it has released what it has not.
        "babbles" => "echo nonsense; [ $CNI_COMMAND = ADD ]".to_owned(),
        _ => format!("exec {}", real.display()),
    };
    fs::write(&new, format!("#!/bin/sh\n{script}\n")).at("write", &new)?;
    fs::set_permissions(&new, Permissions::from_mode(0o755)).at("change", &new)?;
    fs::rename(&new, &path).at("rename", &new)
}

/// The directory of a node's plugins, of which the bridge is one that can be broken; they are not executed before the
/// runtime is told so.
///
/// # Errors
/// When it cannot be made.
pub fn plugins(world: &World) -> Result<PathBuf, Error> {
    let directory = world.isolation.directory("plugins")?;
    for plugin in ["host-local", "portmap", "loopback"] {
        let link = directory.join(plugin);
        std::os::unix::fs::symlink(tools::dist().join("cni").join(plugin), &link).at("link", &link)?;
    }
    install_bridge(&directory, "works")?;
    let file = world.daemon.place().root.join("conf.d/plugins.toml");
    let settings = format!("[network]\nin_process = false\nbin_dirs = [{directory:?}]\n");
    fs::write(&file, settings).at("write", &file)?;
    Ok(directory)
}
