//! Settings that follow from others, and those that the daemon would refuse.

use super::read::Leaf;
use super::report::Import;
use super::rule::{Fate, lost};
use std::collections::BTreeMap;

/// A setting that no key of the other runtime's says, with the key from which it follows, and how.
pub(super) struct Implied<'a> {
    pub(super) leaf: &'a Leaf,
    pub(super) key: String,
    pub(super) value: &'static str,
    pub(super) note: &'static str,
}

impl Import {
    /// What follows from the settings that are carried over.
    pub(super) fn implied(&self) -> Vec<Implied<'_>> {
        let mapped = || {
            self.verdicts.iter().filter_map(|(leaf, fate)| match fate {
                Fate::Mapped(key, ..) => Some((key.as_str(), leaf)),
                _ => None,
            })
        };
        let has = |wanted: &str| mapped().any(|(key, _)| key == wanted);
        let mut found = BTreeMap::new();
        for (key, leaf) in mapped() {
            let section = key.rsplit_once('.').map(|(section, _)| section).unwrap_or_default();
            let kind = format!("{section}.type");
            if section.starts_with("handlers.") && !has(&kind) {
                let value = if has(&format!("{section}.binary")) { "\"oci\"" } else { "\"native\"" };
                found.entry(kind).or_insert((leaf, value, "says no type"));
            }
            let protocol = "tracing.protocol";
            if key == "tracing.endpoint" && self.whose == "containerd" && !has(protocol) {
                found.insert(protocol.to_owned(), (leaf, "\"http/protobuf\"", "the default there"));
            }
        }
        let implied = found.into_iter().map(|(key, (leaf, value, note))| Implied { leaf, key, value, note });
        implied.collect()
    }

    /// What the daemon would refuse is not carried over: the daemon's own checks say what that is.
    pub(super) fn refuse_mistakes(&mut self) {
        loop {
            let mut refused = 0;
            for (wrong, reason) in crate::config::mistakes_of(&self.configuration()) {
                for (_, fate) in &mut self.verdicts {
                    if matches!(fate, Fate::Mapped(key, ..) if is_about(&wrong, &key.replace('"', ""))) {
                        *fate =
                            lost(&format!("`{wrong}` does not take it: {}", image::without_users(&reason)));
                        refused += 1;
                    }
                }
            }
            if refused == 0 {
                return;
            }
        }
    }

    /// The daemon would not start with systemd's driver on a host without it, as where hierarchies of cgroup v1 are left.
    pub(super) fn refuse_systemd(&mut self, problem: &str) {
        for (_, fate) in &mut self.verdicts {
            let is_it = matches!(&*fate, Fate::Mapped(key, value, _)
                if key == "runtime.cgroup_driver" && value == "\"systemd\"");
            if is_it {
                *fate = lost(&format!(
                    "not on this host ({problem}): with runtime.cgroup_driver left out, Corten's driver is cgroupfs here, and \
                     systemd on hosts that can; a kubelet that does not ask the runtime (KubeletCgroupDriverFromCRI) needs \
                     cgroupDriver: cgroupfs, or it starts no pod"
                ));
            }
        }
    }
}

/// Whether a mistake in a setting is one in this, or in what holds it or is in it.
fn is_about(wrong: &str, key: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    !wrong.is_empty() && (within(wrong, key) || within(key, wrong))
}
