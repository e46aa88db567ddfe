//! What a network namespace takes over from the host when it is made, and does not follow from then on
//! (`devinet_init_net`, `addrconf_init_net` and `tcp_sk_init` of the kernel).

use nix::dir::Dir;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

const NET: &str = "/proc/sys/net";
/// 1 where IPv6 takes over parameters, too.
const INHERIT: &str = "core/devconf_inherit_init_net";
const SINGLE: [&str; 4] = [INHERIT, "ipv4/tcp_rmem", "ipv4/tcp_wmem", "ipv4/tcp_congestion_control"];
/// The longest of them are three numbers.
const LONGEST: usize = 128;

/// A number that changes with what the calling thread's network namespace gives to new ones. Blocks.
///
/// Everything is opened below one directory: the kernel finds that, by its name, among those of all network namespaces.
pub(crate) fn fingerprint() -> u64 {
    fingerprint_of(Path::new(NET))
}

fn fingerprint_of(net: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    let Ok(net) = File::open(net) else { return hasher.finish() };
    for file in SINGLE {
        read(&net, file).hash(&mut hasher);
    }
    let families: &[&str] = match read(&net, INHERIT).starts_with(b"1") {
        true => &["ipv4", "ipv6"],
        false => &["ipv4"],
    };
    for family in families {
        for interface in ["all", "default"] {
            let Some(directory) = open(&net, &format!("{family}/conf/{interface}"), OFlag::O_DIRECTORY)
            else {
                continue;
            };
            for name in names(&directory) {
                (read(&directory, &name), name).hash(&mut hasher);
            }
        }
    }
    hasher.finish()
}

fn names(directory: &OwnedFd) -> Vec<String> {
    let listed = directory.try_clone().ok().and_then(|own| Dir::from_fd(own).ok());
    let names = listed.into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort_unstable();
    names
}

fn open(directory: &impl AsFd, name: &str, flags: OFlag) -> Option<OwnedFd> {
    openat(directory, name, flags | OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()
}

/// Nothing of what cannot be read.
fn read(directory: &impl AsFd, name: &str) -> Vec<u8> {
    let mut bytes = [0; LONGEST];
    let length =
        open(directory, name, OFlag::empty()).and_then(|file| File::from(file).read(&mut bytes).ok());
    bytes[..length.unwrap_or_default()].to_vec()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn it_changes_with_what_new_namespaces_get() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, value: &str| {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value).unwrap();
        };
        let mut last = fingerprint_of(dir.path());
        let mut changes = |file: &str, value: &str| {
            write(file, value);
            let now = fingerprint_of(dir.path());
            std::mem::replace(&mut last, now) != now
        };
        assert!(changes("ipv4/conf/all/rp_filter", "0"));
        assert!(changes("ipv4/conf/all/rp_filter", "1"));
        assert!(changes("ipv4/conf/default/rp_filter", "1"));
        assert!(changes("ipv4/tcp_rmem", "4096 131072 6291456"));
        assert!(!changes("ipv4/conf/eth0/rp_filter", "1"), "that is an interface's");
        assert!(!changes("ipv6/conf/all/accept_ra", "1"), "new namespaces have the kernel's");
        assert!(changes("core/devconf_inherit_init_net", "1"));
        assert!(changes("ipv6/conf/all/accept_ra", "0"));
    }
}
