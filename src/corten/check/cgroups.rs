//! Cgroups: how they are laid out, who manages them, which controllers there are.

use super::finding::Finding;
use super::host::Host;
use engine::{HostCgroups, Settings};

/// What limits of pods take, by the names of both versions.
const WANTED: [(&str, &[&str]); 6] = [
    ("cpu", &["cpu"]),
    ("memory", &["memory"]),
    ("pids", &["pids"]),
    ("cpuset", &["cpuset"]),
    ("io", &["io", "blkio"]),
    ("hugetlb", &["hugetlb"]),
];

pub(super) fn check(host: &Host, settings: &Settings) -> Vec<Finding> {
    let cgroups = match settings.host_cgroups() {
        Ok(cgroups) => cgroups,
        Err(problem) => {
            return vec![
                Finding::error("cgroups", problem)
                    .costs("the daemon does not start")
                    .mend("mount cgroup2 at /sys/fs/cgroup, and let runtime.cgroup_driver be auto"),
            ];
        }
    };
    let mut found = vec![Finding::ok("cgroups", format!("{}, driver {}", cgroups.mode, cgroups.driver))];
    found.push(controllers(&cgroups));
    found.extend(owner(host, &cgroups));
    found.extend(read_only(&host.read("/proc/self/mountinfo").unwrap_or_default()));
    found.extend(kubelet(host, &cgroups));
    found
}

fn controllers(cgroups: &HostCgroups) -> Finding {
    let has = |names: &&[&str]| cgroups.controllers.iter().any(|name| names.contains(&name.as_str()));
    let missing: Vec<&str> =
        WANTED.iter().filter(|(_, names)| !has(names)).map(|(wanted, _)| *wanted).collect();
    if missing.is_empty() {
        return Finding::ok("controllers", WANTED.map(|(name, _)| name).join(", "));
    }
    Finding::warning("controllers", format!("there is no controller {}", missing.join(", ")))
        .costs("pods with such limits are refused; those of huge pages are not kept (hugetlb)")
        .mend("a kernel with it, not switched off by cgroup_disable= or cgroup_no_v1= on its command line")
}

/// Two that make directories in one tree.
fn owner(host: &Host, cgroups: &HostCgroups) -> Option<Finding> {
    let both =
        cgroups.mode == "unified" && cgroups.driver == "cgroupfs" && host.exists("/run/systemd/system");
    both.then(|| {
        Finding::warning("delegation", "systemd owns the tree of cgroups, and the driver is cgroupfs")
            .costs("systemd may change what Corten sets, when units are reloaded")
            .mend("runtime.cgroup_driver = \"auto\", and the kubelet's cgroupDriver: systemd")
    })
}

/// Hierarchies in which nothing can be made, as inside of containers.
fn read_only(mountinfo: &str) -> Option<Finding> {
    let closed: Vec<&str> = mountinfo.lines().filter_map(closed_hierarchy).collect();
    (!closed.is_empty()).then(|| {
        Finding::error("delegation", format!("{} is mounted read-only", closed.join(", ")))
            .costs("no pod runs")
            .mend(
                "mount it read-write; in a container, run that privileged, with the host's cgroup namespace",
            )
    })
}

fn closed_hierarchy(line: &str) -> Option<&str> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let is_cgroup = filesystem.starts_with("cgroup ") || filesystem.starts_with("cgroup2 ");
    let mut fields = mount.split(' ').skip(4);
    let (point, options) = (fields.next()?, fields.next()?);
    (is_cgroup && options.split(',').any(|option| option == "ro")).then_some(point)
}

/// A kubelet that makes pods' cgroups in another way.
fn kubelet(host: &Host, cgroups: &HostCgroups) -> Option<Finding> {
    let file = "/var/lib/kubelet/config.yaml";
    let text = host.read(file)?;
    let named = text.lines().find_map(|line| line.strip_prefix("cgroupDriver:"))?.trim().trim_matches('"');
    if named == cgroups.driver {
        return Some(Finding::ok("kubelet", format!("{file} names the same cgroup driver")));
    }
    let found = format!("cgroupDriver is {named} in {file}, and Corten's driver is {}", cgroups.driver);
    Some(
        Finding::warning("kubelet", found)
            .costs("a kubelet older than 1.28, or without KubeletCgroupDriverFromCRI, starts no pod")
            .mend(format!("cgroupDriver: {} there, or runtime.cgroup_driver", cgroups.driver)),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn cgroups(mode: &str, driver: &str, controllers: &[&str]) -> HostCgroups {
        let controllers = controllers.iter().map(|name| (*name).to_owned()).collect();
        HostCgroups { mode: mode.to_owned(), driver: driver.to_owned(), controllers }
    }

    #[test]
    fn controllers_of_either_version_will_do_and_missing_ones_are_named() {
        let all = ["cpu", "cpuset", "memory", "pids", "hugetlb"];
        for io in ["io", "blkio"] {
            let there: Vec<&str> = all.into_iter().chain([io]).collect();
            assert_eq!(controllers(&cgroups("hybrid", "cgroupfs", &there)).level, Level::Ok);
        }
        let finding = controllers(&cgroups("unified", "systemd", &["cpu", "memory"]));
        assert_eq!(finding.level, Level::Warning);
        assert!(finding.found.ends_with("pids, cpuset, io, hugetlb"), "{}", finding.found);
    }

    #[test]
    fn a_hierarchy_that_is_read_only_is_an_error() {
        let line = |options: &str| {
            format!("31 24 0:27 / /sys/fs/cgroup {options} shared:9 - cgroup2 cgroup2 rw,nsdelegate\n")
        };
        assert_eq!(read_only(&line("rw,nosuid")), None);
        let finding = read_only(&line("ro,nosuid")).unwrap();
        assert_eq!(
            (finding.level, finding.found.as_str()),
            (Level::Error, "/sys/fs/cgroup is mounted read-only")
        );
    }

    #[test]
    fn a_kubelet_with_another_driver_is_told() {
        let root = tempfile::tempdir().unwrap();
        let host = Host { root: root.path().into(), selinux: false };
        let ours = cgroups("unified", "systemd", &[]);
        assert_eq!(kubelet(&host, &ours), None);
        std::fs::create_dir_all(host.path("/var/lib/kubelet")).unwrap();
        for (driver, level) in
            [("systemd", Level::Ok), ("\"systemd\"", Level::Ok), ("cgroupfs", Level::Warning)]
        {
            let text = format!("kind: KubeletConfiguration\ncgroupDriver: {driver}\n");
            std::fs::write(host.path("/var/lib/kubelet/config.yaml"), text).unwrap();
            assert_eq!(kubelet(&host, &ours).unwrap().level, level, "{driver}");
        }
    }
}
