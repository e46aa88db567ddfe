//! The cases: for every failpoint that the list has, what happens there, and what has to come before.

use failpoint::{POINTS, Point};
use std::collections::BTreeSet;
use std::path::Path;

/// What comes before a request, where a plugin does something at it.
const PLUGIN: &str = "plugin.";
/// All of them, in their order.
const REQUESTS: [&str; 16] = [
    "plugin.Configure",
    "plugin.Synchronize",
    "plugin.RunPodSandbox",
    "plugin.CreateContainer",
    "plugin.ValidateContainerAdjustment",
    "plugin.PostCreateContainer",
    "plugin.StartContainer",
    "plugin.PostStartContainer",
    "plugin.UpdateContainer",
    "plugin.PostUpdateContainer",
    "plugin.UpdatePodSandbox",
    "plugin.PostUpdatePodSandbox",
    "plugin.StopContainer",
    "plugin.StopPodSandbox",
    "plugin.RemoveContainer",
    "plugin.RemovePodSandbox",
];
/// It kills the daemon that asks.
pub(crate) const KILLS: &str = "kills the daemon";
/// It dies before it answers.
pub(crate) const DIES: &str = "dies";
/// It answers and dies.
pub(crate) const LEAVES: &str = "answers and dies";
/// It never answers.
pub(crate) const HANGS: &str = "hangs";
/// Its answer is an error.
pub(crate) const REFUSES: &str = "refuses";
/// Its answer cannot be read.
pub(crate) const BABBLES: &str = "answers garbage";
const MANNERS: [&str; 6] = [KILLS, DIES, LEAVES, HANGS, REFUSES, BABBLES];

/// One row of the matrix.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// The failpoint.
    pub(crate) name: &'static str,
    /// What happens there.
    pub(crate) action: &'static str,
    /// The time at which it does.
    pub(crate) time: u32,
}

/// Where a moment more lets what goes on beside it come first.
const DELAYED: [&str; 10] = [
    "engine.run.netns",
    "engine.run.attached",
    "engine.run.entered",
    "engine.start.answered",
    "shim.exit.emptied",
    "net.del.called",
    "engine.plugins.all_gathered",
    "engine.plugins.create_asked",
    "engine.plugins.start_asked",
    "engine.plugins.evict_begun",
];

/// Those that are reached by several verbs, or for several plugins, and how often at least.
const REPEATED: [(&str, u32); 8] = [
    ("engine.frame.sent", 9),
    ("engine.frame.answered", 9),
    ("shim.frame.asked", 9),
    ("shim.frame.answered", 9),
    ("net.add.called", 2),
    ("net.del.called", 2),
    ("engine.remove.unlinked", 3),
    ("sys.write.written", 11),
];

/// Where a full disk is met first.
const FULL: [&str; 8] = [
    "engine.run.recorded",
    "engine.create.recorded",
    "engine.create.saved",
    "net.add.recorded",
    "cni.lease.written",
    "image.layer.unpacked",
    "image.pull.committed",
    "sys.write.written",
];

/// Those of a pod whose containers share a PID namespace.
const SHARED: [&str; 2] = ["launch.pause.pivoted", "shim.sandbox.paused"];

/// Those of pods whose supervisor was started ahead.
const WARM: [&str; 2] = ["engine.warm.handed", "shim.wait.named"];

/// Supervisors die beside these: the pods' that were told, too.
const LOST: [&str; 3] = ["engine.lost.buried", "engine.lost.recorded", "engine.recover.lost"];

/// What must go wrong in the same daemon, or supervisor, for a failpoint to be reached.
const BESIDE: [(&str, &str); 7] = [
    ("engine.plugins.unmade_told", "engine.plugins.create_asked=error(EIO)@1"),
    ("engine.run.undone", "engine.run.attached=error(EIO)@1"),
    ("net.add.undone", "net.add.called=error(EIO)@2"),
    ("engine.create.undone", "engine.create.answered=error(EIO)@1"),
    ("engine.lost.buried", "shim.start.told=abort@1"),
    ("engine.lost.recorded", "shim.start.told=abort@1"),
    ("shim.daemon.left", "engine.start.recorded=abort@1"),
];

/// What the daemon before has to die of, so that the next one reaches a step of its recovery.
const BEFORE: [(&str, &str); 5] = [
    ("engine.recover.connected", "engine.start.recorded=abort@1"),
    ("engine.recover.adopted", "engine.start.recorded=abort@1"),
    ("engine.recover.lost", "engine.start.recorded=abort@1;shim.daemon.left=abort@1"),
    ("engine.recover.dropped", "engine.create.layers=abort@1"),
    ("engine.recover.undone", "engine.run.attached=abort@1"),
];

fn value<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
}

impl Case {
    /// What it does, for people.
    pub(crate) fn mode(&self) -> String {
        let time = if self.time == 1 { String::new() } else { format!(" at time {}", self.time) };
        format!("{}{time}", self.action)
    }

    /// What daemons, one after the other, find in their environment.
    pub(crate) fn settings(&self) -> Vec<String> {
        if self.is_a_plugin_s_own() {
            return Vec::new();
        }
        let own = format!("{}={}@{}", self.name, self.action, self.time);
        let beside = value(&BESIDE, self.name).map(|other| format!("{own};{other}"));
        let before = value(&BEFORE, self.name).map(str::to_owned);
        before.into_iter().chain([beside.unwrap_or(own)]).collect()
    }

    /// Whether a plugin does something, and no failpoint.
    pub(crate) fn is_a_plugin_s_own(&self) -> bool {
        self.name.starts_with(PLUGIN)
    }

    /// The request at which it does.
    pub(crate) fn request(&self) -> Option<&'static str> {
        self.name.strip_prefix(PLUGIN)
    }

    /// Whether it is about images.
    pub(crate) fn is_of_images(&self) -> bool {
        self.name.starts_with("image.")
    }

    /// Whether pods end by it whose ids were told: their supervisor dies.
    pub(crate) fn ends_pods(&self) -> bool {
        self.action == "abort" && (self.name.starts_with("shim.") || LOST.contains(&self.name))
    }

    /// Whether a supervisor has to be there when the pod comes.
    pub(crate) fn needs_a_waiting_supervisor(&self) -> bool {
        WARM.contains(&self.name)
    }

    /// Whether the pod's containers share a PID namespace.
    pub(crate) fn shares_pids(&self) -> bool {
        SHARED.contains(&self.name)
    }

    /// Whether the daemon dies of it.
    pub(crate) fn ends_the_daemon(&self) -> bool {
        let is_a_child_s = self.name.starts_with("shim.") || self.name.starts_with("launch.");
        self.action == KILLS || self.action == "abort" && !is_a_child_s
    }
}

/// Those at failpoints whose names fit, and begin as `CORTEN_FAILPOINT` says.
pub(crate) fn all(fits: impl Fn(&str) -> bool) -> Vec<Case> {
    let prefix = std::env::var("CORTEN_FAILPOINT").unwrap_or_default();
    let wanted = POINTS.iter().filter(|point| fits(point.name) && point.name.starts_with(&prefix));
    wanted.filter(|point| is_reached_here(point.name)).flat_map(of).collect()
}

/// What a plugin does instead of an answer, or with one, at everything that it can be asked.
pub(crate) fn of_plugins(fits: impl Fn(&str) -> bool) -> Vec<Case> {
    let prefix = std::env::var("CORTEN_FAILPOINT").unwrap_or_default();
    let of = |name: &'static str| MANNERS.map(|action| Case { name, action, time: 1 });
    let wanted = REQUESTS.into_iter().filter(|name| name.starts_with(&prefix)).flat_map(of);
    wanted.filter(|case| fits(case.action)).collect()
}

/// Cgroups are made ahead on hosts with v1 alone.
fn is_reached_here(name: &str) -> bool {
    name != "engine.create.noted" || !Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

fn of(point: &'static Point) -> Vec<Case> {
    let mut actions = vec!["abort"];
    if point.can_fail {
        actions.push("error(EIO)");
    }
    if FULL.contains(&point.name) {
        actions.push("error(ENOSPC)");
    }
    if DELAYED.contains(&point.name) {
        actions.push("delay(300ms)");
    }
    let times = 1..=value(&REPEATED, point.name).unwrap_or(1);
    let all =
        times.flat_map(|time| actions.iter().map(move |action| Case { name: point.name, action, time }));
    all.filter(|case| case.time == 1 || !case.action.starts_with("delay")).collect()
}

/// How many failpoints they are at.
pub(crate) fn points(cases: &[&Case]) -> usize {
    cases.iter().map(|case| case.name).collect::<BTreeSet<_>>().len()
}
