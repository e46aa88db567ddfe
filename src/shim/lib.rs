//! corten-shim: the supervisor of one pod. It is the parent of every process of the pod and outlives the
//! daemon, so that logs go on and exit codes are kept whatever happens to it.
//!
//! # The loop
//! One thread waits (epoll) for: the listening socket (descriptor 3, inherited), any number of daemon
//! connections, SIGCHLD, and for each container and exec the status channel of a child on its way to exec and
//! its output. Timers (exec timeouts, drain limits) are the wait's timeout. Nothing in the loop waits for
//! anybody: a slow container holds up no other's output. From a daemon that is slow to read no more requests are
//! taken until it has caught up, and one that never reads is dropped when its buffer is full; it may come back, say
//! hello and find everything it missed. Interactive streams pass the shim by: the daemon gets the descriptors of an
//! exec's pipes or terminal and of a container's stdin, and a pipe of its own for the output of a container that a
//! client is attached to.
//!
//! # A container's life
//! `Create` forks; the child builds the container around itself (the crate `launch`), reports over its status channel and
//! waits. `Start` gives it the word; exec closes the channel, which is how success is seen. When it ends, what
//! is left in its cgroup is killed, its output drained, its exit file written, and only then the event sent.
//!
//! One that joins a PID namespace waits outside of it: whoever traces in there finds nothing of the host's. At `Start` its
//! program begins in a process of its own, whose number `Started` tells (`succession`).
//!
//! # Files
//! `pod` knows where everything stands and decides what is to be done: a state machine without a system call, tried in
//! memory. All else does it: `shim` is the loop, `reactor` what it waits for, `perform` carries out the pod's actions,
//! `daemons` and `conn` are the daemon's side, `requests` what it asks beside the pod; `container`, `execs`, `sandbox`, `succession` and `burial` hold processes and
//! descriptors; `attach` the pipes of a container's clients, `clients` what they have yet to get; `log` the CRI log file; `capture` an exec's output; the talk with a
//! child is `launch::channel`. `probe` finds out what the host can do; `naming` is how
//! a shim that was started ahead waits for its pod.

mod attach;
mod burial;
mod capture;
mod clients;
mod conn;
mod container;
mod crowd;
mod daemons;
mod exec_ends;
mod execs;
mod foreign;
mod fork;
#[cfg(fuzzing)]
pub mod fuzzing;
mod log;
mod naming;
mod perform;
mod pod;
mod probe;
mod reactor;
mod requests;
mod sandbox;
mod shim;
mod succession;
mod time;
mod tracking;

use std::process::ExitCode;

/// For those who run it by hand.
const USAGE: &str = "corten-shim supervises one pod: corten starts it for each pod, and nobody else does";

/// Supervises one pod until the daemon ends it; or tries, as its arguments say, what the host can do.
#[must_use]
pub fn run() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let verb = arguments.next().unwrap_or_default();
    if let (true, Some(dir)) = (verb == "--probe-user-namespace", arguments.next()) {
        return probe::user_namespace(std::path::Path::new(&dir));
    }
    let is_nameless = verb == wire::naming::NAMELESS;
    if !is_nameless && verb.as_encoded_bytes().starts_with(b"-") {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    if let Err(error) = failpoint::arm() {
        report(&error.to_string());
        return ExitCode::FAILURE;
    }
    match shim::run(is_nameless) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&format!("the shim cannot go on: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The file of reports takes no more than this: it lies in memory.
const REPORTS: u64 = 64 << 10;

/// One line for the log file that the daemon gave the shim as its stderr.
fn report(text: &str) {
    use std::io::Write;
    if sys::fd::size(std::io::stderr()).is_ok_and(|size| size >= REPORTS) {
        return;
    }
    // Nobody is left to tell when even this fails.
    let _ = std::io::stderr().write_all(format!("{} {text}\n", time::stamp_text(time::wall_ns())).as_bytes());
}
