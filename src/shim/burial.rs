//! The end of processes: reaping, the last of the output, exit records.

use std::time::{Duration, Instant};

use sys::fd::as_path;
use sys::process::{self, Ended};
use sys::{cgroup, fs};
use wire::exit;
use wire::msg::{ErrorCode, Event, ExitRecord, Reply};

use crate::container::{Container, Phase};
use crate::foreign::Foreign;
use crate::log::Stream;
use crate::reactor::Shim;
use crate::requests::{error, refused};
use crate::time;

/// How long the output of a dead container is waited for, when something outside of it holds the pipe.
const DRAIN: Duration = Duration::from_secs(2);
/// How often a cgroup is emptied again while processes fork in it.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
const SIGKILL: i32 = 9;
const KILLED: i32 = 137;
/// The exit code of a container whose program could not be run.
const NOT_STARTED: i32 = 128;

impl Shim {
    /// Reaps whatever has ended.
    pub(crate) fn reap(&mut self) {
        while let Some(ended) = process::reap() {
            self.on_ended(ended);
        }
    }

    fn on_ended(&mut self, ended: Ended) {
        if !self.take_in(ended) {
            // It may be the child of a container that has just been handed over to it, and this is not told yet.
            let building = |one: &&Container| matches!(one.phase, Phase::Creating(_)) && !one.ids.is_empty();
            let waiting: Vec<String> =
                self.containers.values().filter(building).map(|one| one.id.clone()).collect();
            for id in waiting {
                self.on_status(&id);
            }
            self.take_in(ended);
        }
    }

    /// Hands an end to whom it concerns; `false` when it concerns nobody: an orphan that came to us as its reaper.
    fn take_in(&mut self, ended: Ended) -> bool {
        let is = |child: &Option<process::Child>| child.as_ref().is_some_and(|child| child.pid == ended.pid);
        if let Some(id) =
            self.containers.values_mut().find_map(|one| one.ends_with(ended.pid).then(|| one.id.clone()))
        {
            self.on_container_ended(&id, ended);
        } else if let Some(number) =
            self.execs.iter_mut().find_map(|(number, exec)| exec.ends_with(ended.pid).then_some(*number))
        {
            self.on_exec_ended(number, ended);
        } else if let Some(sandbox) = &mut self.sandbox
            && is(&sandbox.pause)
        {
            sandbox.pause = None;
        } else if let Some(id) = self.of_helper(ended.pid) {
            self.on_helper_ended(&id, ended);
        } else {
            return false;
        }
        true
    }

    fn on_container_ended(&mut self, id: &str, ended: Ended) {
        let wall = time::wall_ns();
        // What it said last comes first: why it failed, or that it had become its program.
        self.on_status(id);
        let Some(container) = self.containers.get_mut(id) else { return };
        if container.child.as_ref().is_some_and(|child| child.pid != ended.pid) {
            // It has handed over to another.
            return;
        }
        if container.joined.is_some() && matches!(container.phase, Phase::Starting(_)) {
            // The one that it has succeeded may end a little later, and has the channel until then.
            self.on_closed(id);
        }
        if self.adopt(id, ended) {
            return;
        }
        let Some(container) = self.containers.get_mut(id) else { return };
        container.child = None;
        container.root = None;
        container.ended = Some((ended, wall));
        let now = Instant::now();
        container.bury_by = Some(now + DRAIN);
        self.try_bury(id, now);
    }

    /// Reads an output of a container into its log.
    pub(crate) fn on_output(&mut self, id: &str, stream: Stream) {
        let over = self.read_output(id, stream, false);
        if over && self.containers.get(id).is_some_and(|container| container.ended.is_some()) {
            self.try_bury(id, Instant::now());
        }
    }

    /// `true` when the output is at its end.
    fn read_output(&mut self, id: &str, stream: Stream, all: bool) -> bool {
        let Some(mut watched) =
            self.containers.get_mut(id).and_then(|one| slot(&mut one.outputs, stream).take())
        else {
            return true;
        };
        let mut over = false;
        if all || !self.is_held_up(id) {
            (watched.fd, over) = self.pump(watched.fd, all, |shim, bytes| {
                if let Some(container) = shim.containers.get_mut(id) {
                    container.log.write(stream, bytes);
                }
                shim.repeat(id, stream, bytes)
            });
        }
        if !over && self.is_held_up(id) {
            self.set_interest(&watched, false, false);
        }
        if over {
            self.unwatch(watched);
            if let Some(container) = self.containers.get_mut(id) {
                container.log.finish(stream);
            }
        } else if let Some(container) = self.containers.get_mut(id) {
            *slot(&mut container.outputs, stream) = Some(watched);
        }
        over
    }

    /// Buries a container that has ended, once nothing of it runs and all of its output is read, or the time
    /// for that is over.
    pub(crate) fn try_bury(&mut self, id: &str, now: Instant) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if container.ended.is_none() {
            return;
        }
        container.look_again = None;
        let overdue = container.bury_by.is_some_and(|by| by <= now);
        let dir = container.cgroup.kill.as_deref().or(container.cgroup.v2.as_deref());
        let settled = container.foreign.as_ref().is_none_or(Foreign::is_settled);
        let alone = settled && (container.owns_pids || dir.is_none_or(|dir| cgroup::kill_all(as_path(dir))));
        let out = self.read_output(id, Stream::Out, true);
        let err = self.read_output(id, Stream::Err, true);
        if overdue || (alone && out && err) {
            self.bury(id);
        } else if !alone && let Some(container) = self.containers.get_mut(id) {
            container.look_again = Some(now + LOOK_AGAIN);
        }
    }

    fn bury(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some((ended, finished_at_ns)) = container.ended else { return };
        container.bury_by = None;
        container.stdin = None;
        container.log.finish(Stream::Out);
        container.log.finish(Stream::Err);
        let mut leftovers: Vec<_> = container
            .outputs
            .iter_mut()
            .chain([&mut container.status, &mut container.memory])
            .filter_map(Option::take)
            .collect();
        leftovers.extend(container.foreign.as_mut().and_then(Foreign::take_console));
        container.survives_at = None;
        let exec_cgroups = std::mem::take(&mut container.exec_cgroups);
        let phase = std::mem::replace(&mut container.phase, Phase::Created);
        let failure = container.failure.take();
        if let Phase::Creating(ticket) = phase {
            std::mem::take(&mut container.log).discard();
            let reply = failure.map_or_else(
                || {
                    error(
                        ErrorCode::Setup,
                        format!("container {id} was ended by {} while it was set up", cause(ended)),
                    )
                },
                |failure| refused(&failure),
            );
            self.reply(ticket, &reply);
            self.settle(id, leftovers, &exec_cgroups);
            self.forget(id);
            return;
        }
        let kills = container.oom_kills();
        // A shell says 137 for a child that was killed, and ends with it when that was its last command.
        let killed = ended.code == KILLED && !(container.killed && ended.signal == Some(SIGKILL));
        let record = ExitRecord {
            id: id.to_owned(),
            code: if failure.is_some() { NOT_STARTED } else { ended.code },
            signal: ended.signal,
            oom: killed && kills > container.oom_kills_before,
            finished_at_ns,
            started_at_ns: if failure.is_some() { 0 } else { container.started_at_ns },
            start_error: failure.as_ref().map(|failure| failure.message.clone()),
            log_bytes_lost: container.log.lost(),
        };
        container.log = crate::log::Log::default();
        container.phase = Phase::Exited(record.clone());
        let removers = std::mem::take(&mut container.removers);
        self.settle(id, leftovers, &exec_cgroups);
        self.end_clients(id);
        self.write_exit(&record);
        if let (Phase::Starting(ticket), Some(failure)) = (phase, &failure) {
            self.reply(ticket, &refused(failure));
        }
        self.announce(&Event::Exited(record));
        if !removers.is_empty() {
            self.forget(id);
        }
        for ticket in removers {
            self.reply(ticket, &Reply::Ok);
        }
    }

    /// Lets go of what a dead container held.
    fn settle(
        &mut self,
        id: &str,
        leftovers: Vec<crate::reactor::Watched>,
        exec_cgroups: &[std::path::PathBuf],
    ) {
        for watched in leftovers {
            self.unwatch(watched);
        }
        for dir in exec_cgroups {
            if let Err(error) = cgroup::remove(dir) {
                crate::report(&format!("container {id}: {error}"));
            }
        }
    }

    fn write_exit(&self, record: &ExitRecord) {
        let Some(path) = self.exit_path(&record.id) else { return };
        if let Err(error) = fs::write_atomic(&path, &exit::encode(record), 0o600) {
            // The event and the snapshot of the next greeting still carry it.
            crate::report(&format!("container {}: {error}", record.id));
        }
    }

    fn exit_path(&self, id: &str) -> Option<std::path::PathBuf> {
        let dir = &self.sandbox.as_ref()?.exits;
        (!dir.as_os_str().is_empty()).then(|| dir.join(format!("{id}.exit")))
    }

    /// Removes a dead container and its exit file.
    pub(crate) fn forget(&mut self, id: &str) {
        if let Some(container) = self.containers.remove(id) {
            for ticket in container.removers {
                self.reply(ticket, &Reply::Ok);
            }
            if let Some(path) = self.exit_path(id) {
                // The daemon may have taken it away already.
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

fn slot(
    outputs: &mut [Option<crate::reactor::Watched>; 2],
    stream: Stream,
) -> &mut Option<crate::reactor::Watched> {
    let [out, err] = outputs;
    match stream {
        Stream::Out => out,
        Stream::Err => err,
    }
}

fn cause(ended: Ended) -> String {
    match ended.signal {
        Some(signal) => format!("signal {signal}"),
        None => format!("exit code {}", ended.code),
    }
}
