//! Runs programs with a deadline.

use crate::error::Error;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What a program left behind.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a program to its end, whatever that is; kills it at the deadline.
///
/// # Errors
/// When it cannot be started or is killed at the deadline.
pub fn finish(command: &mut Command, deadline: Duration) -> Result<Finished, Error> {
    command.stdin(Stdio::null());
    collected(command, deadline, None)
}

/// Runs a program as [`finish`] does, with something to read on its standard input.
///
/// # Errors
/// As [`finish`].
pub fn feed(command: &mut Command, input: &[u8], deadline: Duration) -> Result<Finished, Error> {
    command.stdin(Stdio::piped());
    collected(command, deadline, Some(input.to_vec()))
}

fn collected(command: &mut Command, deadline: Duration, input: Option<Vec<u8>>) -> Result<Finished, Error> {
    let line = line(command);
    let failed = |outcome: String, stderr: String| Error::Command { line: line.clone(), outcome, stderr };
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed("cannot be started".to_owned(), error.to_string()))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // A program that does not read all of it is its own matter.
        thread::spawn(move || drop(std::io::Write::write_all(&mut stdin, &input)));
    }
    let Some(status) = wait(&mut child, deadline) else {
        return Err(failed(format!("did not end within {deadline:?}"), joined(stderr)));
    };
    Ok(Finished { status, stdout: joined(stdout), stderr: joined(stderr) })
}

/// Runs a program that must succeed; its standard output.
///
/// # Errors
/// When it cannot be started, is killed at the deadline, or fails.
pub fn run(command: &mut Command, deadline: Duration) -> Result<String, Error> {
    let finished = finish(command, deadline)?;
    if finished.status.success() {
        return Ok(finished.stdout);
    }
    Err(Error::Command {
        line: line(command),
        outcome: format!("ended with {}", finished.status),
        stderr: finished.stderr.trim().to_owned(),
    })
}

/// Waits for a child; kills it at the deadline and returns `None`.
pub fn wait(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_micros(500);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < end => thread::sleep(pause),
            _ => {
                // Both fail only for a child that is gone.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn collect(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What was read before an error is still worth showing.
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn joined(reader: thread::JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
