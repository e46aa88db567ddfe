//! Exec and attach: the streams of a command or a container, joined with those of a client.

use crate::link::{Gone, Link, Reader, Writer};
use crate::resize::Sizes;
use crate::status::{Form, Outcome};
use engine::{
    AttachSession, Engine, EngineError, ExecSession, Input, OpenExec, Output, SharedStdin, Streams, Terminal,
};
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

/// What is read of an output at a time.
const PIECE: usize = 32 << 10;
/// How long the output of a command that has ended is waited for, while processes that it left behind hold its pipes.
const DRAIN: Duration = Duration::from_millis(500);
/// What is read after that: as much as a pipe holds.
const LAST: usize = 64 << 10;
/// Bytes of a container's output that wait for an attached client; one that falls further behind is dropped.
const BEHIND: usize = 16 << 20;
/// How long a client may take to hear how it ended.
const CONCLUSION: Duration = Duration::from_secs(30);
/// What a person types to end the input of a terminal (VEOF).
const END_OF_INPUT: &[u8] = b"\x04";

/// A client's streams.
#[derive(Debug)]
pub(crate) struct Client {
    /// What it sends to stdin.
    pub(crate) stdin: Option<Reader>,
    /// Where stdout goes.
    pub(crate) stdout: Option<Writer>,
    /// Where stderr goes.
    pub(crate) stderr: Option<Writer>,
    /// Where the end is told.
    pub(crate) error: Writer,
    /// Sizes of its terminal.
    pub(crate) sizes: Option<Reader>,
    /// How the end is told.
    pub(crate) form: Form,
}

/// Runs a command for a client, to the end of either.
pub(crate) async fn exec(
    engine: &Arc<Engine>,
    (container, exec): (&str, OpenExec),
    client: Client,
    (link, idle): (Link, Duration),
) {
    let Client { stdin, stdout, stderr, error, sizes, form } = client;
    let work = async {
        match engine.open_exec(container, exec).await {
            Ok(session) => command(session, (stdin, sizes), (stdout.as_ref(), stderr.as_ref())).await,
            Err(failure) => not_run(&failure, stderr.as_ref().or(stdout.as_ref())).await,
        }
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        reason = link.lost(idle) => {
            tracing::debug!(container, reason, "a command loses its client");
            Outcome::Failure(reason.to_owned())
        }
    };
    conclude(&outcome, (stdout, stderr, error), form, link).await;
}

/// Joins a client with a container, to the end of either.
pub(crate) async fn attach(
    engine: &Arc<Engine>,
    (container, streams): (&str, Streams),
    client: Client,
    (link, idle): (Link, Duration),
) {
    let Client { stdin, stdout, stderr, error, sizes, form } = client;
    let work = async {
        match engine.open_attach(container, streams).await {
            Ok(session) => joined(session, (stdin, sizes), (stdout.as_ref(), stderr.as_ref())).await,
            Err(failure) => {
                Outcome::Failure(format!("error attaching to container: {}", engine::chain(&failure)))
            }
        }
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        reason = link.lost(idle) => {
            tracing::debug!(container, reason, "a container loses its client");
            Outcome::Failure(reason.to_owned())
        }
    };
    conclude(&outcome, (stdout, stderr, error), form, link).await;
}

/// Tells the end and closes the connection.
async fn conclude(
    outcome: &Outcome,
    (stdout, stderr, error): (Option<Writer>, Option<Writer>, Writer),
    form: Form,
    link: Link,
) {
    let told = async {
        for writer in [stdout, stderr].iter().flatten() {
            writer.finish().await;
        }
        // A client that is gone needs not to be told.
        let _ = error.write(&outcome.encode(form)).await;
        error.finish().await;
        drop(error);
    };
    // One that does not read is cut off.
    if tokio::time::timeout(CONCLUSION, told).await.is_ok() {
        link.close().await;
    }
}

/// A command that could not be run says so like a shell: in words, and by its exit code.
async fn not_run(failure: &EngineError, to: Option<&Writer>) -> Outcome {
    let reason = format!("error executing command in container: {}", engine::chain(failure));
    match (failure.command_exit_code(), to) {
        (Some(code), Some(writer)) => {
            let told = writer.write(format!("{reason}\r\n").as_bytes()).await;
            told.map_or(Outcome::Failure(reason), |()| Outcome::ExitCode(code))
        }
        _ => Outcome::Failure(reason),
    }
}

async fn command(
    session: ExecSession,
    (from, sizes): (Option<Reader>, Option<Reader>),
    (to_out, to_err): (Option<&Writer>, Option<&Writer>),
) -> Outcome {
    let ExecSession { stdin, stdout, stderr, terminal, end } = session;
    let (has_ended, ended) = watch::channel(false);
    let wait = async {
        let code = end.wait().await;
        has_ended.send_replace(true);
        code
    };
    let outputs = async {
        tokio::join!(copy(stdout, to_out, ended.clone()), copy(stderr, to_err, ended.clone()));
    };
    let is_terminal = terminal.is_some();
    let inputs = async {
        tokio::join!(feed(from, stdin, is_terminal), follow(sizes, terminal));
        pending::<Infallible>().await
    };
    let code = tokio::select! {
        (code, ()) = async { tokio::join!(wait, outputs) } => code,
        never = inputs => match never {},
    };
    match code {
        Ok(0) => Outcome::Success,
        Ok(code) => Outcome::ExitCode(code),
        Err(failure) => {
            Outcome::Failure(format!("error executing command in container: {}", engine::chain(&failure)))
        }
    }
}

/// Copies an output to its end; beyond the end of the command only for a moment.
async fn copy(from: Option<Output>, to: Option<&Writer>, mut ended: watch::Receiver<bool>) {
    let Some(from) = from else { return };
    let mut buffer = vec![0; PIECE];
    loop {
        let count = tokio::select! {
            count = from.read(&mut buffer) => count,
            _ = ended.wait_for(|ended| *ended) => break,
        };
        match count {
            Ok(count @ 1..) if give(to, &buffer, count).await.is_ok() => {}
            _ => return,
        }
    }
    let until = Instant::now() + DRAIN;
    let mut beyond = 0;
    while beyond < LAST {
        let count = match from.try_read(&mut buffer) {
            Ok(Some(count)) => count,
            Ok(None) => match timeout_at(until, from.read(&mut buffer)).await {
                Ok(Ok(count)) => count,
                _ => return,
            },
            Err(_) => return,
        };
        if Instant::now() > until {
            beyond += count;
        }
        if count == 0 || give(to, &buffer, count).await.is_err() {
            return;
        }
    }
}

/// What nobody wants is thrown away.
async fn give(to: Option<&Writer>, buffer: &[u8], count: usize) -> Result<(), Gone> {
    match to {
        Some(to) => to.write(buffer.get(..count).unwrap_or_default()).await,
        None => Ok(()),
    }
}

/// Copies the client's input; its end is the end of a pipe's, and a key of a terminal's.
async fn feed(from: Option<Reader>, to: Option<Input>, is_terminal: bool) {
    let Some(mut from) = from else { return };
    let Some(to) = to else {
        while from.next().await.is_some() {}
        return;
    };
    while let Some(piece) = from.next().await {
        if to.write_all(&piece).await.is_err() {
            break;
        }
    }
    if is_terminal {
        // A terminal that has hung up needs no key.
        let _ = to.write_all(END_OF_INPUT).await;
    }
    drop(to);
    while from.next().await.is_some() {}
}

/// Hands on the sizes of the client's window.
async fn follow(from: Option<Reader>, terminal: Option<Terminal>) {
    let Some(mut from) = from else { return };
    let mut sizes = Sizes::default();
    while let Some(piece) = from.next().await {
        for (columns, rows) in sizes.push(&piece) {
            if let Some(terminal) = &terminal
                && let Err(error) = terminal.resize(columns, rows)
            {
                tracing::debug!(%error, "a terminal is not resized");
            }
        }
    }
}

async fn joined(
    session: AttachSession,
    (from, sizes): (Option<Reader>, Option<Reader>),
    (to_out, to_err): (Option<&Writer>, Option<&Writer>),
) -> Outcome {
    let AttachSession { stdin, stdout, stderr, terminal, shared } = session;
    let outputs = async { tokio::try_join!(repeat(stdout, to_out), repeat(stderr, to_err)) };
    let resized = async {
        follow(sizes, terminal).await;
        pending::<Infallible>().await
    };
    tokio::select! {
        never = resized => match never {},
        result = outputs => match result {
            Ok(_) => Outcome::Success,
            Err(Behind) => Outcome::Failure(format!("more than {BEHIND} bytes of output wait to be read: the client is dropped")),
        },
        () = share(from, stdin, &shared) => Outcome::Success,
    }
}

/// The client does not keep up.
struct Behind;

/// Copies a container's output without ever waiting for the client.
async fn repeat(from: Option<Output>, to: Option<&Writer>) -> Result<(), Behind> {
    let Some(from) = from else { return Ok(()) };
    let behind = AtomicUsize::new(0);
    let (queue, mut pieces) = mpsc::unbounded_channel::<Vec<u8>>();
    let take = async {
        let mut buffer = vec![0; PIECE];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if to.is_none() {
                continue;
            }
            if behind.fetch_add(count, Ordering::Relaxed) > BEHIND && !queue.is_closed() {
                return Err(Behind);
            }
            // The other half is polled beside this one, until it is done.
            let _ = queue.send(buffer.get(..count).unwrap_or_default().to_vec());
        }
        drop(queue);
        Ok(())
    };
    let give = async {
        while let Some(piece) = pieces.recv().await {
            behind.fetch_sub(piece.len(), Ordering::Relaxed);
            if let Some(to) = to
                && let Err(Gone) = to.write(&piece).await
            {
                // The stream is given up, which need not be the whole connection.
                pieces.close();
            }
        }
        Ok(())
    };
    tokio::try_join!(take, give).map(drop)
}

/// Copies the client's input to a stdin that others may have, too. Returns when the client has nothing more to say and
/// is not to stay for the output.
async fn share(from: Option<Reader>, to: Option<Input>, shared: &SharedStdin) {
    let (Some(mut from), Some(to)) = (from, to) else { return pending().await };
    let copied: Result<(), io::Error> = tokio::select! {
        copied = async {
            while let Some(piece) = from.next().await {
                to.write_all(&piece).await?;
            }
            Ok(())
        } => copied,
        () = shared.closed() => Err(io::ErrorKind::BrokenPipe.into()),
    };
    drop(to);
    match copied {
        Ok(()) if !shared.ends_with_client() => {}
        Ok(()) => {
            if let Err(error) = shared.close().await {
                tracing::warn!(error = engine::chain(&error), "a container's stdin is not closed");
            }
            pending::<()>().await;
        }
        // Nobody takes input any more; what still comes is thrown away.
        Err(_) => {
            while from.next().await.is_some() {}
            pending::<()>().await;
        }
    }
}
