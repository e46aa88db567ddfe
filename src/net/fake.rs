//! A network for tests, without root and without a host: namespaces are plain files, the plugins of the built-in network
//! answer from memory and do as they are told. All else is as it ever is: the records, DEL, what is tried again.

use crate::host::{Created, Host};
use crate::network::Network;
use crate::slots::Slot;
use crate::{NetworkSettings, Result};
use cni::Ready;
use cni::types::{CniError, CniResult, Command, Interface, Invocation, IpConfig, NetnsRef};
use ipnet::{IpNet, Ipv4Net};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use sys::netlink::Address;
use sys::netns::Netns;
use sys::sync::{lock, wait_while};
use sys::{SysError, SysResult};

/// What stands in for the host; a handle, by which tests rule it.
#[derive(Clone, Default)]
pub struct FakeHost(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    calls: Vec<(Command, String)>,
    failing: HashMap<Command, CniError>,
    held: Vec<Command>,
    attached: BTreeMap<String, Ipv4Addr>,
    kept: Option<Vec<String>>,
    given: u32,
}

impl FakeHost {
    /// The calls of containers so far, in order: the first plugin's ADD, the last one's DEL and the like.
    pub fn calls(&self) -> Vec<(Command, String)> {
        self.state().calls.clone()
    }

    /// From now on a command fails, with [`CniError::INTERNAL`] and this message.
    pub fn fail(&self, command: Command, message: &str) {
        self.state().failing.insert(command, CniError::new(CniError::INTERNAL, message));
    }

    /// From now on it succeeds again.
    pub fn mend(&self, command: Command) {
        self.state().failing.remove(&command);
    }

    /// From now on a command does not return, until it is let go.
    pub fn hold(&self, command: Command) {
        self.state().held.push(command);
    }

    /// Lets go what is held of a command, and what comes.
    pub fn let_go(&self, command: Command) {
        self.state().held.retain(|held| *held != command);
        self.0.changed.notify_all();
    }

    /// The containers that are attached, with their addresses.
    pub fn attached(&self) -> BTreeMap<String, IpAddr> {
        self.state().attached.iter().map(|(id, ip)| (id.clone(), IpAddr::V4(*ip))).collect()
    }

    /// The containers whose packet rules were looked after last, in order; `None` before the first time.
    pub fn kept(&self) -> Option<Vec<String>> {
        self.state().kept.clone()
    }

    /// Forgets what was looked after.
    pub fn forget_kept(&self) {
        self.state().kept = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    fn obey(&self, call: &Invocation) -> std::result::Result<MutexGuard<'_, State>, CniError> {
        let mut state = self.state();
        state.calls.push((call.command, call.container_id.clone()));
        let is_held = |state: &mut State| state.held.contains(&call.command);
        let state = wait_while(&self.0.changed, state, is_held);
        match state.failing.get(&call.command) {
            Some(error) => Err(error.clone()),
            None => Ok(state),
        }
    }
}

impl Host for FakeHost {
    fn create(&self, pin: &Path, _: Option<Slot>) -> SysResult<Created> {
        let made = OpenOptions::new().write(true).create_new(true).open(pin);
        made.map_err(SysError::io("create network namespace file", pin))?;
        Ok(Created { netns: NetnsRef::new(pin), ahead: false })
    }

    fn make_ahead(&self) -> SysResult<Option<Netns>> {
        Ok(None)
    }

    fn prepare(&self, _: &Invocation) -> Option<Ready> {
        None
    }

    fn adopt(&self, pin: &Path) -> SysResult<NetnsRef> {
        self.open(NetnsRef::new(pin))
    }

    fn open(&self, netns: NetnsRef) -> SysResult<NetnsRef> {
        File::open(&netns.path).map_err(SysError::io("open network namespace", &netns.path))?;
        Ok(netns)
    }

    fn stand_in(&self, ifname: &str, _: &[Address]) -> SysResult<NetnsRef> {
        // No plugin is executed here, so that nobody wants one.
        Err(SysError::new("make a namespace for", ifname, 0))
    }

    fn remove(&self, pin: &Path) -> SysResult<()> {
        match fs::remove_file(pin) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(SysError::io("remove network namespace file", pin)(error))
            }
            _ => Ok(()),
        }
    }

    fn is_pinned(&self, path: &Path) -> bool {
        path.exists()
    }

    fn run(&self, call: &Invocation) -> std::result::Result<Option<CniResult>, CniError> {
        let is_bridge = call.conf.plugin_type() == "bridge";
        match call.command {
            Command::Add if is_bridge => {
                let mut state = self.obey(call)?;
                state.given += 1;
                let ip = Ipv4Addr::from_bits(Ipv4Addr::new(10, 88, 0, 1).to_bits() + state.given);
                state.attached.insert(call.container_id.clone(), ip);
                result(call, ip).map(Some)
            }
            Command::Add => call.conf.prev_result().map_err(|error| garbled(&error)),
            Command::Del | Command::Check | Command::Gc | Command::Status if is_bridge => {
                let mut state = self.obey(call)?;
                if call.command == Command::Del {
                    state.attached.remove(&call.container_id);
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn heal(&self, calls: &mut dyn Iterator<Item = Invocation>) -> std::result::Result<bool, CniError> {
        let mut kept: Vec<String> = calls.map(|call| call.container_id).collect();
        kept.dedup();
        self.state().kept = Some(kept);
        Ok(false)
    }

    fn rules_generation(&self) -> Option<u32> {
        None
    }
}

fn result(call: &Invocation, ip: Ipv4Addr) -> std::result::Result<CniResult, CniError> {
    let sandbox = call.netns.as_ref().map(|netns| netns.path.to_string_lossy().into_owned());
    let interface =
        Interface { name: call.ifname.clone(), sandbox: sandbox.unwrap_or_default(), ..Interface::default() };
    let address = Ipv4Net::new(ip, 16).map_err(|error| garbled(&error))?;
    let config = IpConfig { interface: Some(0), address: IpNet::V4(address), gateway: None };
    Ok(CniResult { interfaces: vec![interface], ips: vec![config], ..CniResult::default() })
}

fn garbled(error: &dyn std::error::Error) -> CniError {
    CniError::new(CniError::DECODING_FAILURE, error.to_string())
}

impl Network {
    /// Opens the network of a host that is none, with its files below `dir`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the directories cannot be made.
    pub fn fake(dir: &Path, host: &FakeHost) -> Result<Arc<Self>> {
        let settings = NetworkSettings {
            conf_dir: dir.join("network-conf"),
            bin_dirs: Vec::new(),
            subnets: vec![IpNet::new_assert(Ipv4Addr::new(10, 88, 0, 0).into(), 16)],
            status_interval_seconds: 1,
            state_dir: dir.join("network-state"),
            data_dir: dir.join("network-data"),
            ..NetworkSettings::default()
        };
        Self::open_on(settings, &prometheus::Registry::new(), Arc::new(host.clone()))
    }
}
