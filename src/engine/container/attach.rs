//! Attach: a running container's streams, from now on.

use super::open_exec::{missing, split_stdin};
use crate::Containers;
use crate::error::EngineError;
use crate::in_memory::Container;
use crate::stdio::{self, Input, Output, Terminal};
use std::sync::Arc;
use wire::msg::Streams;

/// A client of a container. Its outputs must be read without waiting for anybody: the supervisor drops a client whose
/// pipes stay full, and never lets the container wait for one. Dropping them is how the client leaves.
pub struct AttachSession {
    /// Where it is asked for and the container has one.
    pub stdin: Option<Input>,
    /// Where it is asked for, or as the sign of the end; a terminal's output.
    pub stdout: Option<Output>,
    /// Where it is asked for.
    pub stderr: Option<Output>,
    /// Where the container has one.
    pub terminal: Option<Terminal>,
    /// The container's stdin, as all of its clients share it.
    pub shared: SharedStdin,
}

/// The stdin that clients of a container share.
pub struct SharedStdin {
    container: Arc<Container>,
}

impl SharedStdin {
    /// Whether it ends with the input of the first client that has it.
    pub fn ends_with_client(&self) -> bool {
        let record = self.container.record();
        record.config.stdin_once && !record.config.tty
    }

    /// Ends it for every client.
    ///
    /// # Errors
    /// When the pod's supervisor is gone.
    pub async fn close(&self) -> Result<(), EngineError> {
        self.container.stdin_closed.send_replace(true);
        let id = &self.container.id;
        let supervisor = self.container.pod.live_supervisor("close the stdin of", id)?;
        Ok(supervisor.close_stdin(id).await?)
    }

    /// Waits until somebody has ended it: who holds an [`Input`] of it lets go, or it would stay open.
    pub async fn closed(&self) {
        let mut closed = self.container.stdin_closed.subscribe();
        // The sender lives as long as the container, which is held.
        let _ = closed.wait_for(|closed| *closed).await;
    }
}

impl Containers {
    /// Joins a running container's streams. A terminal's streams are one, whatever is asked for.
    ///
    /// # Errors
    /// When the container does not run.
    pub async fn open_attach(
        self: &Arc<Self>,
        id: &str,
        streams: Streams,
    ) -> Result<AttachSession, EngineError> {
        let operation = "attach to";
        let container = self.running(id, operation)?;
        let supervisor = container.pod.live_supervisor(operation, &container.id)?;
        let config = container.record().config;
        let streams = Streams {
            stdin: streams.stdin && config.stdin,
            stderr: streams.stderr && !config.tty,
            ..streams
        };
        let passed = supervisor.attach(&container.id, streams).await?;
        let outputs = usize::from(streams.stdout) + usize::from(streams.stderr);
        let (first, pipes) = split_stdin(passed, outputs.max(1));
        if pipes.len() < outputs.max(1) {
            return Err(missing(&container));
        }
        let mut pipes = pipes.into_iter();
        let mut session = AttachSession {
            stdin: None,
            stdout: None,
            stderr: None,
            terminal: None,
            shared: SharedStdin { container: container.clone() },
        };
        match first {
            Some(master) if config.tty => {
                let (stdin, _, terminal) = stdio::terminal(master)?;
                session.stdin = streams.stdin.then_some(stdin);
                session.terminal = Some(terminal);
            }
            Some(pipe) => session.stdin = Some(Input::new(pipe)?),
            None => {}
        }
        if streams.stdout || !streams.stderr {
            session.stdout = pipes.next().map(Output::new).transpose()?;
        }
        session.stderr = pipes.next().map(Output::new).transpose()?;
        Ok(session)
    }
}
