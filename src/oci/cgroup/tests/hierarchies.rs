//! In which hierarchies pods, containers and supervisors are.

use super::*;
use std::collections::BTreeMap;

/// The lines of `/proc/PID/cgroup`: controllers and path.
fn places(pid: u32) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let parts = text.lines().map(|line| line.splitn(3, ':').skip(1).map(str::to_owned).collect::<Vec<_>>());
    parts.map(|parts| (parts[0].clone(), parts[1].clone())).collect()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_container_is_in_every_hierarchy_and_leaves_none_behind() {
    let Some(parent) = Parent::new("everywhere") else { return };
    let (host, id) = (&parent.host, parent.path.join("container"));
    let plan = host.create(&id, &Resources::default()).unwrap();
    assert_eq!(plan, host.joined(&id));
    let mut child = run_in(&plan, "echo ready; exec sleep 100");
    let places = places(child.id());
    let mounted = |controllers: &String| match controllers.as_str() {
        "" => host.v2.is_some(),
        names => names.split(',').any(|name| host.v1_of(name).is_some()),
    };
    for (controllers, path) in places.iter().filter(|(controllers, _)| mounted(controllers)) {
        assert_eq!(*path, id.to_string(), "{controllers:?}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    host.remove(&id).unwrap();
    assert!(!parent.has(&id), "a leaf is left");
}

#[test]
fn limits_of_a_pod_do_not_reach_its_supervisor() {
    let Some(mut parent) = Parent::new("outside") else { return };
    if parent.host.mode() == Mode::Unified {
        return need::skip(need::Need::Kernel, "about v1's hierarchies");
    }
    for exposed in [false, true] {
        parent.host.exposed = exposed;
        let made = parent.host.create_sandbox(&parent.path, "sandbox").unwrap();
        let child = run_in(&made.plan, "echo ready; exec sleep 100");
        let places = places(child.id());
        end(child);
        assert!(!places["pids"].contains(&parent.path.to_string()), "{places:?}");
        let inside = places["memory"].contains(&parent.path.to_string());
        assert_eq!(inside, !exposed, "{places:?}");
        assert_eq!(places["cpu"], parent.path.to_string());
    }
}

#[test]
fn a_cpuset_is_filled_from_the_nearest_that_is() {
    let Some(parent) = Parent::new("cpuset") else { return };
    let Some(cpuset) = parent.host.v1_of("cpuset") else {
        return need::skip(need::Need::Kernel, "no cpuset of v1");
    };
    let (above, id) = (parent.path.join("above"), parent.path.join("above").join("container"));
    // Somebody made it and filled in nothing.
    cpuset.mkdir(above.relative()).unwrap();
    let plan = parent.host.create(&id, &Resources::default()).unwrap();
    end(run_in(&plan, "echo ready; exec sleep 100"));
    let all = cpuset.read("", "cpuset.cpus").unwrap().unwrap();
    assert_eq!(parent.file("cpuset", &id, "cpuset.cpus"), all.trim());
    parent.host.remove(&id).unwrap();
    parent.host.remove(&above).unwrap();
}

#[test]
fn a_container_of_a_former_version_is_joined_where_it_is() {
    let Some(parent) = Parent::new("former") else { return };
    let (host, id) = (&parent.host, parent.path.join("container"));
    let Some(cpuset) = host.v1_of("cpuset") else { return need::skip(need::Need::Kernel, "no cpuset of v1") };
    let plan = host.create(&id, &Resources::default()).unwrap();
    cpuset.rmdir(id.relative()).unwrap();
    let joined = host.joined(&id);
    assert_eq!(joined.v1.len(), plan.v1.len() - 1);
    let child = run_in(&joined, "echo ready; exec sleep 100");
    let pinned = Resources {
        cpuset_cpus: CpuList::new("0").ok(),
        cpuset_mems: CpuList::new("0").ok(),
        ..Resources::default()
    };
    host.update(&id, &pinned).unwrap();
    assert_eq!(places(child.id())["cpuset"], id.to_string());
    assert_eq!(host.joined(&id), plan);
    end(child);
    host.remove(&id).unwrap();
}

#[test]
fn a_supervisor_that_cannot_be_spared_is_beside_its_pod() {
    let (dir, mut host, _) = fixture(&[]);
    host.exposed = true;
    let pod = CgroupPath::parse("test", "/pods/c").unwrap();
    let aside = dir.path().join("pods/cortenid");
    assert_eq!(host.sandbox_dirs(&pod, "id"), std::slice::from_ref(&aside));
    std::fs::create_dir(&aside).unwrap();
    let made = host.create_sandbox(&pod, "id").unwrap();
    assert_eq!(made.plan.v2, Some(aside.to_str().unwrap().into()));
    // The pod is known by another one within.
    let nameplate = dir.path().join("pods/c/id");
    for _ in 0..2 {
        host.make_nameplate(&pod.join("id")).unwrap();
        assert!(nameplate.is_dir());
    }
    host.remove_nameplate(&pod.join("id"));
    assert!(!nameplate.exists() && aside.is_dir());
    host.exposed = false;
    assert_eq!(host.sandbox_dirs(&pod, "id"), [dir.path().join("pods/c/id")]);
}
