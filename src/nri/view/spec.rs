//! Parts of a spec as messages.

use crate::api::{
    Hook, Hooks, IoPrioClass, LinuxDevice, LinuxIoPriority, LinuxNamespace, LinuxNetDevice, LinuxRdt,
    LinuxScheduler, LinuxSchedulerFlag, LinuxSchedulerPolicy, LinuxSeccomp, LinuxSeccompArg, LinuxSyscall,
    Mount, OptionalBool, OptionalFileMode, OptionalInt, OptionalRepeatedString, OptionalString,
    OptionalUInt32, PosixRlimit,
};
use oci_spec::runtime as oci;
use std::path::Path;

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn optional(value: Option<u32>) -> Option<OptionalUInt32> {
    value.map(|value| OptionalUInt32 { value })
}

pub(super) fn mount(mount: &oci::Mount) -> Mount {
    Mount {
        destination: text(mount.destination()),
        r#type: mount.typ().clone().unwrap_or_default(),
        source: mount.source().as_deref().map(text).unwrap_or_default(),
        options: mount.options().clone().unwrap_or_default(),
    }
}

pub(super) fn hooks(hooks: &oci::Hooks) -> Hooks {
    let list = |list: &Option<Vec<oci::Hook>>| list.iter().flatten().map(hook).collect();
    #[allow(deprecated, reason = "vendors' descriptions still have them")]
    let prestart = list(hooks.prestart());
    Hooks {
        prestart,
        create_runtime: list(hooks.create_runtime()),
        create_container: list(hooks.create_container()),
        start_container: list(hooks.start_container()),
        poststart: list(hooks.poststart()),
        poststop: list(hooks.poststop()),
    }
}

fn hook(hook: &oci::Hook) -> Hook {
    Hook {
        path: text(hook.path()),
        args: hook.args().clone().unwrap_or_default(),
        env: hook.env().clone().unwrap_or_default(),
        timeout: hook.timeout().map(|value| OptionalInt { value }),
    }
}

pub(super) fn rlimit(limit: &oci::PosixRlimit) -> PosixRlimit {
    PosixRlimit { r#type: limit.typ().to_string(), hard: limit.hard(), soft: limit.soft() }
}

pub(super) fn namespace(namespace: &oci::LinuxNamespace) -> LinuxNamespace {
    let kind = match namespace.typ() {
        oci::LinuxNamespaceType::Mount => "mount",
        oci::LinuxNamespaceType::Cgroup => "cgroup",
        oci::LinuxNamespaceType::Uts => "uts",
        oci::LinuxNamespaceType::Ipc => "ipc",
        oci::LinuxNamespaceType::User => "user",
        oci::LinuxNamespaceType::Pid => "pid",
        oci::LinuxNamespaceType::Network => "network",
        oci::LinuxNamespaceType::Time => "time",
    };
    LinuxNamespace {
        r#type: kind.to_owned(),
        path: namespace.path().as_deref().map(text).unwrap_or_default(),
    }
}

pub(super) fn device(device: &oci::LinuxDevice) -> LinuxDevice {
    LinuxDevice {
        path: text(device.path()),
        r#type: device.typ().as_str().to_owned(),
        major: device.major(),
        minor: device.minor(),
        file_mode: device.file_mode().map(|value| OptionalFileMode { value }),
        uid: optional(device.uid()),
        gid: optional(device.gid()),
    }
}

pub(super) fn io_priority(priority: &oci::LinuxIOPriority) -> LinuxIoPriority {
    let class = match priority.class() {
        oci::IOPriorityClass::IoprioClassRt => IoPrioClass::IoprioClassRt,
        oci::IOPriorityClass::IoprioClassBe => IoPrioClass::IoprioClassBe,
        oci::IOPriorityClass::IoprioClassIdle => IoPrioClass::IoprioClassIdle,
    };
    LinuxIoPriority { class: class as i32, priority: i32::try_from(priority.priority()).unwrap_or_default() }
}

pub(super) fn scheduler(scheduler: &oci::Scheduler) -> LinuxScheduler {
    let policy = match scheduler.policy() {
        oci::LinuxSchedulerPolicy::SchedOther => LinuxSchedulerPolicy::SchedOther,
        oci::LinuxSchedulerPolicy::SchedFifo => LinuxSchedulerPolicy::SchedFifo,
        oci::LinuxSchedulerPolicy::SchedRr => LinuxSchedulerPolicy::SchedRr,
        oci::LinuxSchedulerPolicy::SchedBatch => LinuxSchedulerPolicy::SchedBatch,
        oci::LinuxSchedulerPolicy::SchedIso => LinuxSchedulerPolicy::SchedIso,
        oci::LinuxSchedulerPolicy::SchedIdle => LinuxSchedulerPolicy::SchedIdle,
        oci::LinuxSchedulerPolicy::SchedDeadline => LinuxSchedulerPolicy::SchedDeadline,
    };
    LinuxScheduler {
        policy: policy as i32,
        nice: scheduler.nice().unwrap_or_default(),
        priority: scheduler.priority().unwrap_or_default(),
        flags: scheduler.flags().iter().flatten().map(|flag| scheduler_flag(*flag) as i32).collect(),
        runtime: scheduler.runtime().unwrap_or_default(),
        deadline: scheduler.deadline().unwrap_or_default(),
        period: scheduler.period().unwrap_or_default(),
    }
}

fn scheduler_flag(flag: oci::LinuxSchedulerFlag) -> LinuxSchedulerFlag {
    match flag {
        oci::LinuxSchedulerFlag::SchedResetOnFork => LinuxSchedulerFlag::SchedFlagResetOnFork,
        oci::LinuxSchedulerFlag::SchedFlagReclaim => LinuxSchedulerFlag::SchedFlagReclaim,
        oci::LinuxSchedulerFlag::SchedFlagDLOverrun => LinuxSchedulerFlag::SchedFlagDlOverrun,
        oci::LinuxSchedulerFlag::SchedFlagKeepPolicy => LinuxSchedulerFlag::SchedFlagKeepPolicy,
        oci::LinuxSchedulerFlag::SchedFlagKeepParams => LinuxSchedulerFlag::SchedFlagKeepParams,
        oci::LinuxSchedulerFlag::SchedFlagUtilClampMin => LinuxSchedulerFlag::SchedFlagUtilClampMin,
        oci::LinuxSchedulerFlag::SchedFlagUtilClampMax => LinuxSchedulerFlag::SchedFlagUtilClampMax,
    }
}

pub(super) fn seccomp(policy: &oci::LinuxSeccomp) -> LinuxSeccomp {
    LinuxSeccomp {
        default_action: policy.default_action().to_string(),
        default_errno: optional(policy.default_errno_ret()),
        architectures: policy.architectures().iter().flatten().map(ToString::to_string).collect(),
        flags: policy.flags().iter().flatten().map(ToString::to_string).collect(),
        listener_path: policy.listener_path().as_deref().map(text).unwrap_or_default(),
        listener_metadata: policy.listener_metadata().clone().unwrap_or_default(),
        syscalls: policy.syscalls().iter().flatten().map(syscall).collect(),
    }
}

fn syscall(call: &oci::LinuxSyscall) -> LinuxSyscall {
    let arg = |arg: &oci::LinuxSeccompArg| LinuxSeccompArg {
        index: u32::try_from(arg.index()).unwrap_or(u32::MAX),
        value: arg.value(),
        value_two: arg.value_two().unwrap_or_default(),
        op: arg.op().to_string(),
    };
    LinuxSyscall {
        names: call.names().clone(),
        action: call.action().to_string(),
        errno_ret: optional(call.errno_ret()),
        args: call.args().iter().flatten().map(arg).collect(),
    }
}

pub(super) fn net_device((host, device): (&String, &oci::LinuxNetDevice)) -> (String, LinuxNetDevice) {
    (host.clone(), LinuxNetDevice { name: device.name().clone().unwrap_or_default() })
}

pub(super) fn rdt(rdt: &oci::LinuxIntelRdt) -> LinuxRdt {
    LinuxRdt {
        clos_id: rdt.clos_id().clone().map(|value| OptionalString { value }),
        schemata: rdt.schemata().clone().map(|value| OptionalRepeatedString { value }),
        enable_monitoring: rdt.enable_monitoring().map(|value| OptionalBool { value }),
        remove: false,
    }
}
