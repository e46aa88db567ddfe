//! Which AppArmor profile confines a container, and the built-in one: generated here, loaded once by the host's own
//! `apparmor_parser` under an absolute path, long before anything enters a container's root.

use crate::error::{OciError, OciResult};
use model::AppArmor;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// The name of the built-in profile.
pub const DEFAULT: &str = "corten-default";

const FIELD: &str = "linux.security_context.apparmor";
const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
/// Every profile that the kernel holds, a line each: `name (mode)`.
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";
const PARSERS: [&str; 2] = ["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"];

/// What the host can do.
trait Node {
    /// The kernel confines by profiles.
    fn is_enabled(&self) -> bool;
    /// The kernel holds a profile of this name.
    fn holds(&self, name: &str) -> bool;
    /// Sees to it that the kernel holds the built-in one.
    fn load_default(&self) -> OciResult<()>;
}

/// The profile that a request means; `None`: none is asked for. Also for a pod's own process.
///
/// As containerd decides: on a host without AppArmor the default profile is none and another one is refused; a request
/// that is silent means the default one, but not for a privileged container.
///
/// # Errors
/// [`OciError::Invalid`] for a profile that is not loaded, or AppArmor that the host lacks.
pub fn profile(request: Option<&AppArmor>, privileged: bool) -> OciResult<Option<String>> {
    decide(&Host, request, privileged)
}

/// Loads the built-in profile where the host has AppArmor, so that the first container does not wait for it.
///
/// # Errors
/// When it cannot be loaded.
pub fn warm_up() -> OciResult<()> {
    if Host.is_enabled() { Host.load_default() } else { Ok(()) }
}

fn decide(node: &impl Node, request: Option<&AppArmor>, privileged: bool) -> OciResult<Option<String>> {
    match request {
        Some(AppArmor::Unconfined) => Ok(None),
        Some(AppArmor::Localhost(name)) => {
            let refuse = |why: &str| Err(OciError::invalid(FIELD, format!("profile {name:?} {why}")));
            if !node.is_enabled() {
                return refuse("cannot be applied: AppArmor is not enabled on this host");
            }
            if name == DEFAULT {
                node.load_default()?;
            } else if !node.holds(name) {
                return refuse("is not loaded on this host");
            }
            Ok(Some(name.clone()))
        }
        Some(AppArmor::RuntimeDefault) | None if privileged || !node.is_enabled() => Ok(None),
        Some(AppArmor::RuntimeDefault) | None => {
            node.load_default()?;
            Ok(Some(DEFAULT.to_owned()))
        }
    }
}

/// The running kernel.
struct Host;

/// Whether the built-in profile is known to be loaded.
static IS_LOADED: Mutex<bool> = Mutex::new(false);

impl Node for Host {
    fn is_enabled(&self) -> bool {
        fs::read_to_string(ENABLED).is_ok_and(|text| text.starts_with('Y'))
    }

    fn holds(&self, name: &str) -> bool {
        fs::read_to_string(LOADED).is_ok_and(|list| lists(&list, name))
    }

    fn load_default(&self) -> OciResult<()> {
        let mut is_loaded = sys::sync::lock(&IS_LOADED);
        // One that another daemon of another version has loaded is replaced.
        if !*is_loaded {
            load(&default_profile(&own_profile()))?;
            *is_loaded = true;
        }
        Ok(())
    }
}

fn lists(list: &str, name: &str) -> bool {
    list.lines().any(|line| line.rsplit_once(" (").is_some_and(|(known, _)| known == name))
}

fn load(profile: &str) -> OciResult<()> {
    let parser = PARSERS.iter().map(Path::new).find(|path| path.is_file()).ok_or_else(|| {
        let reason = "the built-in profile cannot be loaded: this host has no apparmor_parser";
        OciError::invalid(FIELD, reason)
    })?;
    let run = || {
        let mut child = Command::new(parser)
            .args(["--replace", "--skip-cache", "--quiet"])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(profile.as_bytes())?;
        }
        child.wait_with_output()
    };
    let output = run().map_err(OciError::io("run", parser))?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(OciError::invalid(FIELD, format!("the built-in profile cannot be loaded: {}", told.trim())))
}

/// The profile of this process, which its shims inherit: `unconfined`, unless the host confines the daemon itself.
fn own_profile() -> String {
    // Before Linux 5.8 AppArmor has no directory of its own.
    let label = ["/proc/self/attr/apparmor/current", "/proc/self/attr/current"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok())
        .unwrap_or_default();
    profile_of(&label).to_owned()
}

/// The name in a label such as `name (enforce)`.
fn profile_of(label: &str) -> &str {
    let label = label.trim_end_matches(['\n', '\0']);
    let name = label.rsplit_once(" (").map_or(label, |(name, _)| name);
    if name.is_empty() { "unconfined" } else { name }
}

/// A name as the policy's language quotes it: neither a pattern nor the end of the quotes.
fn quoted(name: &str) -> String {
    let escaped = name.chars().flat_map(|c| {
        let escape = matches!(c, '"' | '\\' | '*' | '?' | '[' | ']' | '{' | '}' | '^' | ',');
        escape.then_some('\\').into_iter().chain([c])
    });
    format!("\"{}\"", escaped.collect::<String>())
}

/// What a container has no business with: kernel interfaces below /proc and /sys, mounting, and other confined
/// processes. Those of `daemon`'s profile may signal it. Complete in itself: nothing of the host's policy is included.
fn default_profile(daemon: &str) -> String {
    let daemon = quoted(daemon);
    format!(
        "profile {DEFAULT} flags=(attach_disconnected,mediate_deleted) {{
  network,
  capability,
  file,
  umount,

  signal (receive) peer=unconfined,
  signal (receive) peer={daemon},
  signal (send, receive) peer={DEFAULT},
  ptrace (trace, read, tracedby, readby) peer={DEFAULT},

  deny mount,
  deny /proc/* w,
  deny /proc/{{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9/]*}}/** w,
  deny /proc/sys/[^k]** w,
  deny /proc/sys/kernel/{{?,??,[^s][^h][^m]**}} w,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/kcore rwklx,
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}}
"
    )
}

#[cfg(test)]
mod tests;
