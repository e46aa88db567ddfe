//! What the kernel's scheduler and system calls tell of a while (tracefs): who had the CPUs, for which calls, and how long
//! whoever was woken waited.

use crate::figures::percentile;
use e2e::error::Context;
use e2e::{Error, kernel_trace};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::PathBuf;

/// KiB a CPU: more than is written while pods start for two seconds.
const BUFFER: &str = "65536";
const EVENTS: [&str; 6] = [
    "raw_syscalls/sys_enter",
    "raw_syscalls/sys_exit",
    "sched/sched_switch",
    "sched/sched_waking",
    "sched/sched_process_fork",
    "sched/sched_process_exec",
];

/// Whose a thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Who {
    /// The daemon.
    Daemon,
    /// A pod's supervisor.
    Supervisor,
    /// What it forks, until that executes a program.
    Launch,
    /// That program.
    Program,
    /// The benchmark.
    Client,
    /// The kernel.
    Kernel,
    /// The rest of the host.
    Other,
}

/// All of them, with names.
pub(crate) const ALL: [(Who, &str); 7] = [
    (Who::Daemon, "daemon"),
    (Who::Supervisor, "supervisor"),
    (Who::Launch, "launch, up to exec"),
    (Who::Program, "programs of containers"),
    (Who::Client, "client"),
    (Who::Kernel, "threads of the kernel"),
    (Who::Other, "others"),
];

/// A trace that is being written; dropped, it is gone.
pub(crate) struct Trace(PathBuf);

impl Trace {
    /// Begins one.
    ///
    /// # Errors
    /// Without tracefs, or the right to use it.
    pub(crate) fn begin() -> Result<Self, Error> {
        kernel_trace::remove_left();
        let directory = kernel_trace::own();
        fs::create_dir(&directory).at("create", &directory)?;
        let trace = Self(directory);
        trace.write("buffer_size_kb", BUFFER)?;
        EVENTS.iter().try_for_each(|event| trace.write(&format!("events/{event}/enable"), "1"))?;
        Ok(trace)
    }

    fn write(&self, file: &str, value: &str) -> Result<(), Error> {
        let path = self.0.join(file);
        fs::write(&path, value).at("write", &path)
    }

    /// Ends it; what it tells, with the threads of these two processes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn end(self, daemon: i32, client: i32) -> Result<Ledger, Error> {
        self.write("tracing_on", "0")?;
        let path = self.0.join("trace");
        let text = fs::read_to_string(&path).at("read", &path)?;
        let mut ledger = Ledger { known: [threads(daemon), threads(client)], ..Ledger::default() };
        text.lines().filter_map(Line::parse).for_each(|line| ledger.take(&line));
        Ok(ledger)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        kernel_trace::remove(&self.0);
    }
}

fn threads(pid: i32) -> HashSet<i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// `  corten-123  [001] d..2.  12.345678: sched_switch: prev_comm=…`
struct Line<'a> {
    name: &'a str,
    thread: i32,
    /// Microseconds.
    at: f64,
    event: &'a str,
    rest: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (task, rest) = line.split_once(" [")?;
        let (name, thread) = task.trim().rsplit_once('-')?;
        let (_, rest) = rest.split_once("] ")?;
        let (_, rest) = rest.split_once(' ')?;
        let (at, rest) = rest.trim_start().split_once(": ")?;
        let (event, rest) = rest.split_once(": ")?;
        Some(Self { name, thread: thread.parse().ok()?, at: at.parse::<f64>().ok()? * 1e6, event, rest })
    }

    /// What follows `name=`, up to the next space.
    fn field(&self, name: &str) -> Option<&'a str> {
        let at = self.rest.find(&format!("{name}="))? + name.len() + 1;
        self.rest.get(at..)?.split(' ').next()
    }

    fn number(&self, name: &str) -> Option<i32> {
        self.field(name)?.parse().ok()
    }
}

/// CPU time in microseconds.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    pub(crate) kernel: f64,
}

/// How often a system call was made, and what of CPU time it took, in microseconds.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Calls {
    pub(crate) times: u32,
    pub(crate) cpu: f64,
}

/// What a trace tells.
#[derive(Default)]
pub(crate) struct Ledger {
    known: [HashSet<i32>; 2],
    whose: HashMap<i32, Who>,
    /// Since when a thread has a CPU, or what it does there was looked at last.
    on_cpu: HashMap<i32, f64>,
    /// The call in which a thread is.
    inside: HashMap<i32, u32>,
    woken: HashMap<i32, f64>,
    pub(crate) cpu: BTreeMap<Who, Cpu>,
    pub(crate) calls: BTreeMap<(Who, u32), Calls>,
    /// Nanoseconds from being woken to running.
    waits: BTreeMap<Who, Vec<u128>>,
}

impl Ledger {
    /// Milliseconds from being woken to running, p50 and p90, and how often.
    pub(crate) fn waits(&self, who: Who) -> (f64, f64, usize) {
        let waits = self.waits.get(&who).map(Vec::as_slice).unwrap_or_default();
        (percentile(waits, 50), percentile(waits, 90), waits.len())
    }

    fn whose(&mut self, thread: i32, name: &str) -> Who {
        let [daemon, client] = &self.known;
        let kernel = ["kworker/", "ksoftirqd/", "rcu_", "migration/", "kthreadd", "kcompactd"];
        *self.whose.entry(thread).or_insert_with(|| match name {
            _ if daemon.contains(&thread) => Who::Daemon,
            _ if client.contains(&thread) => Who::Client,
            _ if name.starts_with("corten-shim") => Who::Supervisor,
            _ if kernel.iter().any(|known| name.starts_with(known)) => Who::Kernel,
            _ => Who::Other,
        })
    }

    fn take(&mut self, line: &Line<'_>) {
        match line.event {
            "sched_switch" => self.switch(line),
            "sched_waking" => drop(line.number("pid").map(|thread| self.woken.insert(thread, line.at))),
            "sched_process_fork" => {
                let by = self.whose(line.thread, line.name);
                // A new thread of the daemon's is known as one.
                let child = line.number("child_pid").filter(|child| !self.known[0].contains(child));
                let child = child.filter(|_| matches!(by, Who::Daemon | Who::Supervisor | Who::Launch));
                let role = if by == Who::Daemon { Who::Supervisor } else { Who::Launch };
                child.map(|child| self.whose.insert(child, role));
            }
            "sched_process_exec" if self.whose(line.thread, line.name) == Who::Launch => {
                self.whose.insert(line.thread, Who::Program);
            }
            "sys_enter" => {
                self.account(line.thread, line.name, line.at);
                let number = line.rest.split(' ').nth(1).and_then(|number| number.parse().ok());
                number.map(|number| self.inside.insert(line.thread, number));
            }
            "sys_exit" => {
                self.account(line.thread, line.name, line.at);
                if let Some(number) = self.inside.remove(&line.thread) {
                    let who = self.whose(line.thread, line.name);
                    self.calls.entry((who, number)).or_default().times += 1;
                }
            }
            _ => {}
        }
    }

    fn switch(&mut self, line: &Line<'_>) {
        if let (Some(before), Some(name)) = (line.number("prev_pid"), line.field("prev_comm")) {
            self.account(before, name, line.at);
            self.on_cpu.remove(&before);
        }
        let (Some(next), Some(name)) = (line.number("next_pid"), line.field("next_comm")) else { return };
        if next == 0 {
            return;
        }
        self.on_cpu.insert(next, line.at);
        if let Some(woken) = self.woken.remove(&next) {
            let who = self.whose(next, name);
            self.waits.entry(who).or_default().push(nanoseconds(line.at - woken));
        }
    }

    /// Books the time since the last look at a thread that has a CPU.
    fn account(&mut self, thread: i32, name: &str, now: f64) {
        let Some(since) = self.on_cpu.insert(thread, now) else { return };
        let who = self.whose(thread, name);
        let (cpu, took) = (self.cpu.entry(who).or_default(), now - since);
        match self.inside.get(&thread) {
            None if who != Who::Kernel => cpu.user += took,
            None => cpu.kernel += took,
            Some(number) => {
                cpu.kernel += took;
                self.calls.entry((who, *number)).or_default().cpu += took;
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn nanoseconds(microseconds: f64) -> u128 {
    (microseconds * 1e3).max(0.0) as u128
}
