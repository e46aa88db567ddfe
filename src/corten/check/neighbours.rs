//! Who else is on this host: another Corten, another runtime, a kubelet that is somebody else's.

use super::finding::Finding;
use super::host::Host;
use super::plugins;
use crate::cadvisor;
use crate::config::Config;
use crate::lock::{self, Holding};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Sockets of runtimes that answer the kubelet.
const RUNTIMES: [(&str, &str); 4] = [
    ("containerd", "/run/containerd/containerd.sock"),
    ("CRI-O", "/run/crio/crio.sock"),
    ("cri-dockerd", "/run/cri-dockerd.sock"),
    ("Corten", "/run/corten/corten.sock"),
];
/// `__SO_ACCEPTCON` of a socket's flags: somebody listens.
const LISTENS: u32 = 1 << 16;

pub(super) fn check(host: &Host, config: &Config) -> Vec<Finding> {
    let mut found = vec![daemons(config)];
    found.extend(runtimes(host, config));
    found.extend(kubelet(host, config));
    found.extend(facade(config));
    found.extend(plugins::check(host, config));
    found
}

/// One daemon a directory, and the same one for both.
fn daemons(config: &Config) -> Finding {
    let [state, data] = [&config.state_dir, &config.data_dir].map(|directory| lock::holding(directory));
    match (state, data) {
        (None, None) => Finding::ok("daemon", "no other daemon has these directories"),
        (Some(one), Some(other)) if one.pid == other.pid => Finding::ok("daemon", format!("runs, as {one}")),
        (one, other) => {
            let tell = |key: &str, holder: Option<Holding>| {
                holder.map(|holder| format!("{key} is in use by {holder}"))
            };
            let told = [tell("state_dir", one), tell("data_dir", other)].into_iter().flatten();
            Finding::error("daemon", told.collect::<Vec<_>>().join(", "))
                .costs("the daemon does not start")
                .mend("stop the other one, or give this one other directories")
        }
    }
}

fn runtimes(host: &Host, config: &Config) -> Vec<Finding> {
    let sockets = host.read("/proc/net/unix").unwrap_or_default();
    let listening: Vec<&str> = sockets.lines().filter_map(listener).collect();
    let others: Vec<String> = RUNTIMES
        .iter()
        .filter(|(_, path)| listening.iter().any(|other| same(other, path)))
        .filter(|(_, path)| {
            Path::new(path) != config.socket && !cadvisor::is_ours(Path::new(path), &config.state_dir)
        })
        .map(|(name, path)| format!("{name} answers on {path}"))
        .collect();
    if others.is_empty() {
        return vec![Finding::ok("runtimes", "no other runtime answers here")];
    }
    vec![
        Finding::warning("runtimes", others.join(", "))
            .costs("nothing while the kubelet uses one of them; pods of the other one stay, and both keep images")
            .mend("drain the node and stop the other one: docs/from-containerd.md, docs/from-cri-o.md"),
    ]
}

/// The path of a line of `/proc/net/unix` on which somebody listens.
pub(super) fn listener(line: &str) -> Option<&str> {
    let mut fields = line.split_whitespace();
    let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
    let path = fields.nth(3)?;
    (flags & LISTENS != 0).then_some(path)
}

/// `/var/run` is a link to `/run`.
pub(super) fn same(one: &str, other: &str) -> bool {
    one.strip_prefix("/var").unwrap_or(one) == other
}

/// Whom the kubelet of this node asks.
fn kubelet(host: &Host, config: &Config) -> Option<Finding> {
    let yaml = host.read("/var/lib/kubelet/config.yaml").unwrap_or_default();
    let flags = host.read("/var/lib/kubelet/kubeadm-flags.env").unwrap_or_default();
    let of_yaml = yaml.lines().find_map(|line| line.strip_prefix("containerRuntimeEndpoint:"));
    let of_flags = flags.split_once("--container-runtime-endpoint=").map(|(_, rest)| rest);
    let named = of_flags.or(of_yaml)?.trim_matches([' ', '"']).split([' ', '"']).next().unwrap_or_default();
    if named.is_empty() {
        return None;
    }
    let path = named.strip_prefix("unix://").unwrap_or(named);
    if same(path, &config.socket.to_string_lossy()) || Path::new(path) == config.socket {
        return Some(Finding::ok("kubelet-endpoint", format!("the kubelet asks {path}")));
    }
    Some(
        Finding::warning("kubelet-endpoint", format!("the kubelet of this node asks {path}"))
            .costs("it runs its pods there, and not with Corten")
            .mend(format!("containerRuntimeEndpoint: unix://{}", config.socket.display())),
    )
}

/// The place where cAdvisor is answered, where something else lies there.
fn facade(config: &Config) -> Option<Finding> {
    let path = &config.kubelet.cadvisor_socket;
    if path.as_os_str().is_empty() || cadvisor::is_ours(path, &config.state_dir) {
        return None;
    }
    let found = std::fs::symlink_metadata(path).ok()?;
    let what = if found.file_type().is_socket() { "a socket of somebody else" } else { "no socket" };
    Some(
        Finding::warning("cadvisor", format!("{} is {what}", path.display()))
            .costs("/metrics/cadvisor names no pods, unless its gate for statistics of the CRI is on")
            .mend("remove it once nobody uses it any more, and restart the daemon and the kubelet"),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn host(root: &Path, files: &[(&str, &str)]) -> Host {
        let host = Host { root: root.into(), selinux: false };
        for (path, text) in files {
            std::fs::create_dir_all(host.path(path).parent().unwrap()).unwrap();
            std::fs::write(host.path(path), text).unwrap();
        }
        host
    }

    #[test]
    fn a_runtime_is_seen_by_the_socket_that_it_listens_on() {
        let line = |flags: &str, path: &str| format!("0000: 00000002 00000000 {flags} 0001 01 1 {path}\n");
        let root = tempfile::tempdir().unwrap();
        let text = line("00010000", "/var/run/crio/crio.sock") + &line("00000000", "/run/cri-dockerd.sock");
        let host = host(root.path(), &[("/proc/net/unix", &text)]);
        let config = Config { state_dir: root.path().into(), ..Config::default() };
        let found = runtimes(&host, &config);
        assert_eq!(
            (found[0].level, found[0].found.as_str()),
            (Level::Warning, "CRI-O answers on /run/crio/crio.sock")
        );
        std::fs::write(host.path("/proc/net/unix"), line("00010000", "/run/corten/corten.sock")).unwrap();
        assert_eq!(runtimes(&host, &config)[0].level, Level::Ok, "that is the daemon itself");
    }

    #[test]
    fn a_kubelet_of_another_runtime_is_told_with_what_to_write() {
        let root = tempfile::tempdir().unwrap();
        let yaml = "/var/lib/kubelet/config.yaml";
        let theirs = host(
            root.path(),
            &[(yaml, "containerRuntimeEndpoint: unix:///run/containerd/containerd.sock\n")],
        );
        let finding = kubelet(&theirs, &Config::default()).unwrap();
        assert_eq!(finding.level, Level::Warning);
        assert!(finding.mend.ends_with("unix:///run/corten/corten.sock"), "{}", finding.mend);
        let env = "KUBELET_KUBEADM_ARGS=\"--container-runtime-endpoint=unix:///var/run/corten/corten.sock --v=2\"\n";
        let ours = host(root.path(), &[("/var/lib/kubelet/kubeadm-flags.env", env)]);
        assert_eq!(kubelet(&ours, &Config::default()).unwrap().level, Level::Ok, "flags go before the file");
    }
}
