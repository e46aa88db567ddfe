//! What the network does on the host that takes root: namespaces, and plugins in process. Tests have another one.

use crate::network::Network;
use crate::slots::Slot;
use crate::stand_in;
use cni::Ready;
use cni::types::{CniError, CniResult, Invocation, NetnsRef};
use nix::sys::statfs::{FsType, statfs};
use std::path::Path;
use std::sync::Arc;
use sys::SysResult;
use sys::netlink::Address;
use sys::netns::{self, Netns};

/// The file system of namespace files (`NSFS_MAGIC` of linux/magic.h).
const NSFS: FsType = FsType(0x6e73_6673);

/// A host. All of this blocks.
pub(crate) trait Host: Send + Sync {
    /// Makes a network namespace, pinned at a path at which nothing is; of what was made ahead, if that is still good.
    fn create(&self, pin: &Path, slot: Option<Slot>) -> SysResult<Created>;
    /// Makes one that is pinned nowhere; `None` where none is to be made ahead.
    fn make_ahead(&self) -> SysResult<Option<Netns>>;
    /// As [`cni::Plugins::prepare`]; what cannot be made ahead is made, or its failure told, when it is needed.
    fn prepare(&self, call: &Invocation) -> Option<Ready>;
    /// Opens one that somebody else has made and pinned, and sets its loopback interface up.
    fn adopt(&self, pin: &Path) -> SysResult<NetnsRef>;
    /// Opens one that may be open.
    fn open(&self, netns: NetnsRef) -> SysResult<NetnsRef>;
    /// Makes one that is found as long as it is held, with an interface of this name and these addresses.
    fn stand_in(&self, ifname: &str, addresses: &[Address]) -> SysResult<NetnsRef>;
    /// Unpins one; that none is there is no error.
    fn remove(&self, pin: &Path) -> SysResult<()>;
    /// Whether one is pinned there.
    fn is_pinned(&self, path: &Path) -> bool;
    /// As [`cni::Plugins::run`].
    fn run(&self, call: &Invocation) -> Result<Option<CniResult>, CniError>;
    /// As [`cni::Plugins::heal`].
    fn heal(&self, calls: &mut dyn Iterator<Item = Invocation>) -> Result<bool, CniError>;
    /// As [`cni::Plugins::rules_generation`].
    fn rules_generation(&self) -> Option<u32>;
}

/// A namespace that is there now.
pub(crate) struct Created {
    pub(crate) netns: NetnsRef,
    /// It was made ahead.
    pub(crate) ahead: bool,
}

/// The one that the process runs on.
#[derive(Default)]
pub(crate) struct LocalHost {
    plugins: cni::Plugins,
}

impl Host for LocalHost {
    fn create(&self, pin: &Path, slot: Option<Slot>) -> SysResult<Created> {
        match slot.and_then(Slot::open) {
            Some((netns, ready)) => {
                let netns = NetnsRef { ready, ..opened(netns.pin(pin)?) };
                Ok(Created { netns, ahead: true })
            }
            None => Ok(Created { netns: opened(netns::create(pin)?), ahead: false }),
        }
    }

    fn make_ahead(&self) -> SysResult<Option<Netns>> {
        let made = netns::make()?;
        failpoint::reach!("net.ahead.made")?;
        Ok(Some(made))
    }

    fn prepare(&self, call: &Invocation) -> Option<Ready> {
        let made = self.plugins.prepare(call);
        made.inspect_err(|error| tracing::debug!(%error, "no interface is made ahead")).ok().flatten()
    }

    fn adopt(&self, pin: &Path) -> SysResult<NetnsRef> {
        Netns::adopt(pin).map(opened)
    }

    fn open(&self, netns: NetnsRef) -> SysResult<NetnsRef> {
        let handle = netns.open()?;
        Ok(NetnsRef { handle: Some(handle), ..netns })
    }

    fn stand_in(&self, ifname: &str, addresses: &[Address]) -> SysResult<NetnsRef> {
        stand_in::make(ifname, addresses).map(opened)
    }

    fn remove(&self, pin: &Path) -> SysResult<()> {
        netns::remove(pin)
    }

    fn is_pinned(&self, path: &Path) -> bool {
        statfs(path).is_ok_and(|fs| fs.filesystem_type() == NSFS)
    }

    fn run(&self, call: &Invocation) -> Result<Option<CniResult>, CniError> {
        self.plugins.run(call)
    }

    fn heal(&self, calls: &mut dyn Iterator<Item = Invocation>) -> Result<bool, CniError> {
        self.plugins.heal(calls)
    }

    fn rules_generation(&self) -> Option<u32> {
        self.plugins.rules_generation()
    }
}

fn opened(netns: Netns) -> NetnsRef {
    NetnsRef { path: netns.path().to_path_buf(), handle: Some(Arc::new(netns)), ready: None }
}

/// The network namespace of a pod.
#[derive(Debug, Clone)]
pub struct Namespace(pub(crate) NetnsRef);

impl Namespace {
    /// Runs something inside; `None` where it is a test's, in which nothing can run.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn run_in<T>(&self, work: impl FnOnce() -> T) -> SysResult<Option<T>> {
        self.0.handle.as_ref().map(|netns| netns::run_in(netns.fd(), work)).transpose()
    }
}

impl Network {
    /// Makes a network namespace with its loopback interface up, and pins it at `pin`, whose directory exists; where one was
    /// made ahead for this pod, it is that. Blocks.
    ///
    /// # Errors
    /// When a step fails; nothing is left behind then. `pin` must not exist.
    pub fn create_namespace(&self, pin: &Path, slot: Option<Slot>) -> SysResult<Namespace> {
        let created = self.host.create(pin, slot)?;
        self.caller.metrics().made_namespace(created.ahead);
        Ok(Namespace(created.netns))
    }

    /// Opens a network namespace that somebody else has made and pinned, and sets its loopback interface up. Blocks.
    ///
    /// # Errors
    /// When nothing is there, or it is no network namespace.
    pub fn adopt_namespace(&self, pin: &Path) -> SysResult<Namespace> {
        self.host.adopt(pin).map(Namespace)
    }

    /// Unpins the namespace at a path. It ends once no process and no descriptor holds it. A path that is not there is
    /// no error. Blocks.
    ///
    /// # Errors
    /// When unmounting or unlinking fails.
    pub fn remove_namespace(&self, pin: &Path) -> SysResult<()> {
        self.host.remove(pin)
    }

    /// The namespace, while it is pinned there.
    pub(crate) fn existing(&self, path: &Path) -> Option<NetnsRef> {
        self.host.is_pinned(path).then(|| NetnsRef::new(path))
    }
}
