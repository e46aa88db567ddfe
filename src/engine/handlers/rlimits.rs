//! Limits of processes, by handler.

use crate::settings::{HostProblem, SettingError, Settings};
use oci::OciResult;
use oci::rlimits::{Ceilings, Rlimits};
use oci_spec::runtime::PosixRlimit;
use std::collections::BTreeMap;

const KEY: &str = "runtime.rlimits";

/// What the settings say, with what the host allows.
#[derive(Debug)]
pub(super) struct ByHandler {
    usual: Rlimits,
    /// Where a handler has its own.
    named: BTreeMap<String, Rlimits>,
    most: Ceilings,
    /// For processes of user namespaces, whose capabilities count there alone.
    confined: Ceilings,
}

impl ByHandler {
    /// Tells once what the host does not allow.
    pub(super) fn new(settings: &Settings) -> Result<Self, SettingError> {
        let parse = |key: String, values: &BTreeMap<String, String>| {
            let limits = Rlimits::parse(&key, values);
            limits.map_err(|error| SettingError::of(key, error))
        };
        let usual = parse(KEY.to_owned(), &settings.rlimits)?;
        let mut named = BTreeMap::new();
        for (name, one) in settings.handlers.iter().filter(|(_, one)| !one.rlimits.is_empty()) {
            let own = parse(format!("handlers.{name}.rlimits"), &one.rlimits)?;
            named.insert(name.clone(), usual.with(&own));
        }
        // Without the file the process may less than it may.
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let most = Ceilings::detect(oci::caps::overrides_resources(&status));
        for (key, above) in above(settings, &most) {
            tracing::warn!(key, limits = above, "the host does not allow limits of processes as configured");
        }
        Ok(Self { usual, named, most, confined: Ceilings::detect(false) })
    }

    /// The highest limits that processes can be given.
    pub(super) fn ceilings(&self, confined: bool) -> &Ceilings {
        if confined { &self.confined } else { &self.most }
    }

    pub(super) fn of(&self, name: &str, confined: bool) -> OciResult<Vec<PosixRlimit>> {
        self.named.get(name).unwrap_or(&self.usual).spec(self.ceilings(confined))
    }
}

/// Limits that no process of this host can have.
pub(super) fn check_host(settings: &Settings) -> Vec<HostProblem> {
    // Whoever asks may be allowed less than the daemon.
    let most = Ceilings::detect(true);
    let tell = |(key, above)| {
        HostProblem::tolerated(key, format!("the host allows less: {above}, which processes get"))
    };
    above(settings, &most).map(tell).collect()
}

/// By key, what the settings say beyond these limits.
fn above<'a>(settings: &'a Settings, most: &'a Ceilings) -> impl Iterator<Item = (String, String)> + 'a {
    let usual = (KEY.to_owned(), &settings.rlimits);
    let own = settings.handlers.iter().map(|(name, one)| (format!("handlers.{name}.rlimits"), &one.rlimits));
    std::iter::once(usual).chain(own).filter_map(|(key, values)| {
        // What is no limit is told of any host.
        let above = Rlimits::parse(&key, values).ok()?.above(most);
        (!above.is_empty()).then(|| (key, above.join(", ")))
    })
}
