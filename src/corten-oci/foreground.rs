//! `run`, and what this process does while it stands in for a program: it passes signals on, relays the terminal, and
//! ends with the program's code.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci::cgroup::Host;
use sys::fd::errno;
use sys::poll::{Poller, Signals};
use sys::process::{self, Child};
use sys::tty;

use crate::args;
use crate::context::Context;
use crate::error::Result;
use crate::{create, delete, log, start};

const SIGCHLD: i32 = 17;
const SIGWINCH: i32 = 28;
const SIGNALS: u64 = 0;
const INPUT: u64 = 1;
const MASTER: u64 = 2;
/// The code of a program whose end was not seen.
const UNKNOWN: u8 = 255;

/// `run`: create and start, then wait and delete unless detached.
pub(crate) fn run(context: &Context<'_>, args: &args::Run) -> Result<u8> {
    let signals = if args.detach { None } else { Some(Signals::new()?) };
    let mut created = create::create(context, &args.create, args.detach)?;
    let started = start::run(context, &created.dir, &created.record);
    let host = Host::detect()?;
    if let Err(error) = started {
        if let Err(left) = discard(context, &host, &created) {
            log::warning(context.global, &format!("while undoing: {left}"));
        }
        return Err(error);
    }
    let Some(signals) = signals else { return Ok(0) };
    let code = attend(&signals, &created.child, created.master.take())?;
    if !args.keep {
        delete::remove(context, &host, &created.dir, &created.record)?;
    }
    Ok(code)
}

fn discard(context: &Context<'_>, host: &Host, created: &create::Created) -> Result<()> {
    crate::kill::end(host, &created.record)?;
    while created.record.is_alive() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    delete::remove(context, host, &created.dir, &created.record)
}

/// Waits for a child, as its stand-in; returns its code.
pub(crate) fn attend(signals: &Signals, child: &Child, master: Option<OwnedFd>) -> Result<u8> {
    let input = std::io::stdin();
    let _raw = master.as_ref().and_then(|_| tty::Raw::new(input.as_fd()));
    let mut relay = Relay::new(signals, master, input.as_fd())?;
    let mut ready = Vec::new();
    loop {
        relay.poller.wait(None, &mut ready)?;
        for token in &ready {
            match *token {
                SIGNALS => {
                    if let Some(code) = relay.take_signals(signals, child) {
                        relay.finish();
                        return Ok(code);
                    }
                }
                INPUT => relay.pass_input(),
                _ => {
                    relay.pass_output();
                }
            }
        }
    }
}

struct Relay<'a> {
    poller: Poller,
    master: Option<File>,
    input: BorrowedFd<'a>,
    buffer: Vec<u8>,
}

impl<'a> Relay<'a> {
    fn new(signals: &Signals, master: Option<OwnedFd>, input: BorrowedFd<'a>) -> Result<Self> {
        let poller = Poller::new()?;
        poller.add(signals, SIGNALS, false)?;
        if let Some(master) = &master {
            tty::copy_size(input, master.as_fd());
            sys::fd::set_nonblocking(master)?;
            poller.add(master, MASTER, false)?;
            match poller.add(input, INPUT, false) {
                // A file cannot be waited for: it has nothing more to say than it has already.
                Err(error) if error.errno != errno::EPERM => return Err(error.into()),
                _ => {}
            }
        }
        Ok(Self { poller, master: master.map(File::from), input, buffer: vec![0; 32 << 10] })
    }

    /// Passes signals on; the child's code when it has ended.
    fn take_signals(&self, signals: &Signals, child: &Child) -> Option<u8> {
        while let Some(signal) = signals.next() {
            match (signal, &self.master) {
                (SIGCHLD, _) => {
                    while let Some(ended) = process::reap() {
                        if ended.pid == child.pid {
                            return Some(u8::try_from(ended.code).unwrap_or(UNKNOWN));
                        }
                    }
                }
                (SIGWINCH, Some(master)) => tty::copy_size(self.input, master.as_fd()),
                // It may have ended in this moment.
                _ => drop(process::signal(child.pidfd.as_fd(), signal)),
            }
        }
        None
    }

    fn pass_input(&mut self) {
        let read = std::io::stdin().read(&mut self.buffer).unwrap_or(0);
        let bytes = self.buffer.get(..read).unwrap_or_default();
        let passed = self.master.as_mut().is_some_and(|master| master.write_all(bytes).is_ok());
        if read == 0 || !passed {
            // Nothing more comes from there.
            let _ = self.poller.remove(self.input);
        }
    }

    /// `false` at the end.
    fn pass_output(&mut self) -> bool {
        let Some(master) = &mut self.master else { return false };
        match master.read(&mut self.buffer) {
            Ok(read) if read > 0 => {
                let mut out = std::io::stdout();
                // A reader that has left misses the rest.
                let _ = out.write_all(self.buffer.get(..read).unwrap_or_default());
                let _ = out.flush();
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
            _ => {
                // The other end is closed.
                let _ = self.poller.remove(master.as_fd());
                self.master = None;
                false
            }
        }
    }

    /// What the program wrote last.
    fn finish(&mut self) {
        while self.pass_output() {}
    }
}
