//! The files of reserved addresses, under a lock.

use super::index::{Guard, Leases};
use super::owner::Owner;
use crate::failure::file;
use crate::types::{CniError, ValidAttachment};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use sys::aside::{Wanted, is_absent};

/// Longer than what is written of an owner, or an address.
pub(super) const LONGEST: u64 = 4096;

/// The directory of a network, locked until it is dropped.
#[derive(Debug)]
pub(super) struct Store<'a> {
    directory: PathBuf,
    // Before the lock: fields are dropped in this order, and the index is put back under the lock.
    index: Guard<'a>,
    /// Held for its lock, which ends with it.
    _lock: File,
}

impl<'a> Store<'a> {
    /// Opens the directory of a network, which is made when it is not there.
    pub(super) fn open(leases: &'a Leases, directory: &Path) -> Result<Self, CniError> {
        match Self::lock(leases, directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let mut builder = std::fs::DirBuilder::new();
                builder.recursive(true).mode(0o755);
                builder.create(directory).map_err(file("create directory", directory))?;
                Self::lock(leases, directory)
            }
            result => result,
        }
        .map_err(file("lock", directory))
    }

    /// Opens the directory of a network, if there is one.
    pub(super) fn open_existing(leases: &'a Leases, directory: &Path) -> Result<Option<Self>, CniError> {
        match Self::lock(leases, directory) {
            // In a place that is no directory nothing can have been reserved.
            Err(error) if is_absent(&error) => Ok(None),
            result => result.map(Some).map_err(file("lock", directory)),
        }
    }

    fn lock(leases: &'a Leases, directory: &Path) -> std::io::Result<Self> {
        let path = directory.join("lock");
        Wanted::File.clear(&path)?;
        let lock =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        lock.lock()?;
        Ok(Self { directory: directory.to_path_buf(), _lock: lock, index: leases.take(directory) })
    }

    fn path(&self, ip: IpAddr) -> PathBuf {
        self.directory.join(ip.to_string())
    }

    fn last_path(&self, set: usize) -> PathBuf {
        self.directory.join(format!("last_reserved_ip.{set}"))
    }

    /// The address that was given out last of a set of ranges.
    pub(super) fn last_reserved(&self, set: usize) -> Option<IpAddr> {
        sys::regular::read_text(&self.last_path(set), LONGEST).ok()?.trim().parse().ok()
    }

    /// Reserves an address; false when it is taken.
    pub(super) fn reserve(&mut self, ip: IpAddr, set: usize, owner: &Owner) -> Result<bool, CniError> {
        let path = self.path(ip);
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut created = match created {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            result => result.map_err(file("create", &path))?,
        };
        let last = self.last_path(set);
        let written = created
            .write_all(owner.write().as_bytes())
            .map_err(file("write", &path))
            .and_then(|()| write_last(&last, ip).map_err(file("write", &last)))
            .and_then(|()| Ok(failpoint::reach!("cni.lease.written")?));
        if let Err(error) = written {
            // The address is free again; that this fails too would be the same failure.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        self.index.insert(ip, owner.clone());
        Ok(true)
    }

    /// The addresses of an attachment. Those of nobody are freed on the way: whoever reserved them was killed before
    /// writing who it is, as the lock tells, and no later call would ask for them.
    pub(super) fn addresses_of(&mut self, owner: &Owner) -> Result<Vec<IpAddr>, CniError> {
        let nobody = Owner { container_id: String::new(), ifname: String::new() };
        let all = self.index.entries(&self.directory).map_err(file("read directory", &self.directory))?;
        let of = |wanted: &Owner| -> Vec<_> {
            all.iter().filter(|(_, found)| found.matches(wanted)).map(|(ip, _)| *ip).collect()
        };
        let (own, unowned) = (of(owner), of(&nobody));
        for ip in unowned {
            self.release(ip, &nobody)?;
        }
        Ok(own)
    }

    /// Frees an address if the attachment (still) has it.
    pub(super) fn release(&mut self, ip: IpAddr, owner: &Owner) -> Result<bool, CniError> {
        let path = self.path(ip);
        let found = match sys::regular::read_text(&path, LONGEST) {
            Err(error) if is_absent(&error) => return Ok(false),
            result => Owner::read(&result.map_err(file("read", &path))?),
        };
        if !found.matches(owner) {
            return Ok(false);
        }
        std::fs::remove_file(&path).map_err(file("remove", &path))?;
        self.index.remove(ip);
        failpoint::reach!("cni.lease.released")?;
        Ok(true)
    }

    /// Frees the addresses that belong to none of the valid attachments.
    pub(super) fn release_others(&mut self, valid: &[ValidAttachment]) -> Result<(), CniError> {
        let valid: Vec<Owner> = valid
            .iter()
            .map(|valid| Owner { container_id: valid.container_id.clone(), ifname: valid.ifname.clone() })
            .collect();
        let all = self.index.entries(&self.directory).map_err(file("read directory", &self.directory))?;
        let stale: Vec<_> = all
            .iter()
            .filter(|(_, owner)| !valid.iter().any(|valid| owner.matches(valid)))
            .map(|(ip, owner)| (*ip, owner.clone()))
            .collect();
        for (ip, owner) in stale {
            self.release(ip, &owner)?;
        }
        Ok(())
    }
}

/// Overwrites the file in place: to empty it first would free its block, which some disks do slowly.
fn write_last(path: &Path, ip: IpAddr) -> std::io::Result<()> {
    let text = ip.to_string();
    Wanted::File.clear(path)?;
    let mut last = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    last.write_all(text.as_bytes())?;
    last.set_len(text.len() as u64)
}
