//! What is done at the end of processes: reaping, the last of the output, exit files. What for is decided in `pod`.

use std::path::PathBuf;

use sys::process::{self, Ended};
use sys::{cgroup, fs};
use wire::exit;
use wire::msg::ExitRecord;

use crate::foreign::Foreign;
use crate::log::Stream;
use crate::pod::{End, Event, Fact, Remains, Rest};
use crate::reactor::Watched;
use crate::shim::Shim;
use crate::time;

impl Shim {
    /// Reaps whatever has ended.
    pub(crate) fn reap(&mut self) {
        while let Some(ended) = process::reap() {
            self.on_reaped(ended);
        }
    }

    fn on_reaped(&mut self, ended: Ended) {
        // One that has been succeeded means nothing any more.
        self.succeed_all();
        self.succeed_execs();
        failpoint::pass!("shim.exit.reaped");
        self.feed(Event::Reaped(End { how: ended, at_ns: time::wall_ns() }));
    }

    /// Reads an output of a container into its log.
    pub(crate) fn on_output(&mut self, id: &str, stream: Stream) {
        if self.read_output(id, stream, false) {
            self.learn(id, Fact::OutputOver);
        }
    }

    /// `true` when the output is at its end.
    fn read_output(&mut self, id: &str, stream: Stream, all: bool) -> bool {
        let Some(mut watched) =
            self.containers.get_mut(id).and_then(|one| slot(&mut one.stdio.outputs, stream).take())
        else {
            return true;
        };
        let (mut over, was_held) = (false, self.pod.is_held(id));
        if all || !was_held {
            (watched.fd, over) = self.pump(watched.fd, all, |shim, bytes| {
                if let Some(handles) = shim.containers.get_mut(id) {
                    handles.stdio.log.write(stream, bytes);
                }
                shim.repeat(id, stream, bytes)
            });
        }
        if over {
            self.reactor.unwatch(watched);
            if let Some(handles) = self.containers.get_mut(id) {
                handles.stdio.log.finish(stream);
            }
        } else if let Some(handles) = self.containers.get_mut(id) {
            // What was decided meanwhile has found nothing in its place.
            match self.pod.is_held(id) {
                is_held if is_held == was_held => {}
                true => self.reactor.pause(&watched),
                false => self.reactor.set_interest(&watched, true, false),
            }
            *slot(&mut handles.stdio.outputs, stream) = Some(watched);
        }
        over
    }

    /// Kills what is left in the cgroup of a container, if that is to be, and reads what is left of its output.
    pub(crate) fn empty(&mut self, id: &str, kill: bool) {
        let dir = self.containers.get(id).and_then(|handles| handles.place.whole());
        let alone = !kill || dir.is_none_or(|dir| cgroup::kill_all(&dir));
        failpoint::pass!("shim.exit.emptied");
        let out = self.read_output(id, Stream::Out, true);
        let err = self.read_output(id, Stream::Err, true);
        self.learn(id, Fact::Emptied(Rest { alone, silent: out && err }));
    }

    /// Ends a dead container's log and stdin.
    pub(crate) fn close(&mut self, id: &str, count: bool) {
        let mut remains = Remains::default();
        if let Some(handles) = self.containers.get_mut(id) {
            handles.stdio.stdin = None;
            let mut log = std::mem::take(&mut handles.stdio.log);
            log.finish(Stream::Out);
            log.finish(Stream::Err);
            remains.bytes_lost = log.lost();
            if count {
                remains.oom_kills = handles.place.oom_kills();
            }
        }
        failpoint::pass!("shim.exit.closed");
        self.learn(id, Fact::Closing(remains));
    }

    /// Throws the log away that was opened for a container that never came to be.
    pub(crate) fn discard_log(&mut self, id: &str) {
        if let Some(handles) = self.containers.get_mut(id) {
            let mut log = std::mem::take(&mut handles.stdio.log);
            log.finish(Stream::Out);
            log.finish(Stream::Err);
            log.discard();
        }
    }

    /// Lets go of what a dead container holds.
    pub(crate) fn release(&mut self, id: &str) {
        let Some(handles) = self.containers.get_mut(id) else { return };
        let held = handles.stdio.outputs.iter_mut().chain([&mut handles.status, &mut handles.memory]);
        let mut held: Vec<Watched> = held.filter_map(Option::take).collect();
        held.extend(handles.foreign.as_mut().and_then(Foreign::take_console));
        let exec_cgroups = std::mem::take(&mut handles.exec_cgroups);
        for watched in held {
            self.reactor.unwatch(watched);
        }
        for dir in exec_cgroups.left() {
            if let Err(error) = cgroup::remove(dir) {
                crate::report(&format!("container {id}: {error}"));
            }
        }
    }

    /// Writes how a container ended.
    pub(crate) fn write_exit(&self, record: &ExitRecord) {
        let Some(path) = self.exit_path(&record.id) else { return };
        let written = fs::write_atomic(&path, &exit::encode(record), 0o600);
        if let Err(error) = written.and_then(|()| Ok(failpoint::reach!("shim.exit.written")?)) {
            // The event and the snapshot of the next greeting still carry it.
            crate::report(&format!("container {}: {error}", record.id));
        }
    }

    fn exit_path(&self, id: &str) -> Option<PathBuf> {
        let dir = &self.sandbox.as_ref()?.exits;
        (!dir.as_os_str().is_empty()).then(|| dir.join(format!("{id}.exit")))
    }

    /// Drops a dead container and its exit file.
    pub(crate) fn forget(&mut self, id: &str) {
        if self.containers.remove(id).is_some()
            && let Some(path) = self.exit_path(id)
        {
            // The daemon may have taken it away already.
            let _ = std::fs::remove_file(path);
            failpoint::pass!("shim.remove.forgotten");
        }
    }
}

fn slot(outputs: &mut [Option<Watched>; 2], stream: Stream) -> &mut Option<Watched> {
    let [out, err] = outputs;
    match stream {
        Stream::Out => out,
        Stream::Err => err,
    }
}
