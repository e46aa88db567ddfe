//! Parameters of the kernel, and limits of the process.

use super::finding::Finding;
use super::host::Host;

/// A parameter that is to have at least a value.
struct Wanted {
    name: &'static str,
    least: u64,
    costs: &'static str,
}

const WANTED: [Wanted; 6] = [
    Wanted {
        name: "net.ipv4.ip_forward",
        least: 1,
        costs: "pods reach nothing beyond this node, until a bridge network of Corten's own switches it on",
    },
    Wanted {
        name: "fs.inotify.max_user_instances",
        least: 256,
        costs: "kubelet, `kubectl logs -f` and programs in pods fail with \"too many open files\"",
    },
    Wanted {
        name: "fs.inotify.max_user_watches",
        least: 65_536,
        costs: "programs in pods that watch files fail with \"no space left on device\"",
    },
    Wanted { name: "fs.file-max", least: 100_000, costs: "with many pods the node runs out of open files" },
    Wanted {
        name: "kernel.pid_max",
        least: 65_536,
        costs: "with many pods the node runs out of processes: every thread takes a number",
    },
    Wanted { name: "user.max_user_namespaces", least: 1, costs: "pods with hostUsers: false are refused" },
];

/// Files that the daemon may want to have open: its supervisors, figures of pods, streams and pulls.
const OPEN_FILES: u64 = 65_536;

/// `daemon` is the process that runs already, whose limits are its own.
pub(super) fn check(host: &Host, daemon: Option<u32>) -> Vec<Finding> {
    let mut found: Vec<Finding> = WANTED.iter().filter_map(|wanted| parameter(host, wanted)).collect();
    if found.is_empty() {
        let names = WANTED.map(|wanted| wanted.name).join(", ");
        found.push(Finding::ok("sysctl", names));
    }
    found.push(bridges(host));
    found.extend(open_files(host, daemon));
    found
}

fn parameter(host: &Host, wanted: &Wanted) -> Option<Finding> {
    let path = format!("/proc/sys/{}", wanted.name.replace('.', "/"));
    // What this kernel has not got limits nothing.
    let value = host.number(&path).filter(|value| *value < wanted.least)?;
    let finding = Finding::warning("sysctl", format!("{} is {value}", wanted.name)).costs(wanted.costs);
    Some(finding.mend(format!("{} = {} in /etc/sysctl.d, then `sysctl --system`", wanted.name, wanted.least)))
}

/// Whether kube-proxy's rules see what pods of one bridge say to each other.
fn bridges(host: &Host) -> Finding {
    let costs = "a Service whose pod is on the same bridge as its client does not answer";
    let value = host.number("/proc/sys/net/bridge/bridge-nf-call-iptables");
    match value {
        Some(0) => Finding::warning("bridge-nf", "net.bridge.bridge-nf-call-iptables is 0")
            .costs(costs)
            .mend("net.bridge.bridge-nf-call-iptables = 1 in /etc/sysctl.d, then `sysctl --system`"),
        Some(_) => Finding::ok("bridge-nf", "packets of a bridge meet the host's rules"),
        None => Finding::warning("bridge-nf", "br_netfilter is not loaded")
            .costs(costs)
            .mend("`modprobe br_netfilter`, and br_netfilter in a file of /etc/modules-load.d"),
    }
}

/// The hard limit counts, up to which a daemon raises its own. One that does not run has that of whoever asks.
fn open_files(host: &Host, daemon: Option<u32>) -> Option<Finding> {
    let of = |process: &str| host.read(&format!("/proc/{process}/limits"));
    let running = daemon.and_then(|pid| Some((format!("the daemon (process {pid})"), of(&pid.to_string())?)));
    let (who, limits) =
        running.or_else(|| Some(("a daemon that is started from here".to_owned(), of("self")?)))?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let most: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    let found = format!("{who} may have {most} files open");
    if most >= OPEN_FILES {
        return Some(Finding::ok("open-files", found));
    }
    Some(
        Finding::warning("open-files", found)
            .costs(format!(
                "below {OPEN_FILES} it runs out of them on a node with many pods: then pods do not start and pulls fail, \
                 with \"too many open files\""
            ))
            .mend(
                "LimitNOFILE=1048576 in its systemd unit, as the packaged one has, and a restart, which no pod notices; \
                 without systemd `ulimit -n 1048576` in the shell that starts it",
            ),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn what_is_too_little_is_a_warning_and_what_is_not_there_none() {
        let root = tempfile::tempdir().unwrap();
        let host = Host { root: root.path().into(), selinux: false };
        let set = |path: &str, value: &str| {
            let path = host.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, value).unwrap();
        };
        let told = |check: &str| {
            let found = check_all(&host).into_iter().filter(|one| one.check == check);
            found.map(|one| (one.level, one.found)).collect::<Vec<_>>()
        };
        assert_eq!(told("sysctl")[0].0, Level::Ok);
        assert_eq!(told("bridge-nf"), [(Level::Warning, "br_netfilter is not loaded".to_owned())]);
        set("/proc/sys/net/ipv4/ip_forward", "0\n");
        set("/proc/sys/fs/inotify/max_user_instances", "128\n");
        set("/proc/sys/net/bridge/bridge-nf-call-iptables", "1\n");
        set(
            "/proc/self/limits",
            "Limit  Soft\nMax open files            1024                 4096    files\n",
        );
        let low = ["net.ipv4.ip_forward is 0", "fs.inotify.max_user_instances is 128"];
        assert_eq!(told("sysctl"), low.map(|text| (Level::Warning, text.to_owned())));
        assert_eq!(told("bridge-nf")[0].0, Level::Ok);
        let from_here = "a daemon that is started from here may have 4096 files open".to_owned();
        assert_eq!(told("open-files")[0], (Level::Warning, from_here));
        // That of the daemon, where one runs, and not of the shell in which this is asked.
        set("/proc/12/limits", "Max open files            1024                 1048576              files\n");
        let found = open_files(&host, Some(12)).unwrap();
        assert_eq!(
            (found.level, found.found.as_str()),
            (Level::Ok, "the daemon (process 12) may have 1048576 files open")
        );
    }

    fn check_all(host: &Host) -> Vec<Finding> {
        super::check(host, None)
    }
}
