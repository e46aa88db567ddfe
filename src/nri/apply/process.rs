//! What runs, and how.

use super::{ApplyError, without_nul};
use crate::api::{
    Hook, Hooks, IoPrioClass, KeyValue, LinuxIoPriority, LinuxScheduler, LinuxSchedulerFlag,
    LinuxSchedulerPolicy as Policy, OptionalInt, PosixRlimit,
};
use crate::merge::marked;
use model::OomScore;
use oci::rlimits::Ceilings;
use oci_spec::runtime as spec;
use oci_spec::runtime::{Process, Spec};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

pub(super) fn annotations(spec: &mut Spec, asked: &BTreeMap<String, String>) {
    if asked.is_empty() {
        return;
    }
    let all = spec.annotations_mut().get_or_insert_default();
    for key in asked.keys().filter_map(|key| marked(key)) {
        all.remove(key);
    }
    let set = asked.iter().filter(|(key, _)| marked(key).is_none());
    all.extend(set.map(|(key, value)| (key.clone(), value.clone())));
}

/// A variable that is there keeps its place, as a later one may be made of it.
pub(super) fn environment(process: &mut Process, asked: &[KeyValue]) -> Result<(), ApplyError> {
    if asked.is_empty() {
        return Ok(());
    }
    let mut env: Vec<Option<String>> =
        process.env_mut().take().unwrap_or_default().into_iter().map(Some).collect();
    let mut places: HashMap<String, Vec<usize>> = HashMap::new();
    for (place, pair) in env.iter().enumerate() {
        let key = pair.as_deref().and_then(|pair| pair.split_once('=')).map(|(key, _)| key);
        places.entry(key.unwrap_or_default().to_owned()).or_default().push(place);
    }
    for entry in asked {
        let field = format!("env {:?}", entry.key);
        let key = marked(&entry.key).unwrap_or(&entry.key);
        if key.is_empty() || key.contains('=') {
            return Err(ApplyError::refused(field, "is no name of a variable"));
        }
        without_nul(&field, &entry.key)?;
        without_nul(&field, &entry.value)?;
        if marked(&entry.key).is_some() {
            for place in places.remove(key).unwrap_or_default() {
                env[place] = None;
            }
            continue;
        }
        let known = places.entry(key.to_owned()).or_default();
        let place = known.first().copied().unwrap_or(env.len());
        if place == env.len() {
            known.push(place);
            env.push(None);
        }
        env[place] = Some(format!("{key}={}", entry.value));
    }
    process.set_env(Some(env.into_iter().flatten().collect()));
    Ok(())
}

pub(super) fn arguments(process: &mut Process, asked: &[String]) -> Result<(), ApplyError> {
    if asked.is_empty() {
        return Ok(());
    }
    asked.iter().try_for_each(|word| without_nul("args", word))?;
    process.set_args(Some(asked.to_vec()));
    Ok(())
}

pub(super) fn hooks(spec: &mut Spec, asked: &Hooks) -> Result<(), ApplyError> {
    let lists = [
        ("prestart", &asked.prestart),
        ("create_runtime", &asked.create_runtime),
        ("create_container", &asked.create_container),
        ("start_container", &asked.start_container),
        ("poststart", &asked.poststart),
        ("poststop", &asked.poststop),
    ];
    for (name, list) in lists {
        if list.is_empty() {
            continue;
        }
        let made: Vec<spec::Hook> = list.iter().map(|asked| hook(name, asked)).collect::<Result<_, _>>()?;
        let hooks = spec.hooks_mut().get_or_insert_default();
        let all = match name {
            #[allow(deprecated, reason = "the interface has them")]
            "prestart" => hooks.prestart_mut(),
            "create_runtime" => hooks.create_runtime_mut(),
            "create_container" => hooks.create_container_mut(),
            "start_container" => hooks.start_container_mut(),
            "poststart" => hooks.poststart_mut(),
            _ => hooks.poststop_mut(),
        };
        all.get_or_insert_default().extend(made);
    }
    Ok(())
}

fn hook(name: &str, asked: &Hook) -> Result<spec::Hook, ApplyError> {
    let field = format!("hooks.{name}");
    if !asked.path.starts_with('/') {
        return Err(ApplyError::refused(field, format!("{:?} is no absolute path", asked.path)));
    }
    let words = std::iter::once(&asked.path).chain(&asked.args).chain(&asked.env);
    words.into_iter().try_for_each(|word| without_nul(&field, word))?;
    let timeout = asked.timeout.map(|timeout| timeout.value);
    if timeout.is_some_and(|seconds| seconds <= 0) {
        return Err(ApplyError::refused(field, format!("{} has no time", asked.path)));
    }
    let list = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    let mut hook = spec::Hook::default();
    hook.set_path(PathBuf::from(&asked.path))
        .set_args(list(&asked.args))
        .set_env(list(&asked.env))
        .set_timeout(timeout);
    Ok(hook)
}

/// The nearest score that there is.
pub(super) fn oom_score(process: &mut Process, asked: Option<&OptionalInt>) {
    if let Some(score) = asked {
        process.set_oom_score_adj(Some(OomScore::nearest(score.value).get_i32()));
    }
}

pub(super) fn io_priority(process: &mut Process, asked: Option<&LinuxIoPriority>) -> Result<(), ApplyError> {
    const FIELD: &str = "linux.io_priority";
    let Some(asked) = asked else { return Ok(()) };
    let class = match IoPrioClass::try_from(asked.class) {
        Ok(IoPrioClass::IoprioClassNone) => {
            process.set_io_priority(None);
            return Ok(());
        }
        Ok(IoPrioClass::IoprioClassRt) => spec::IOPriorityClass::IoprioClassRt,
        Ok(IoPrioClass::IoprioClassBe) => spec::IOPriorityClass::IoprioClassBe,
        Ok(IoPrioClass::IoprioClassIdle) => spec::IOPriorityClass::IoprioClassIdle,
        Err(_) => return Err(ApplyError::refused(FIELD, format!("class {} is unknown", asked.class))),
    };
    if !(0..=7).contains(&asked.priority) {
        return Err(ApplyError::refused(FIELD, format!("priority {} is not within 0 to 7", asked.priority)));
    }
    let made = spec::LinuxIOPriorityBuilder::default().class(class).priority(asked.priority).build();
    process.set_io_priority(Some(made.map_err(|error| ApplyError::oci(FIELD)(error.into()))?));
    Ok(())
}

pub(super) fn scheduler(process: &mut Process, asked: Option<&LinuxScheduler>) -> Result<(), ApplyError> {
    let Some(asked) = asked else { return Ok(()) };
    let refuse = |reason: String| ApplyError::refused("linux.scheduler", reason);
    let policy = match Policy::try_from(asked.policy) {
        Ok(Policy::SchedNone) => {
            process.set_scheduler(None);
            return Ok(());
        }
        Ok(Policy::SchedOther) => spec::LinuxSchedulerPolicy::SchedOther,
        Ok(Policy::SchedFifo) => spec::LinuxSchedulerPolicy::SchedFifo,
        Ok(Policy::SchedRr) => spec::LinuxSchedulerPolicy::SchedRr,
        Ok(Policy::SchedBatch) => spec::LinuxSchedulerPolicy::SchedBatch,
        Ok(Policy::SchedIdle) => spec::LinuxSchedulerPolicy::SchedIdle,
        Ok(Policy::SchedDeadline) => spec::LinuxSchedulerPolicy::SchedDeadline,
        Ok(Policy::SchedIso) => return Err(refuse("the kernel has no SCHED_ISO".to_owned())),
        Err(_) => return Err(refuse(format!("policy {} is unknown", asked.policy))),
    };
    check_scheduler(asked, policy)?;
    let flags = asked.flags.iter().map(|flag| scheduler_flag(*flag)).collect::<Result<Vec<_>, _>>()?;
    let some = |value: u64| (value != 0).then_some(value);
    let mut made = spec::Scheduler::default();
    made.set_policy(policy)
        .set_nice((asked.nice != 0).then_some(asked.nice))
        .set_priority((asked.priority != 0).then_some(asked.priority))
        .set_flags((!flags.is_empty()).then_some(flags))
        .set_runtime(some(asked.runtime))
        .set_deadline(some(asked.deadline))
        .set_period(some(asked.period));
    process.set_scheduler(Some(made));
    Ok(())
}

/// What sched_setattr(2) would answer with EINVAL, in words.
fn check_scheduler(asked: &LinuxScheduler, policy: spec::LinuxSchedulerPolicy) -> Result<(), ApplyError> {
    let refuse = |reason: String| Err(ApplyError::refused("linux.scheduler", reason));
    let is_realtime =
        matches!(policy, spec::LinuxSchedulerPolicy::SchedFifo | spec::LinuxSchedulerPolicy::SchedRr);
    let priorities = if is_realtime { 1..=99 } else { 0..=0 };
    if !priorities.contains(&asked.priority) {
        let (least, most) = priorities.into_inner();
        return refuse(format!("priority {} is not within {least} to {most}", asked.priority));
    }
    if !(-20..=19).contains(&asked.nice) {
        return refuse(format!("nice {} is not within -20 to 19", asked.nice));
    }
    let times = [asked.runtime, asked.deadline, asked.period];
    let is_deadline = policy == spec::LinuxSchedulerPolicy::SchedDeadline;
    if !is_deadline && times != [0; 3] {
        return refuse("only SCHED_DEADLINE has a runtime, a deadline and a period".to_owned());
    }
    if is_deadline && (asked.runtime == 0 || asked.deadline == 0) {
        return refuse("SCHED_DEADLINE needs a runtime and a deadline".to_owned());
    }
    Ok(())
}

fn scheduler_flag(flag: i32) -> Result<spec::LinuxSchedulerFlag, ApplyError> {
    use LinuxSchedulerFlag as Asked;
    use spec::LinuxSchedulerFlag as Made;
    Ok(match Asked::try_from(flag) {
        Ok(Asked::SchedFlagResetOnFork) => Made::SchedResetOnFork,
        Ok(Asked::SchedFlagReclaim) => Made::SchedFlagReclaim,
        Ok(Asked::SchedFlagDlOverrun) => Made::SchedFlagDLOverrun,
        Ok(Asked::SchedFlagKeepPolicy) => Made::SchedFlagKeepPolicy,
        Ok(Asked::SchedFlagKeepParams) => Made::SchedFlagKeepParams,
        // Neither this message nor the runtime spec says between which values.
        Ok(Asked::SchedFlagUtilClampMin | Asked::SchedFlagUtilClampMax) => {
            let reason = "clamps of utilisation have no values in the runtime spec";
            return Err(ApplyError::refused("linux.scheduler.flags", reason));
        }
        Err(_) => {
            return Err(ApplyError::refused("linux.scheduler.flags", format!("{flag} is unknown")));
        }
    })
}

/// A limit takes the place of the one of its kind.
pub(super) fn rlimits(
    process: &mut Process,
    asked: &[PosixRlimit],
    ceilings: &Ceilings,
) -> Result<(), ApplyError> {
    for limit in asked {
        let field = format!("rlimits {:?}", limit.r#type);
        let refuse = |reason: String| ApplyError::refused(field.as_str(), reason);
        let kind: spec::PosixRlimitType =
            limit.r#type.parse().map_err(|_| refuse("is no limit of processes".to_owned()))?;
        if limit.soft > limit.hard {
            return Err(refuse(format!(
                "the soft limit {} is above the hard one {}",
                limit.soft, limit.hard
            )));
        }
        let most = ceilings.of(kind);
        if limit.hard > most {
            return Err(refuse(format!("{} is above {most}, the most that the host allows", limit.hard)));
        }
        let made = spec::PosixRlimitBuilder::default().typ(kind).hard(limit.hard).soft(limit.soft).build();
        let made = made.map_err(|error| ApplyError::oci(&field)(error.into()))?;
        let mut all = process.rlimits().clone().unwrap_or_default();
        all.retain(|known| known.typ() != kind);
        all.push(made);
        process.set_rlimits(Some(all));
    }
    Ok(())
}
