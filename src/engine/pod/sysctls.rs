//! Kernel parameters of pods. Those of a request for the network are written once the pod is attached: an interface has
//! none before it is there, and what attaches the pod writes some itself.

use super::default_sysctls;
use crate::blocking;
use crate::error::EngineError;
use crate::supervisor::SupervisorError;
use oci::OciError;
use oci::plan::{PodSysctls, Sysctls};
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use sys::sync::lock;
use wire::msg::ErrorCode;

/// The setting of those that pods get by default.
pub(super) const KEY: &str = "runtime.default_sysctls";

/// Those that were seen to be there. The kernel finds one of the network by its path among those of all namespaces, which
/// takes the longer the more pods there are; one that has gone meanwhile shows when it is set.
static THERE: Mutex<BTreeSet<Vec<u8>>> = Mutex::new(BTreeSet::new());

/// Refuses what cannot be set, before anything is made. Of the network's, that shows when it is there.
pub(super) fn check(sysctls: &PodSysctls) -> Result<(), EngineError> {
    let mut there = lock(&THERE);
    for (name, _) in &sysctls.first {
        if !there.contains(name) {
            if !file(name).exists() {
                return Err(refused(name, none_here()));
            }
            there.insert(name.clone());
        }
    }
    Ok(())
}

/// Why a pod could not be set up: by one of its parameters, where the kernel refuses one.
pub(super) async fn blame(error: SupervisorError, sysctls: Sysctls) -> EngineError {
    if sysctls.is_empty() || error.code() != Some(ErrorCode::Setup) {
        return error.into();
    }
    let found = blocking("trying kernel parameters", move || Ok(first_refused(&sysctls))).await;
    found.ok().flatten().unwrap_or_else(|| error.into())
}

/// The first one that the kernel refuses to a pod, with its reason: tried in namespaces that end with the try, so that this
/// is for whoever knows that something is wrong. Blocks.
fn first_refused(sysctls: &Sysctls) -> Option<EngineError> {
    default_sysctls::apart(|| {
        sysctls.iter().find_map(|(name, value)| {
            let error = set(name, value).err()?;
            Some(refused(name, unsettable(value, &error)?))
        })
    })?
}

/// Writes parameters of a network namespace. Blocks.
pub(super) fn write(netns: &net::Namespace, sysctls: &Sysctls) -> Result<(), EngineError> {
    let written = netns.run_in(|| {
        sysctls
            .iter()
            .try_for_each(|(name, value)| set(name, value).map_err(|error| explain(name, value, error)))
    });
    written.map_err(EngineError::sys("enter the pod's network namespace".to_owned()))?.unwrap_or(Ok(()))
}

/// Of the namespaces that the calling thread is in.
pub(super) fn set(name: &[u8], value: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).open(file(name))?.write_all(value)
}

fn explain(name: &[u8], value: &[u8], error: io::Error) -> EngineError {
    match unsettable(value, &error) {
        Some(reason) => refused(name, reason),
        None => EngineError::io("write", file(name))(error),
    }
}

/// Why a parameter cannot be set, where that is the fault of whoever asks for it.
pub(super) fn unsettable(value: &[u8], error: &io::Error) -> Option<String> {
    match error.kind() {
        ErrorKind::NotFound => Some(none_here()),
        ErrorKind::InvalidInput => {
            Some(format!("the kernel does not take {:?}", String::from_utf8_lossy(value)))
        }
        // Too large for its kind, or closed to a pod.
        _ if error.raw_os_error() == Some(sys::fd::errno::ERANGE) => {
            Some(format!("the kernel does not take {:?}: {error}", String::from_utf8_lossy(value)))
        }
        ErrorKind::PermissionDenied => Some(format!("a pod may not set it: {error}")),
        _ => None,
    }
}

pub(super) fn none_here() -> String {
    "this kernel has none".to_owned()
}

fn refused(name: &[u8], reason: String) -> EngineError {
    let field = format!("config.linux.sysctls[{:?}]", String::from_utf8_lossy(name));
    EngineError::Oci(OciError::Invalid { field, reason })
}

fn file(name: &[u8]) -> PathBuf {
    Path::new("/proc/sys").join(String::from_utf8_lossy(name).replace('.', "/"))
}
