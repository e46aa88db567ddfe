//! Exec and attach: the streams of a command or a container, joined with those of a client.

use crate::bounds::{Bounds, Share};
use crate::inlet::Reader;
use crate::link::{Gone, Link, Writer};
use crate::resize::Window;
use crate::session::Host;
use crate::status::{Form, Outcome};
use engine::{
    AttachSession, EngineError, ExecSession, Input, OpenExec, Output, SharedStdin, Streams, Terminal,
};
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

/// What is read of an output at a time.
const PIECE: usize = 32 << 10;
/// How long the output of a command that has ended is waited for, while processes that it left behind hold its pipes.
const DRAIN: Duration = Duration::from_millis(500);
/// How long a client may take to hear how it ended.
const CONCLUSION: Duration = Duration::from_secs(30);
/// How long a command in a terminal, and who joins one, waits for the client to tell the size of its window.
const FIRST_SIZE: Duration = Duration::from_millis(100);
/// What a person types to end the input of a terminal (VEOF).
const END_OF_INPUT: &[u8] = b"\x04";

/// What a client sends.
#[derive(Debug)]
pub(crate) struct Inputs<Sizes> {
    /// For stdin.
    pub(crate) stdin: Option<Reader>,
    /// Sizes of its terminal.
    pub(crate) sizes: Option<Sizes>,
}

/// Where outputs go.
#[derive(Debug)]
pub(crate) struct Outputs {
    /// Of stdout.
    pub(crate) stdout: Option<Writer>,
    /// Of stderr.
    pub(crate) stderr: Option<Writer>,
}

impl Outputs {
    /// One of them, stdout first.
    pub(crate) fn any(&self) -> Option<&Writer> {
        self.stdout.as_ref().or(self.stderr.as_ref())
    }
}

/// A command to be run.
pub(crate) struct Run<'a> {
    /// Where.
    pub(crate) container: &'a str,
    /// What.
    pub(crate) exec: OpenExec,
}

/// A container to be joined.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Join<'a> {
    /// Which.
    pub(crate) container: &'a str,
    /// Which of its streams.
    pub(crate) streams: Streams,
    /// In its terminal.
    pub(crate) tty: bool,
}

/// A client's streams.
#[derive(Debug)]
pub(crate) struct Client {
    /// What it sends.
    pub(crate) inputs: Inputs<Reader>,
    /// What it is sent.
    pub(crate) outputs: Outputs,
    /// Where the end is told.
    pub(crate) error: Writer,
    /// How the end is told.
    pub(crate) form: Form,
}

/// Runs a command for a client, to the end of either.
pub(crate) async fn exec(
    host: &Host<'_>,
    Run { container, exec }: Run<'_>,
    Client { inputs: Inputs { stdin, sizes }, outputs, error, form }: Client,
    link: Link,
) {
    let work = async {
        let mut sizes = sizes.map(Window::new);
        let size = if exec.tty { first(sizes.as_mut()).await } else { None };
        let exec = OpenExec { size, ..exec };
        match host.engine.containers().open_exec(container, exec).await {
            Ok(session) => command(session, Inputs { stdin, sizes }, &outputs).await,
            Err(failure) => not_run(&failure, outputs.stderr.as_ref().or(outputs.stdout.as_ref())).await,
        }
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        reason = link.lost(host.idle) => {
            tracing::debug!(container, reason, "a command loses its client");
            Outcome::Failure(reason.to_owned())
        }
    };
    conclude(&outcome, Ending { outputs, error, form }, link).await;
}

/// Joins a client with a container, to the end of either.
pub(crate) async fn attach(
    host: &Host<'_>,
    Join { container, streams, tty }: Join<'_>,
    Client { inputs: Inputs { stdin, sizes }, outputs, error, form }: Client,
    link: Link,
) {
    let work = async {
        let mut sizes = sizes.map(Window::new);
        let size = if tty { first(sizes.as_mut()).await } else { None };
        match host.engine.containers().open_attach(container, streams).await {
            Ok(session) => {
                if let (Some(terminal), Some(size)) = (&session.terminal, size) {
                    resize(terminal, size);
                }
                joined(session, Inputs { stdin, sizes }, &outputs, host.bounds).await
            }
            Err(failure) => {
                Outcome::Failure(format!("error attaching to container: {}", engine::chain(&failure)))
            }
        }
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        reason = link.lost(host.idle) => {
            tracing::debug!(container, reason, "a container loses its client");
            Outcome::Failure(reason.to_owned())
        }
    };
    conclude(&outcome, Ending { outputs, error, form }, link).await;
}

/// Where and how an end is told.
struct Ending {
    outputs: Outputs,
    error: Writer,
    form: Form,
}

/// Tells the end and closes the connection.
async fn conclude(
    outcome: &Outcome,
    Ending { outputs: Outputs { stdout, stderr }, error, form }: Ending,
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
    if timeout(CONCLUSION, told).await.is_ok() {
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
    Inputs { stdin: from, sizes }: Inputs<Window>,
    outputs: &Outputs,
) -> Outcome {
    let (to_out, to_err) = (outputs.stdout.as_ref(), outputs.stderr.as_ref());
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
    // What the command left in its pipe, however large that is and however slow the client. More may be on its way
    // through other processes of its own.
    let mut due = from.waiting();
    let until = Instant::now() + DRAIN;
    loop {
        let count = match from.try_read(&mut buffer) {
            Ok(Some(count)) => count,
            Ok(None) => match timeout_at(until, from.read(&mut buffer)).await {
                Ok(Ok(count)) => count,
                _ => return,
            },
            Err(_) => return,
        };
        due = due.saturating_sub(count);
        if count == 0 || give(to, &buffer, count).await.is_err() || due == 0 && Instant::now() > until {
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

/// The first size that the client tells of its window, if that comes soon.
async fn first(window: Option<&mut Window>) -> Option<(u16, u16)> {
    timeout(FIRST_SIZE, window?.next()).await.ok().flatten()
}

/// Hands on the sizes of the client's window.
async fn follow(window: Option<Window>, terminal: Option<Terminal>) {
    let Some(mut window) = window else { return };
    while let Some(size) = window.next().await {
        if let Some(terminal) = &terminal {
            resize(terminal, size);
        }
    }
}

fn resize(terminal: &Terminal, (columns, rows): (u16, u16)) {
    if let Err(error) = terminal.resize(columns, rows) {
        tracing::debug!(%error, "a terminal is not resized");
    }
}

async fn joined(
    session: AttachSession,
    Inputs { stdin: from, sizes }: Inputs<Window>,
    outputs: &Outputs,
    bounds: &Bounds,
) -> Outcome {
    let (to_out, to_err) = (outputs.stdout.as_ref(), outputs.stderr.as_ref());
    let AttachSession { stdin, stdout, stderr, terminal, shared } = session;
    let behind = bounds.behind();
    let outputs =
        async { tokio::try_join!(repeat(stdout, to_out, &behind), repeat(stderr, to_err, &behind)) };
    let resized = async {
        follow(sizes, terminal).await;
        pending::<Infallible>().await
    };
    tokio::select! {
        never = resized => match never {},
        result = outputs => match result {
            Ok(_) => Outcome::Success,
            Err(Behind) => Outcome::Failure("more output than is kept for a slow client waits to be read: the client is dropped".to_owned()),
        },
        () = share(from, stdin, &shared) => Outcome::Success,
    }
}

/// The client does not keep up.
struct Behind;

/// Copies a container's output without ever waiting for the client.
async fn repeat(from: Option<Output>, to: Option<&Writer>, behind: &Share) -> Result<(), Behind> {
    let Some(from) = from else { return Ok(()) };
    let (queue, mut pieces) = mpsc::unbounded_channel::<Vec<u8>>();
    let take = async {
        let mut buffer = vec![0; PIECE];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if to.is_none() || queue.is_closed() {
                continue;
            }
            if !behind.take(count) {
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
            if let Some(to) = to
                && let Err(Gone) = to.write(&piece).await
            {
                // The stream is given up, which need not be the whole connection.
                pieces.close();
            }
            behind.give(piece.len());
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
