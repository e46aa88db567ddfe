//! The kernel parameters that pods get by default. They are tried before they are in force, in namespaces that end with the
//! try: there the kernel says what every pod would hear from it.

use super::sysctls::{KEY, none_here, set, unsettable};
use crate::settings::{Gravity, HostProblem, SettingError, Settings};
use model::Sysctls;
use std::io::ErrorKind;
use sys::fd::namespace;

/// What the kernel says of them.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    /// What pods get.
    pub(crate) taken: Sysctls,
    /// What this kernel has not got in the namespaces of pods, which do without it.
    missing: Vec<String>,
    /// Values that no pod could have.
    refused: Vec<SettingError>,
}

impl Tried {
    /// Tells what is left out.
    ///
    /// # Errors
    /// A value that no pod could have.
    pub(crate) fn in_force(self) -> Result<Sysctls, SettingError> {
        if let Some(refused) = self.refused.into_iter().next() {
            return Err(refused);
        }
        for name in self.missing {
            tracing::warn!(name, "this kernel has no such parameter: pods do without {KEY} of it");
        }
        Ok(self.taken)
    }

    fn problems(self) -> Vec<HostProblem> {
        let missing = self.missing.into_iter().map(|name| {
            let problem = format!("{name:?}: {}: pods do without it", none_here());
            HostProblem::tolerated(KEY, problem)
        });
        let refused = self.refused.into_iter();
        refused
            .map(|setting| HostProblem { setting, gravity: Gravity::PreventsStart })
            .chain(missing)
            .collect()
    }
}

/// What of them this host cannot have.
pub(crate) fn check_host(settings: &Settings) -> Vec<HostProblem> {
    // Names that are none are told of any host.
    try_out(settings).map(Tried::problems).unwrap_or_default()
}

/// Asks the kernel. Blocks for the time that it takes to make a network namespace.
///
/// # Errors
/// What is no parameter of namespaces.
pub(crate) fn try_out(settings: &Settings) -> Result<Tried, SettingError> {
    let wanted = oci::plan::default_sysctls(KEY, &settings.default_sysctls)
        .map_err(|error| SettingError::of(KEY, error))?;
    if wanted.is_empty() {
        return Ok(Tried::default());
    }
    let tried = apart(|| try_here(&wanted));
    // Whoever may make no namespaces finds nothing out.
    Ok(tried.unwrap_or_else(|| Tried { taken: wanted, ..Tried::default() }))
}

/// Does something in namespaces of its own. `None`: the process may not leave the host's, whose parameters are not touched.
pub(super) fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    // Namespaces are a thread's, and end with it.
    std::thread::scope(|scope| {
        let own = std::thread::Builder::new().name("parameters".to_owned());
        let work = || {
            sys::process::unshare(namespace::NET | namespace::IPC | namespace::UTS).ok()?;
            Some(work())
        };
        own.spawn_scoped(scope, work).ok()?.join().ok()?
    })
}

fn try_here(wanted: &Sysctls) -> Tried {
    let mut tried = Tried::default();
    for (name, value) in wanted {
        let (bytes, text) = (name.as_str().as_bytes(), value.as_str().as_bytes());
        match set(bytes, text) {
            Ok(()) => drop(tried.taken.insert(name.clone(), value.clone())),
            Err(error) if error.kind() == ErrorKind::NotFound => tried.missing.push(name.as_str().to_owned()),
            Err(error) => {
                let why = unsettable(text, &error).unwrap_or_else(|| {
                    format!("the kernel does not let {:?} be set: {error}", value.as_str())
                });
                tried.refused.push(SettingError::new(KEY, format!("{:?}: {why}", name.as_str())));
            }
        }
    }
    tried
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tried(pairs: &[(&str, &str)]) -> Tried {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        try_out(&Settings { default_sysctls: pairs.collect(), ..Settings::default() }).unwrap()
    }

    #[test]
    fn the_kernel_is_asked_and_the_host_keeps_its_own() {
        if !need::root("namespaces are made") {
            return;
        }
        let host = || std::fs::read_to_string("/proc/sys/kernel/msgmax").unwrap();
        let before = host();
        // The last is the host's alone.
        let found = tried(&[
            ("kernel.msgmax", "4097"),
            ("net.core.somaxconn", "abc"),
            ("net.ipv4.conf.eth7.arp_filter", "1"),
            ("net.core.netdev_budget", "300"),
        ]);
        assert_eq!(found.taken.keys().map(model::SysctlName::as_str).collect::<Vec<_>>(), ["kernel.msgmax"]);
        assert_eq!(found.missing, ["net.core.netdev_budget", "net.ipv4.conf.eth7.arp_filter"]);
        let problems: Vec<String> =
            found.problems().iter().map(|it| format!("{:?} {}", it.gravity, it.setting)).collect();
        let refused =
            "PreventsStart runtime.default_sysctls: \"net.core.somaxconn\": the kernel does not take \"abc\"";
        assert_eq!(problems.first().map(String::as_str), Some(refused));
        assert!(
            problems[1].starts_with("Tolerated runtime.default_sysctls: \"net.core.netdev_budget\""),
            "{problems:?}"
        );
        assert_eq!(host(), before);
        assert!(tried(&[("net.core.somaxconn", "abc")]).in_force().is_err());
        let usual = try_out(&Settings::default()).unwrap();
        assert_eq!(usual.taken.len(), 2, "{usual:?}");
    }
}
