//! Turns on CPUs and at disks, and nodes of memory.

use crate::harness::{Pod, busybox};
use crate::life::wait_for;
use wire::msg::{Reply, Request};
use wire::plan::{ContainerPlan, MemoryPolicyPlan, PidNamespace, SandboxPlan, SchedulerPlan};

/// Policy and nice value, then the class of I/O, then whether memory is bound to the first node.
const SHOW: &str = "busybox cut -d' ' -f 19,41 /proc/self/stat; busybox ionice -p $$; \
    if [ -e /proc/self/numa_maps ]; then grep -q bind:0 /proc/self/numa_maps && echo bound; fi";

fn has_numa() -> bool {
    std::path::Path::new("/proc/self/numa_maps").exists()
}

fn batch() -> SchedulerPlan {
    SchedulerPlan { policy: 3, nice: -3, ..SchedulerPlan::default() }
}

fn set(plan: &mut ContainerPlan) {
    plan.process.scheduler = Some(batch());
    plan.process.io_priority = 2 << 13 | 6;
    if has_numa() {
        plan.process.memory_policy = Some(MemoryPolicyPlan { mode: 2, nodes: vec![1] });
    }
    // All that could set them later is given up first.
    (plan.process.uid, plan.process.gid) = (1000, 1000);
    for set in [&mut plan.process.bounding, &mut plan.process.effective, &mut plan.process.permitted] {
        *set = 0;
    }
}

fn shown() -> String {
    format!("-3 3\nbest-effort: prio 6{}", if has_numa() { "\nbound" } else { "" })
}

#[test]
fn a_container_and_its_commands_have_the_turns_and_the_memory_of_the_plan() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let mut plan = pod.plan("c", &format!("{SHOW}; while :; do sleep 1000; done"));
    set(&mut plan);
    pod.run(&plan);
    wait_for(|| pod.log_text("c").lines().count() >= shown().lines().count());
    assert_eq!(pod.log_text("c").trim_end(), shown());
    let mut exec = pod.exec_plan("c", &["sh", "-c", SHOW], 0);
    exec.process = wire::plan::ProcessPlan { argv: exec.process.argv, env: exec.process.env, ..plan.process };
    let reply = pod.conn.ask(&Request::Exec(exec));
    let Reply::Exec { exit_code: 0, stdout, .. } = reply else { panic!("{reply:?}") };
    assert_eq!(String::from_utf8_lossy(&stdout).trim_end(), shown());
}

#[test]
fn a_shared_pid_namespace_changes_nothing_but_what_children_do_not_inherit() {
    let Some(busybox) = busybox() else { return };
    let Some(pause) = crate::harness::pause() else { return };
    let mut pod = Pod::with(&busybox, |sandbox: &mut SandboxPlan| {
        sandbox.pause = pause.as_os_str().as_encoded_bytes().to_vec();
        sandbox.pause_process = crate::harness::process(&[]);
    });
    let mut plan = pod.plan("c", SHOW);
    plan.pid_namespace = PidNamespace::Pod;
    set(&mut plan);
    let (_, text) = pod.output(&plan);
    assert_eq!(text.trim_end(), shown());
    let mut plan = pod.plan("reset", SHOW);
    plan.pid_namespace = PidNamespace::Pod;
    plan.process.scheduler = Some(SchedulerPlan { flags: 1, ..batch() });
    let told = refused(&mut pod, &plan);
    assert!(told.contains("process.scheduler: SCHED_DEADLINE and SCHED_FLAG_RESET_ON_FORK need"), "{told}");
}

#[test]
fn what_the_kernel_refuses_fails_the_start_by_name() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    type Change = fn(&mut ContainerPlan);
    let table: [(&str, &str, Change); 3] = [
        ("a", "process.scheduler", |plan| {
            plan.process.scheduler = Some(SchedulerPlan { policy: 1, ..SchedulerPlan::default() });
        }),
        ("b", "process.ioPriority", |plan| plan.process.io_priority = 7 << 13),
        ("c", "linux.memoryPolicy", |plan| {
            plan.process.memory_policy = Some(MemoryPolicyPlan { mode: 2, nodes: vec![0; 8] });
        }),
    ];
    for (id, field, change) in table {
        let mut plan = pod.plan(id, "id");
        change(&mut plan);
        let told = refused(&mut pod, &plan);
        assert!(told.contains(field), "{field}: {told}");
    }
}

/// What is said of a container that is made and does not start.
fn refused(pod: &mut Pod, plan: &ContainerPlan) -> String {
    pod.create(plan);
    match pod.conn.ask(&Request::Start { id: plan.id.clone() }) {
        Reply::Error { message, .. } => message,
        reply => panic!("{reply:?}"),
    }
}

#[test]
fn a_class_of_cache_is_joined_by_the_container_and_its_commands() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let (group, tasks) = (pod.path("gold"), pod.path("gold/tasks"));
    let mut plan = pod.plan("c", "sleep 1000");
    plan.cgroup.resctrl = Some(group.as_os_str().as_encoded_bytes().to_vec());
    let Reply::Error { message, .. } = pod.conn.ask(&Request::Create(plan.clone())) else {
        panic!("there is no such class")
    };
    assert!(message.contains("join the class of cache") && message.contains("gold"), "{message}");
    pod.conn.ask(&Request::Remove { id: plan.id.clone() });
    std::fs::create_dir(&group).unwrap();
    std::fs::write(&tasks, "").unwrap();
    pod.run(&plan);
    assert_eq!(std::fs::read_to_string(&tasks).unwrap(), "0");
    std::fs::write(&tasks, "").unwrap();
    let mut exec = pod.exec_plan("c", &["id"], 0);
    exec.cgroup.resctrl = plan.cgroup.resctrl;
    assert!(matches!(pod.conn.ask(&Request::Exec(exec)), Reply::Exec { exit_code: 0, .. }));
    assert_eq!(std::fs::read_to_string(&tasks).unwrap(), "0");
}
