//! Every failpoint, by the verb that reaches it, in the order of its steps.

/// A place at which a test can interfere.
#[derive(Debug)]
pub struct Point {
    /// `program or crate`.`verb`.`step that is done`.
    pub name: &'static str,
    /// Whether the step could have failed, so that it can be made to.
    pub can_fail: bool,
}

const fn fails(name: &'static str) -> Point {
    Point { name, can_fail: true }
}

const fn passes(name: &'static str) -> Point {
    Point { name, can_fail: false }
}

/// All of them.
pub const POINTS: &[Point] = &[
    // RunPodSandbox.
    fails("engine.run.directories"),
    fails("engine.run.recorded"),
    fails("engine.run.netns"),
    fails("engine.run.attached"),
    fails("engine.run.mounted"),
    fails("engine.run.named"),
    fails("engine.run.cgroups"),
    fails("engine.run.limited"),
    fails("engine.run.listening"),
    fails("engine.warm.handed"),
    passes("shim.wait.named"),
    passes("engine.run.spawned"),
    fails("engine.run.connected"),
    fails("engine.run.entered"),
    fails("engine.run.hosts"),
    fails("engine.run.ready"),
    passes("engine.run.published"),
    passes("engine.run.undone"),
    fails("net.add.recorded"),
    fails("cni.bridge.linked"),
    fails("cni.lease.written"),
    fails("cni.bridge.leased"),
    fails("cni.bridge.configured"),
    fails("cni.bridge.masqueraded"),
    fails("cni.portmap.mapped"),
    fails("net.add.called"),
    passes("net.add.undone"),
    passes("shim.run.started"),
    fails("shim.sandbox.entered"),
    fails("launch.pause.pivoted"),
    passes("shim.sandbox.paused"),
    passes("shim.sandbox.ready"),
    // Supervisors that are started ahead, behind the daemon's start and behind pods.
    fails("engine.warm.spawned"),
    passes("shim.wait.ready"),
    // Network namespaces, the same.
    fails("net.ahead.made"),
    // Between daemon and supervisor: the first frame is a greeting, then they are as the verbs are.
    passes("engine.frame.sent"),
    passes("shim.frame.asked"),
    passes("shim.frame.answered"),
    passes("engine.frame.answered"),
    // CreateContainer.
    fails("engine.create.noted"),
    fails("engine.create.cgroups"),
    fails("engine.create.sources"),
    fails("engine.create.recorded"),
    fails("engine.create.layers"),
    fails("engine.create.limited"),
    fails("shim.create.opened"),
    passes("shim.create.forked"),
    fails("shim.create.watched"),
    fails("launch.create.joined"),
    fails("launch.create.prepared"),
    fails("launch.create.assembled"),
    fails("launch.create.left"),
    fails("launch.create.attached"),
    fails("launch.create.devices"),
    fails("launch.create.masked"),
    fails("launch.create.pivoted"),
    passes("shim.create.ready"),
    fails("engine.create.answered"),
    fails("engine.create.saved"),
    passes("engine.create.published"),
    passes("engine.create.undone"),
    // StartContainer.
    passes("shim.start.told"),
    passes("shim.start.ran"),
    passes("engine.start.answered"),
    passes("engine.start.told"),
    passes("engine.start.recorded"),
    // A container's end, and the ends of commands.
    passes("shim.exit.reaped"),
    passes("shim.exit.emptied"),
    passes("shim.exit.closed"),
    fails("shim.exit.written"),
    passes("engine.exit.published"),
    // ExecSync.
    passes("shim.exec.forked"),
    fails("launch.exec.joined"),
    fails("launch.exec.entered"),
    // Attach.
    fails("shim.attach.piped"),
    passes("shim.attach.opened"),
    passes("shim.attach.left"),
    // UpdateContainerResources, UpdatePodSandboxResources.
    fails("engine.update.limited"),
    fails("engine.update.specified"),
    passes("engine.update.recorded"),
    fails("engine.resize.limited"),
    passes("engine.resize.recorded"),
    // StopContainer.
    passes("engine.stop.signalled"),
    passes("engine.stop.killed"),
    // RemoveContainer.
    passes("shim.remove.forgotten"),
    fails("engine.remove.answered"),
    fails("engine.remove.cgroup"),
    fails("engine.remove.aside"),
    fails("engine.remove.unlinked"),
    passes("engine.remove.released"),
    passes("engine.remove.forgotten"),
    // StopPodSandbox.
    passes("engine.release.marked"),
    passes("engine.release.killed"),
    fails("net.del.called"),
    fails("cni.lease.released"),
    fails("net.del.forgotten"),
    fails("engine.release.detached"),
    fails("engine.release.netns"),
    passes("shim.shutdown.answered"),
    passes("engine.release.shutdown"),
    passes("engine.release.unmounted"),
    passes("engine.release.cgroups"),
    passes("engine.release.recorded"),
    // RemovePodSandbox.
    fails("engine.forget.aside"),
    passes("engine.forget.dropped"),
    passes("sys.trash.taken"),
    passes("sys.trash.removed"),
    // What plugins are asked, told and asked for, where one is connected.
    passes("engine.plugins.all_gathered"),
    fails("engine.plugins.run_asked"),
    passes("engine.plugins.run_committed"),
    fails("engine.plugins.create_asked"),
    fails("engine.plugins.create_applied"),
    fails("engine.plugins.create_followed"),
    passes("engine.plugins.create_committed"),
    passes("engine.plugins.create_told"),
    passes("engine.plugins.unmade_told"),
    fails("engine.plugins.start_asked"),
    passes("engine.plugins.start_told"),
    fails("engine.plugins.update_asked"),
    passes("engine.plugins.update_told"),
    fails("engine.plugins.update_followed"),
    fails("engine.plugins.resize_asked"),
    passes("engine.plugins.resize_told"),
    fails("engine.plugins.others_changed"),
    passes("engine.plugins.evict_begun"),
    passes("engine.plugins.evict_ended"),
    passes("engine.plugins.stop_told"),
    passes("engine.plugins.remove_told"),
    passes("engine.plugins.stop_pod_told"),
    passes("engine.plugins.remove_pod_told"),
    // Whatever is recorded, in its order.
    fails("sys.write.written"),
    // A supervisor that has died.
    passes("engine.lost.buried"),
    passes("engine.lost.recorded"),
    // A daemon that has died.
    passes("shim.daemon.left"),
    // Durable copies.
    passes("engine.mirror.committed"),
    // A daemon that takes over.
    passes("engine.recover.restored"),
    passes("engine.recover.loaded"),
    passes("engine.recover.connected"),
    passes("engine.recover.adopted"),
    passes("engine.recover.lost"),
    passes("engine.recover.dropped"),
    passes("engine.recover.swept"),
    passes("engine.recover.undone"),
    passes("engine.recover.tidied"),
    passes("image.start.opened"),
    // PullImage.
    fails("image.pull.resolved"),
    fails("image.pull.documented"),
    passes("image.layer.received"),
    fails("image.layer.unpacked"),
    fails("image.layer.noted"),
    fails("image.layer.outlined"),
    fails("image.layer.placed"),
    fails("image.pull.committed"),
    passes("image.pull.published"),
    fails("image.pull.durable"),
    // RemoveImage.
    fails("image.remove.hidden"),
    passes("image.sweep.forgotten"),
    passes("image.sweep.aside"),
    passes("image.sweep.removed"),
];

/// The point of a name, in a constant.
pub(crate) const fn find(name: &str) -> &'static Point {
    let mut index = 0;
    while index < POINTS.len() {
        if equal(POINTS[index].name.as_bytes(), name.as_bytes()) {
            return &POINTS[index];
        }
        index += 1;
    }
    panic!("no failpoint has this name: add it to src/failpoint/names.rs")
}

const fn equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut index = 0;
    while index < one.len() {
        if one[index] != other[index] {
            return false;
        }
        index += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unlike_and_have_three_parts() {
        let names: BTreeSet<_> = POINTS.iter().map(|point| point.name).collect();
        assert_eq!(names.len(), POINTS.len());
        for name in names {
            let parts: Vec<_> = name.split('.').collect();
            let plain =
                |part: &&str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_lowercase() || c == b'_');
            assert!(parts.len() == 3 && parts.iter().all(plain), "{name}");
        }
    }
}
