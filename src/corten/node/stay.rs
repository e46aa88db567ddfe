//! How an installer that runs in a container says what became of it, and when it ends.

use super::{NodeError, Outcome};
use crate::error::chain;
use cli::node::HostArgs;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long a failure can be asked for, before the container ends and is started again later and later.
const FAILED: Duration = Duration::from_secs(30);
const DONE: &str = "done\n";

/// Does it, says what became of it, and stays where asked to.
///
/// # Errors
/// What the work fails with.
pub(super) fn run(
    arguments: &HostArgs,
    work: impl FnOnce() -> Result<Outcome, NodeError>,
) -> Result<(), NodeError> {
    tell(arguments.report.as_deref(), "not done yet\n")?;
    let outcome = work();
    let told = match &outcome {
        Ok(_) => DONE.to_owned(),
        Err(error) => format!("{}\n", chain(error)),
    };
    // Why it failed counts more than that this cannot be told.
    let report = tell(arguments.report.as_deref(), &told);
    // A kubelet that asks another runtime looks after this container no more, and has begun another.
    if arguments.stay && !matches!(outcome, Ok(Outcome::Moved)) {
        say(&told);
        wait(outcome.is_err().then_some(FAILED))?;
    }
    outcome.and(report)
}

/// Tells what became of it.
///
/// # Errors
/// It is not done, with the reason.
pub(super) fn ready(report: &Path) -> Result<(), NodeError> {
    let told = fs::read_to_string(report).map_err(NodeError::io("read", report))?;
    if told == DONE { Ok(()) } else { Err(NodeError::NotReady(told.trim().to_owned())) }
}

/// Says something to whoever looks on; nobody is left where stderr is closed.
pub(super) fn say(text: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
}

fn tell(report: Option<&Path>, told: &str) -> Result<(), NodeError> {
    let Some(path) = report else { return Ok(()) };
    fs::write(path, told).map_err(NodeError::io("write", path))
}

/// Until somebody asks for the end, or for some time.
fn wait(limit: Option<Duration>) -> Result<(), NodeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(NodeError::Signals)?.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(NodeError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(NodeError::Signals)?;
        let late = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {}, () = late => {} }
        Ok(())
    })
}
