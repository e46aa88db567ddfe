//! Devices of the host's network that a pod has for a while: moved into its namespace, and back as they were. A journal,
//! written before anything moves, says which those are; while it names one, the namespace is not to be removed.

use crate::{NetError, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Mutex;
use sys::fd::errno;
use sys::netlink::{Address, Batch, LinkInfo, Socket, addresses, link_info};
use sys::netns::Netns;
use sys::sync::lock;
use sys::{SysError, SysResult};

/// Few pods have any: one move at a time sees every other one whole.
static MOVING: Mutex<()> = Mutex::new(());

/// The devices of a pod.
#[derive(Debug, Clone, Copy)]
pub struct Devices<'a> {
    /// Where they are written down.
    pub journal: &'a Path,
    /// The pod's network namespace.
    pub netns: &'a Path,
}

/// A device that a container has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    container: String,
    /// Its name on the host.
    host: String,
    /// Its name in the pod.
    inside: String,
    /// By which it is known for the same, with the name.
    mac: Option<[u8; 6]>,
    /// It was up.
    up: bool,
    /// Those that it had for good, for all the world.
    addresses: Vec<(IpAddr, u8)>,
}

impl Devices<'_> {
    /// Moves a device into the pod. One that a container of the pod has which is dead goes back first.
    ///
    /// # Errors
    /// A device that is not there, a name that is taken, and what the kernel refuses; then it is where it was.
    pub fn take(
        &self,
        container: &str,
        (host, inside): (&str, &str),
        is_dead: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let _one_at_a_time = lock(&MOVING);
        let mut all = self.read()?;
        if let Some(place) = all.iter().position(|held| held.host == host && is_dead(&held.container)) {
            self.leave(&all.remove(place))?;
            self.write(&all)?;
        }
        let netns = Netns::open(self.netns)?;
        let found = find(&here()?, host)?
            .ok_or_else(|| SysError::new("find the host's network device", host, errno::ENODEV))?;
        if find(netns.rtnl(), inside)?.is_some() {
            return Err(SysError::new("move a network device into the pod as", inside, errno::EEXIST).into());
        }
        let held = Held {
            container: container.to_owned(),
            host: host.to_owned(),
            inside: inside.to_owned(),
            mac: found.mac.map(|mac| mac.0),
            up: found.up,
            addresses: lasting(&here()?, found.index)?,
        };
        all.push(held);
        self.write(&all)?;
        let Some(held) = all.last() else { return Ok(()) };
        let moved = relocate((&here()?, &found), inside, netns.fd())
            .and_then(|()| settle(netns.rtnl(), inside, &held.addresses, true));
        if let Err(error) = moved {
            self.leave(held)?;
            all.pop();
            self.write(&all)?;
            return Err(error.into());
        }
        Ok(())
    }

    /// Moves back what a container has, or what all have; nothing, and a namespace that is gone, are fine.
    ///
    /// # Errors
    /// The kernel's, and those of the journal; what has not moved stays in it.
    pub fn give_back(&self, container: Option<&str>) -> Result<()> {
        if !self.journal.exists() {
            return Ok(());
        }
        let _one_at_a_time = lock(&MOVING);
        let held = match self.read() {
            Ok(held) => held,
            // Neither would ever be removed otherwise. The kernel gives back what it can when the pod's network ends.
            Err(error) => {
                let error = model::chain(&error);
                tracing::error!(
                    error,
                    "network devices are not given back: the record of those that a pod has is damaged"
                );
                return if container.is_none() { Ok(sys::tree::remove(self.journal)?) } else { Ok(()) };
            }
        };
        let (going, staying): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|held| container.is_none_or(|container| held.container == container));
        going.iter().try_for_each(|held| self.leave(held))?;
        self.write(&staying)
    }

    /// Moves a device back, where it is in the pod: by its new name, or by its own where it got no further.
    fn leave(&self, held: &Held) -> SysResult<()> {
        let netns = match Netns::open(self.netns) {
            Err(error) if error.is_absent() || error.errno == errno::EINVAL => return Ok(()),
            opened => opened?,
        };
        let mut found = None;
        for name in [&held.inside, &held.host] {
            let is_it = |found: &LinkInfo| found.mac.map(|mac| mac.0) == held.mac;
            found = found.or(find(netns.rtnl(), name)?.filter(is_it));
        }
        let Some(found) = found else { return Ok(()) };
        let mut name = held.host.clone();
        if find(&here()?, &name)?.is_some() {
            // Somebody has made another one. The kernel, too, calls what comes back to it so.
            name = free(&here()?)?;
            tracing::warn!(
                device = held.host,
                name,
                "a network device has another name now: its own is taken"
            );
        }
        let own = File::open(OWN).map_err(SysError::io("open network namespace", OWN))?;
        relocate((netns.rtnl(), &found), &name, own.as_fd())?;
        settle(&here()?, &name, &held.addresses, held.up)
    }

    fn read(&self) -> Result<Vec<Held>> {
        match sys::regular::read(self.journal, LONGEST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            text => {
                let text = text.map_err(NetError::state("read", self.journal))?;
                let read = serde_json::from_slice(&text).map_err(io::Error::from);
                read.map_err(NetError::state("decode", self.journal))
            }
        }
    }

    fn write(&self, all: &[Held]) -> Result<()> {
        if all.is_empty() {
            return match std::fs::remove_file(self.journal) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(NetError::state("remove", self.journal)(error))
                }
                _ => Ok(()),
            };
        }
        let text = serde_json::to_vec(all).map_err(io::Error::from);
        Ok(sys::fs::write_atomic(
            self.journal,
            &text.map_err(NetError::state("encode", self.journal))?,
            0o600,
        )?)
    }
}

/// Longer than any record of them.
const LONGEST: u64 = 16 << 20;
/// The calling thread's network namespace, which is the host's.
const OWN: &str = "/proc/thread-self/ns/net";

fn here() -> SysResult<Socket> {
    Socket::route()
}

fn find(namespace: &Socket, name: &str) -> SysResult<Option<LinkInfo>> {
    match namespace.run(Batch::new().get_link(name)) {
        Err(error) if error.errno == errno::ENODEV => Ok(None),
        replies => Ok(link_info(&replies?)),
    }
}

/// A name like `dev0` that nothing has.
fn free(namespace: &Socket) -> SysResult<String> {
    for number in 0..u16::MAX {
        let name = format!("dev{number}");
        if find(namespace, &name)?.is_none() {
            return Ok(name);
        }
    }
    Err(SysError::new("find a name for", "dev", errno::EEXIST))
}

/// The addresses of a device that it keeps wherever it is.
fn lasting(namespace: &Socket, index: u32) -> SysResult<Vec<(IpAddr, u8)>> {
    let all = addresses(&namespace.run(Batch::new().get_addresses())?);
    let kept = all.iter().filter(|info| info.index == index && info.lasting);
    Ok(kept.map(|info| (info.address.ip, info.address.prefix)).collect())
}

/// Takes a device down, and moves it by another name.
fn relocate((from, device): (&Socket, &LinkInfo), name: &str, to: BorrowedFd<'_>) -> SysResult<()> {
    let mut batch = Batch::new();
    batch.set_up(&device.name, device.index, false).move_link((&device.name, device.index), name, to);
    from.run(&mut batch).map(drop)
}

/// Gives a device what it lost on the way.
fn settle(namespace: &Socket, name: &str, addresses: &[(IpAddr, u8)], up: bool) -> SysResult<()> {
    let found = find(namespace, name)?;
    let index = found.ok_or_else(|| SysError::new("find the network device", name, errno::ENODEV))?.index;
    let mut batch = Batch::new();
    for (ip, prefix) in addresses {
        batch.add_address(name, index, Address { ip: *ip, prefix: *prefix }, false);
    }
    if up {
        batch.set_up(name, index, true);
    }
    if batch.is_empty() { Ok(()) } else { namespace.run(&mut batch).map(drop) }
}

#[cfg(test)]
mod tests;
