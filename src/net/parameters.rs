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
use std::sync::OnceLock;

const NET: &str = "/proc/sys/net";
/// 1 where IPv6 takes over parameters, too.
const INHERIT: (&str, &str) = ("core", "devconf_inherit_init_net");
const SINGLE: [(&str, &str); 4] =
    [INHERIT, ("ipv4", "tcp_rmem"), ("ipv4", "tcp_wmem"), ("ipv4", "tcp_congestion_control")];
/// The longest of them are three numbers.
const LONGEST: usize = 128;

/// Those of the network namespace in which this was first asked for something.
///
/// Their directories stay open: the kernel finds one, by its name, among those of all network namespaces.
#[derive(Debug, Default)]
pub(crate) struct Parameters(OnceLock<Directories>);

impl Parameters {
    /// A number that changes with what the namespace gives to new ones. Blocks.
    pub(crate) fn fingerprint(&self) -> u64 {
        if let Some(known) = self.0.get().filter(|known| known.are_complete()) {
            return known.fingerprint();
        }
        let opened = Directories::open(Path::new(NET));
        let fingerprint = opened.fingerprint();
        if opened.are_complete() {
            // Those that are known lack some of IPv6, which count now: they stay so, and it is looked again.
            let _ = self.0.set(opened);
        }
        fingerprint
    }
}

/// Those that are there.
#[derive(Debug)]
struct Directories {
    single: Vec<(&'static str, File)>,
    ipv4: Vec<File>,
    ipv6: Vec<File>,
}

impl Directories {
    fn open(net: &Path) -> Self {
        let open = |name: &str| File::open(net.join(name)).ok();
        let of_all = |family: &str| {
            ["all", "default"].iter().filter_map(|name| open(&format!("{family}/conf/{name}"))).collect()
        };
        Self {
            single: ["core", "ipv4"].into_iter().filter_map(|name| Some((name, open(name)?))).collect(),
            ipv4: of_all("ipv4"),
            ipv6: of_all("ipv6"),
        }
    }

    /// Whether those are there that every kernel has, and those of IPv6, where they count.
    fn are_complete(&self) -> bool {
        self.single.len() == 2 && self.ipv4.len() == 2 && (self.ipv6.len() == 2 || !self.inherits_all())
    }

    fn inherits_all(&self) -> bool {
        self.single(INHERIT).starts_with(b"1")
    }

    fn single(&self, (directory, name): (&str, &str)) -> Vec<u8> {
        let found = self.single.iter().find(|(known, _)| *known == directory);
        found.map(|(_, directory)| read(directory, name)).unwrap_or_default()
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for file in SINGLE {
            self.single(file).hash(&mut hasher);
        }
        let ipv6: &[File] = if self.inherits_all() { &self.ipv6 } else { &[] };
        for directory in self.ipv4.iter().chain(ipv6) {
            for name in names(directory) {
                (read(directory, &name), name).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

fn names(directory: &File) -> Vec<String> {
    // Opened anew: where a list has got to belongs to the descriptor.
    let listed = open(directory, ".", OFlag::O_DIRECTORY).and_then(|own| Dir::from_fd(own).ok());
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
        for name in ["core", "ipv4/conf/all", "ipv4/conf/default", "ipv6/conf/all"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let parameters = Directories::open(dir.path());
        let mut last = parameters.fingerprint();
        let mut changes = |file: &str, value: &str| {
            write(file, value);
            let now = parameters.fingerprint();
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
