//! The kernel: its version, system calls, namespaces, filters, modules for networks, labels.

use super::finding::Finding;
use super::host::Host;
use sys::fd::namespace;
use sys::netlink::{Batch, BridgeLink, Mac, Socket};
use sys::nft::{Family, Transaction};
use sys::probe::Call;

/// Without these no pod runs; without the others some fields of pods cannot be had.
const NEEDED: [Call; 4] = [Call::Clone3, Call::CloseRange, Call::Openat2, Call::PidfdOpen];

pub(super) fn check(host: &Host) -> Vec<Finding> {
    let mut found = vec![calls(host)];
    found.extend(namespaces(host));
    found.push(seccomp(host));
    found.push(landlock());
    found.extend(security_modules(host));
    found.extend(networking());
    found
}

fn calls(host: &Host) -> Finding {
    let release = host.read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "an unknown kernel".to_owned());
    let missing: Vec<Call> = Call::ALL.into_iter().filter(|call| !call.is_there()).collect();
    let names = missing.iter().map(|call| call.name()).collect::<Vec<_>>().join(", ");
    let mend = "a kernel of 5.12 or newer; in a container, a seccomp profile that lets them through";
    if missing.iter().any(|call| NEEDED.contains(call)) {
        Finding::error("kernel", format!("Linux {release} lacks {names}")).costs("no pod runs").mend(mend)
    } else if missing.is_empty() {
        Finding::ok("kernel", format!("Linux {release}"))
    } else {
        let costs = "no recursively read-only mounts, no user namespaces of pods";
        Finding::warning("kernel", format!("Linux {release} lacks {names}")).costs(costs).mend(mend)
    }
}

fn namespaces(host: &Host) -> Option<Finding> {
    let missing: Vec<&str> = ["cgroup", "ipc", "mnt", "net", "pid", "uts"]
        .into_iter()
        .filter(|name| !host.exists(&format!("/proc/self/ns/{name}")))
        .collect();
    if missing.is_empty() {
        return Some(Finding::ok("namespaces", "cgroup, ipc, mnt, net, pid, uts"));
    }
    let found = format!("the kernel has no namespaces of the kinds {}", missing.join(", "));
    Some(Finding::error("namespaces", found).costs("no pod runs").mend("a kernel that is built with them"))
}

fn seccomp(host: &Host) -> Finding {
    let Some(actions) = host.read("/proc/sys/kernel/seccomp/actions_avail") else {
        let costs = "every container with a seccomp profile fails to start, those with RuntimeDefault too";
        return Finding::warning("seccomp", "the kernel filters no system calls")
            .costs(costs)
            .mend("a kernel with CONFIG_SECCOMP_FILTER");
    };
    if actions.split_whitespace().any(|action| action == "user_notif") {
        return Finding::ok("seccomp", "with notifications");
    }
    Finding::warning("seccomp", "without notifications (Linux 5.0)")
        .costs("profiles that hand system calls to an agent cannot be used")
        .mend("a newer kernel")
}

fn landlock() -> Finding {
    if sys::confine::has_landlock() {
        return Finding::ok("landlock", "confines the threads that unpack layers");
    }
    Finding::warning("landlock", "the kernel has none, or it is turned off")
        .costs("a flaw in the unpacking of layers would reach files beside the layer")
        .mend("Linux 5.19 or newer, with landlock in CONFIG_LSM or the kernel's lsm= parameter")
}

/// AppArmor and SELinux, where the kernel has them.
fn security_modules(host: &Host) -> Vec<Finding> {
    let mut found = Vec::new();
    if host.read("/sys/module/apparmor/parameters/enabled").as_deref() == Some("Y") {
        let there = ["/sbin", "/usr/sbin", "/usr/bin", "/usr/local/sbin"]
            .iter()
            .any(|directory| host.exists(&format!("{directory}/apparmor_parser")));
        found.push(if there {
            Finding::ok("apparmor", "on, with apparmor_parser")
        } else {
            Finding::warning("apparmor", "on, and there is no apparmor_parser")
                .costs("containers run without the default profile")
                .mend("install the package apparmor")
        });
    }
    if host.exists("/sys/fs/selinux/enforce") && !host.selinux {
        found.push(
            Finding::warning("selinux", "on, and runtime.selinux is false")
                .costs("containers are not labelled, and pods that ask for a label are refused")
                .mend("container-selinux and runtime.selinux = true"),
        );
    }
    found
}

/// A bridge and a packet rule, made in a network namespace that ends with the try.
fn networking() -> Vec<Finding> {
    let tried = std::thread::spawn(|| {
        let apart = sys::process::unshare(namespace::NET).map_err(|error| error.to_string());
        apart.map(|()| (bridge(), rules()))
    });
    let (bridge, rules) = match tried.join() {
        Ok(Ok(tried)) => tried,
        Ok(Err(problem)) => {
            return vec![
                Finding::error("network-namespace", format!("cannot be made: {problem}"))
                    .costs("no pod with a network of its own runs")
                    .mend("run this as root, and outside of a restricted container"),
            ];
        }
        Err(_) => return Vec::new(),
    };
    let bridge = match bridge {
        Ok(()) => Finding::ok("bridge", "bridges can be made"),
        Err(problem) => Finding::warning("bridge", problem)
            .costs("neither the built-in network nor one of the bridge plugin works")
            .mend("modprobe bridge veth"),
    };
    let rules = match rules {
        Ok(()) => Finding::ok("nftables", "tables, chains and maps can be made"),
        Err(problem) => Finding::warning("nftables", problem)
            .costs("no masquerading and no host ports with Corten's own plugins")
            .mend("modprobe nf_tables nft_chain_nat nft_masq nft_nat"),
    };
    vec![bridge, rules]
}

fn bridge() -> Result<(), String> {
    let link = BridgeLink { name: "check0", mac: Mac::local([2; 6]), mtu: 0, promiscuous: false };
    let mut batch = Batch::new();
    batch.create_bridge(&link);
    let made = Socket::route().and_then(|socket| socket.run(&mut batch));
    made.map(drop).map_err(|error| error.to_string())
}

fn rules() -> Result<(), String> {
    let mut change = Transaction::new(Family::Inet, "corten_check", None);
    change.add_table();
    change.add_chain("postrouting", Some(sys::nft::Hook::NatPostrouting));
    change.add_rule("postrouting", &sys::nft::Expressions::new().masquerade());
    let made = Socket::netfilter().and_then(|socket| change.commit(&socket));
    made.map_err(|error| error.to_string())
}
