//! A host that mounts nothing.

use crate::error::EngineError;
use crate::host::Host;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use sys::sync::lock;

/// What the host can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Give,
    Mount,
    Unmount,
}

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct FakeHost(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// How often a step fails from now on.
    failing: BTreeMap<Step, usize>,
    mounts: BTreeSet<PathBuf>,
}

impl FakeHost {
    /// The next time that it comes to a step, it fails, and nothing is done.
    pub(crate) fn fail(&self, step: Step) {
        *lock(&self.0).failing.entry(step).or_default() += 1;
    }

    /// What is mounted.
    pub(crate) fn left(&self) -> Vec<String> {
        lock(&self.0).mounts.iter().map(|path| path.display().to_string()).collect()
    }

    pub(super) fn reboot(&self) {
        lock(&self.0).mounts.clear();
    }

    fn check(&self, step: Step, path: &Path) -> Result<(), EngineError> {
        match lock(&self.0).failing.get_mut(&step) {
            Some(times) if *times > 0 => {
                *times -= 1;
                Err(EngineError::io("do as scripted with", path)(std::io::Error::other("scripted")))
            }
            _ => Ok(()),
        }
    }
}

impl Host for FakeHost {
    fn give(&self, dir: &Path, _: u32) -> Result<(), EngineError> {
        self.check(Step::Give, dir)
    }

    fn mount(&self, dir: &Path, _: &CStr) -> Result<(), EngineError> {
        self.check(Step::Mount, dir)?;
        lock(&self.0).mounts.insert(dir.to_owned());
        Ok(())
    }

    fn unmount(&self, dir: &Path) -> Result<(), EngineError> {
        self.check(Step::Unmount, dir)?;
        // What is mounted below goes with it.
        lock(&self.0).mounts.retain(|mounted| !mounted.starts_with(dir));
        sys::tree::remove(dir).map_err(EngineError::sys(format!("remove {dir:?}")))
    }
}
