//! Namespaces: those to make and those to join.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespaceType, Spec};
use sys::fd::{self, namespace};
use sys::process::SingleThread;
use sys::userns::{self, Holder, Range};

use crate::error::{Error, Result};

/// Those that a user namespace owns before a process lives in it, with their names on procfs.
const OWNED: [(&str, i32); 3] = [("net", namespace::NET), ("ipc", namespace::IPC), ("uts", namespace::UTS)];

/// What the configuration asks for.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    /// `CLONE_NEW*` of those that are new; the cgroup namespace comes later, in the plan.
    made: i32,
    /// A PID namespace to be born into.
    pub(crate) pid: Option<OwnedFd>,
    /// The user namespace to live in, where it is another than this process's.
    pub(crate) user: Option<OwnedFd>,
    /// The others to enter.
    joined: Vec<(OwnedFd, i32)>,
}

impl Namespaces {
    /// Opens the namespaces that are named by path, and makes a user namespace with those that it is to own. Its ids
    /// stand in the configuration afterwards.
    pub(crate) fn open(spec: &mut Spec, single: &SingleThread) -> Result<Self> {
        let mut all = Self::default();
        let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        for one in listed.into_iter().flatten() {
            let kind = one.typ();
            let flag = flag(kind);
            match one.path() {
                Some(path) => {
                    let opened: OwnedFd =
                        File::open(path).map_err(Error::io("open namespace", path.clone()))?.into();
                    match kind {
                        LinuxNamespaceType::Pid => all.pid = Some(opened),
                        LinuxNamespaceType::User => all.user = Some(opened),
                        _ => all.joined.push((opened, flag)),
                    }
                }
                None if kind == LinuxNamespaceType::Cgroup => {}
                None => all.made |= flag,
            }
        }
        if all.user.is_some() || all.makes(namespace::USER) {
            all.own(spec, single)?;
        }
        Ok(all)
    }

    /// Makes what belongs to the user namespace, and the user namespace itself where it is new.
    fn own(&mut self, spec: &mut Spec, single: &SingleThread) -> Result<()> {
        let kinds: Vec<_> = OWNED.into_iter().filter(|(_, flag)| self.makes(*flag)).collect();
        let owned = kinds.iter().fold(0, |flags, (_, flag)| flags | flag);
        let holder = match &self.user {
            None => {
                let ids = oci::plan::ids_of_spec(spec);
                let (uids, gids) = (launch::ranges(&ids.uids), launch::ranges(&ids.gids));
                let holder = Holder::new(single, owned, &uids, &gids)?;
                self.user = Some(holder.namespace("user")?);
                holder
            }
            Some(user) => {
                if is_own(user)? {
                    self.user = None;
                    return without(spec);
                }
                adopt_ids(spec, userns::ranges_of(single, user.as_fd())?)?;
                Holder::within(single, user.as_fd(), owned)?
            }
        };
        for (name, flag) in kinds {
            self.joined.push((holder.namespace(name)?, flag));
        }
        Ok(())
    }

    /// `CLONE_NEW*` of those that the fork of the first process makes. A user namespace's own are made in it.
    pub(crate) fn forked(&self) -> i32 {
        if self.user.is_some() { namespace::MOUNT } else { self.made }
    }

    /// Those to enter, in order.
    pub(crate) fn joins(&self) -> Vec<(BorrowedFd<'_>, i32)> {
        self.joined.iter().map(|(opened, flag)| (opened.as_fd(), *flag)).collect()
    }

    /// Whether one of this type is made.
    pub(crate) fn makes(&self, flag: i32) -> bool {
        self.made & flag != 0
    }
}

/// Whether a user namespace is that of this process, which nobody can enter again.
fn is_own(user: &OwnedFd) -> Result<bool> {
    let own = sys::resolve::open(b"/proc/self/ns/user", fd::flag::O_RDONLY)?;
    let (own, user) = (fd::identity(&own)?, fd::identity(user)?);
    Ok((own.dev, own.inode) == (user.dev, user.inode))
}

/// The configuration of a container that stays in this process's user namespace.
fn without(spec: &mut Spec) -> Result<()> {
    let Some(linux) = spec.linux_mut() else { return Ok(()) };
    let mapped = |list: &Option<Vec<LinuxIdMapping>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if mapped(linux.uid_mappings()) || mapped(linux.gid_mappings()) {
        return Err(Error::invalid(
            "linux.uidMappings",
            "do not fit the user namespace to join, the runtime's own",
        ));
    }
    if let Some(namespaces) = linux.namespaces_mut() {
        namespaces.retain(|one| one.typ() != LinuxNamespaceType::User);
    }
    Ok(())
}

/// Writes the ids of a user namespace that was there into the configuration, which may say the same already.
fn adopt_ids(spec: &mut Spec, (uids, gids): (Vec<Range>, Vec<Range>)) -> Result<()> {
    let Some(linux) = spec.linux_mut() else { return Ok(()) };
    let fits = |told: &Option<Vec<LinuxIdMapping>>, is: &[Range]| {
        let told = told.as_deref().unwrap_or_default();
        told.is_empty()
            || told.iter().map(|one| (one.container_id(), one.host_id(), one.size())).eq(is.iter().copied())
    };
    for (field, told, is) in [
        ("linux.uidMappings", linux.uid_mappings(), &uids),
        ("linux.gidMappings", linux.gid_mappings(), &gids),
    ] {
        if !fits(told, is) {
            return Err(Error::invalid(
                field,
                format!("are not those of the user namespace to join, {is:?}"),
            ));
        }
    }
    let (uids, gids) = (list(uids)?, list(gids)?);
    linux.set_uid_mappings(Some(uids)).set_gid_mappings(Some(gids));
    Ok(())
}

fn list(ranges: Vec<Range>) -> Result<Vec<LinuxIdMapping>> {
    let one = |(inside, outside, count)| {
        LinuxIdMappingBuilder::default().container_id(inside).host_id(outside).size(count).build()
    };
    let list: std::result::Result<_, _> = ranges.into_iter().map(one).collect();
    Ok(list.map_err(oci::OciError::from)?)
}

fn flag(kind: LinuxNamespaceType) -> i32 {
    // The type's own number is the kernel's.
    kind as i32
}

/// The namespaces of a process in which the calling one is not.
pub(crate) fn foreign(pid: i32) -> Result<i32> {
    let kinds = [
        ("net", namespace::NET),
        ("ipc", namespace::IPC),
        ("uts", namespace::UTS),
        ("mnt", namespace::MOUNT),
        ("cgroup", namespace::CGROUP),
    ];
    let link = |of: &str, name: &str| -> Result<PathBuf> {
        let path = PathBuf::from(format!("/proc/{of}/ns/{name}"));
        std::fs::read_link(&path).map_err(Error::io("read", path))
    };
    let mut flags = 0;
    for (name, flag) in kinds {
        if link("self", name)? != link(&pid.to_string(), name)? {
            flags |= flag;
        }
    }
    Ok(flags)
}
