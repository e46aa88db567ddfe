//! Limits of processes, by handler.

use crate::settings::{SettingError, Settings};
use oci::OciResult;
use oci::rlimits::{Ceilings, Rlimits};
use oci_spec::runtime::PosixRlimit;
use std::collections::BTreeMap;

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
        let usual = parse("runtime.rlimits".to_owned(), &settings.rlimits)?;
        let mut named = BTreeMap::new();
        for (name, one) in settings.handlers.iter().filter(|(_, one)| !one.rlimits.is_empty()) {
            let own = parse(format!("handlers.{name}.rlimits"), &one.rlimits)?;
            named.insert(name.clone(), usual.with(&own));
        }
        // Without the file the process may less than it may.
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let most = Ceilings::detect(oci::caps::overrides_resources(&status));
        for limits in named.values().chain([&usual]) {
            let above = limits.above(&most);
            if !above.is_empty() {
                tracing::warn!(
                    limits = above.join(", "),
                    "the host does not allow limits of processes as configured"
                );
            }
        }
        Ok(Self { usual, named, most, confined: Ceilings::detect(false) })
    }

    pub(super) fn of(&self, name: &str, confined: bool) -> OciResult<Vec<PosixRlimit>> {
        let ceilings = if confined { &self.confined } else { &self.most };
        self.named.get(name).unwrap_or(&self.usual).spec(ceilings)
    }
}
