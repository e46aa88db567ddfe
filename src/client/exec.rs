//! `corten exec`: a command in a container, with its streams, its terminal and its exit code.

use crate::connection::Daemon;
use crate::error::Error;
use crate::node::{Node, container_state};
use crate::print::write;
use crate::terminal::{Terminal, window};
use crate::websocket::{Incoming, Outgoing, Socket};
use cli::exec::ExecArgs;
use proto::{ContainerState, ExecRequest};
use serde_json::{Value, json};
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Channels of the streams' protocol.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const END: u8 = 3;
const SIZES: u8 = 4;
/// Says that a channel ends, whose number follows.
const CLOSE: u8 = 255;
/// Bytes of stdin that are sent at a time.
const PIECE: usize = 32 << 10;

/// Runs a command to its end; the exit code is the command's.
pub(crate) async fn run(daemon: &Daemon, arguments: &ExecArgs) -> Result<ExitCode, Error> {
    let node = Node::look(daemon).await?;
    let container = node.container(&arguments.container)?;
    if container.state() != ContainerState::ContainerRunning {
        let state = container_state(container.state()).to_lowercase();
        return Err(Error::NotRunning { name: node.full_name(container), state });
    }
    let request = ExecRequest {
        container_id: container.id.clone(),
        cmd: arguments.command.clone(),
        tty: arguments.tty,
        stdin: arguments.stdin,
        stdout: true,
        stderr: !arguments.tty,
    };
    let mut runtime = daemon.runtime.clone();
    let doing = format!("run a command in container {}", node.full_name(container));
    let url = daemon.answer(doing.clone(), runtime.exec(request)).await?.url;
    let (incoming, outgoing) = Socket::open(&url).await?.split();
    // The terminal is as it was when this is dropped.
    let _terminal = if arguments.tty && arguments.stdin { Terminal::raw()? } else { None };
    tokio::select! {
        said = outputs(incoming, doing) => said,
        failed = inputs(outgoing, arguments) => Err(failed),
    }
}

/// Prints what comes until the end is told.
async fn outputs(mut incoming: Incoming, doing: String) -> Result<ExitCode, Error> {
    let mut end = Vec::new();
    while let Some(message) = incoming.next().await? {
        match message.split_first() {
            Some((&STDOUT, bytes)) => write(bytes)?,
            // Nobody may be listening.
            Some((&STDERR, bytes)) => drop(io::stderr().write_all(bytes)),
            Some((&END, bytes)) => end.extend_from_slice(bytes),
            _ => {}
        }
    }
    outcome(&end, doing)
}

/// What the end says, which is a `metav1.Status`.
fn outcome(end: &[u8], doing: String) -> Result<ExitCode, Error> {
    let status: Value = serde_json::from_slice(end).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if status["status"] == "Success" {
        return Ok(ExitCode::SUCCESS);
    }
    let cause = &status["details"]["causes"][0];
    let code = (cause["reason"] == "ExitCode").then(|| text(&cause["message"]).parse::<i32>().ok()).flatten();
    match code.map(|code| u8::try_from(code & 0xff).unwrap_or(u8::MAX)) {
        Some(code) => Ok(ExitCode::from(code)),
        None if status.is_null() => {
            let reason = "the daemon went away before it ended".to_owned();
            Err(Error::Refused { doing, reason })
        }
        None => Err(Error::Refused { doing, reason: text(&status["message"]) }),
    }
}

/// Sends stdin and the sizes of the terminal. Returns only with a failure.
async fn inputs(mut outgoing: Outgoing, arguments: &ExecArgs) -> Error {
    let mut stdin = arguments.stdin.then(read_stdin);
    let mut resized = match signal(SignalKind::window_change()) {
        Ok(resized) => resized,
        Err(source) => return Error::Terminal { source },
    };
    let mut size = if arguments.tty { window() } else { None };
    loop {
        if let Some((columns, rows)) = size.take() {
            let text = json!({"Width": columns, "Height": rows}).to_string();
            if outgoing.send(SIZES, text.as_bytes()).await.is_err() {
                break;
            }
        }
        tokio::select! {
            piece = next(stdin.as_mut()) => {
                let sent = match piece {
                    Some(piece) => outgoing.send(STDIN, &piece).await,
                    None => {
                        stdin = None;
                        outgoing.send(CLOSE, &[STDIN]).await
                    }
                };
                if sent.is_err() {
                    break;
                }
            }
            _ = resized.recv() => size = if arguments.tty { window() } else { None },
        }
    }
    // The other half finds out why.
    std::future::pending().await
}

async fn next(stdin: Option<&mut mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match stdin {
        Some(stdin) => stdin.recv().await,
        None => std::future::pending().await,
    }
}

/// Reads stdin in a thread that ends with the process: nothing else interrupts its reading.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, pieces) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut buffer = vec![0; PIECE];
        let mut stdin = io::stdin().lock();
        while let Ok(count @ 1..) = stdin.read(&mut buffer) {
            if sender.blocking_send(buffer.get(..count).unwrap_or_default().to_vec()).is_err() {
                return;
            }
        }
    });
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_an_exit_code_or_a_failure() {
        let code = |text: &str| outcome(text.as_bytes(), "run it".into()).map(|code| format!("{code:?}"));
        let told = |text: &str| code(text).err().map(|error| error.to_string());
        assert_eq!(code(r#"{"status":"Success"}"#).ok(), Some(format!("{:?}", ExitCode::SUCCESS)));
        let three = r#"{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
        assert_eq!(code(three).ok(), Some(format!("{:?}", ExitCode::from(3))));
        let failed = r#"{"status":"Failure","message":"no"}"#;
        assert_eq!(told(failed).as_deref(), Some("cannot run it: no"));
        assert_eq!(told("").as_deref(), Some("cannot run it: the daemon went away before it ended"));
    }
}
