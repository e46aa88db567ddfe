//! Programs that talk.

use crate::SOON;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

/// A program whose output is read while it runs; killed when it is dropped.
pub(crate) struct Talk {
    pub(crate) child: Child,
    pub(crate) heard: String,
}

impl Talk {
    pub(crate) fn new(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), heard: String::new() }
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Reads until the text is there; what came up to then. It ends with a panic when the program does, and the
    /// scenario's own deadline ends what says nothing.
    pub(crate) fn hear(&mut self, wanted: &str) -> String {
        loop {
            if let Some(at) = self.heard.find(wanted) {
                let rest = self.heard.split_off(at + wanted.len());
                return std::mem::replace(&mut self.heard, rest);
            }
            let mut buffer = [0; 4096];
            let count = self.child.stdout.as_mut().unwrap().read(&mut buffer).unwrap();
            assert_ne!(count, 0, "it ends behind {:?}", self.heard);
            self.heard += &String::from_utf8_lossy(&buffer[..count]);
        }
    }

    /// What is there within a moment; nothing when nothing is.
    pub(crate) fn hear_some(&mut self) -> String {
        use std::os::fd::AsFd;
        let stdout = self.child.stdout.as_mut().unwrap();
        let mut wait = [nix::poll::PollFd::new(stdout.as_fd(), nix::poll::PollFlags::POLLIN)];
        if nix::poll::poll(&mut wait, 100_u16).unwrap() == 0 {
            return String::new();
        }
        let mut buffer = [0; 4096];
        let count = stdout.read(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }

    /// Waits for its end; whether that was well.
    pub(crate) fn end(&mut self) -> bool {
        drop(self.child.stdin.take());
        let status = e2e::command::wait(&mut self.child, SOON);
        status.expect("it does not end").success()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// crictl in a terminal of 33 lines and 111 columns, which becomes one of 40 and 120 when a file appears.
pub(crate) fn in_a_terminal(line: &str, flag: &std::path::Path) -> Talk {
    let script = format!(
        "stty rows 33 cols 111; (until [ -e {} ]; do sleep 0.05; done; stty rows 40 cols 120 </dev/tty) & exec {line}",
        flag.display()
    );
    Talk::new(Command::new("script").args(["-q", "-e", "-c", &script, "/dev/null"]))
}
