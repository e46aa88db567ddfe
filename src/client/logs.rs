//! `corten logs`: what a container wrote, of its file.

use crate::connection::Daemon;
use crate::error::Error;
use crate::node::Node;
use crate::{log_file, ps, time};
use cli::logs::LogsArgs;
use log_file::{LogFile, Wanted};
use proto::ContainerState;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often a file is looked at for more.
const TICK: Duration = Duration::from_millis(150);
/// How often the daemon is asked whether the container still runs.
const QUESTION: Duration = Duration::from_millis(900);

/// Prints a log, and goes on with it where that is wanted.
pub(crate) async fn run(daemon: &Daemon, arguments: &LogsArgs) -> Result<(), Error> {
    let since = arguments.since.as_deref().map(beginning).transpose()?;
    let node = Node::look(daemon).await?;
    let container = node.container(&arguments.container)?;
    let status = ps::status(daemon, &container.id, false).await?.status.unwrap_or_default();
    if status.log_path.is_empty() {
        return Err(Error::NoLog { name: node.full_name(container) });
    }
    let path = PathBuf::from(&status.log_path);
    let wanted = Wanted { since, timestamps: arguments.timestamps };
    let is_live = is_live(status.state());
    let mut log = open(&path, arguments.follow && is_live).await?;
    // As with kubectl and crictl, less than none are all.
    if let Some(lines) = arguments.tail.and_then(|lines| usize::try_from(lines).ok()) {
        log.skip_to_last(lines, &wanted)?;
    }
    log.print(&wanted)?;
    if arguments.follow && is_live {
        follow(daemon, &container.id, &path, (log, &wanted)).await
    } else {
        Ok(())
    }
}

/// The time from which on lines are wanted.
fn beginning(text: &str) -> Result<i64, Error> {
    let ago = time::span(text).map(|span| time::now() - span);
    ago.or_else(|| time::parse(text)).ok_or_else(|| Error::Option {
        option: "--since",
        value: text.to_owned(),
        reason: "it is neither an age such as 90s, 10m or 1h30m nor a time such as 2026-11-28T12:00:00Z",
    })
}

fn is_live(state: ContainerState) -> bool {
    matches!(state, ContainerState::ContainerCreated | ContainerState::ContainerRunning)
}

/// Opens a log; one that is to be there soon is waited for.
async fn open(path: &Path, waits: bool) -> Result<LogFile, Error> {
    loop {
        match LogFile::open(path) {
            Err(Error::Log { source, .. }) if waits && source.kind() == std::io::ErrorKind::NotFound => {
                sleep(TICK).await;
            }
            opened => return opened,
        }
    }
}

/// Prints what comes, through rotations of the file and restarts of the daemon, until the container has ended.
async fn follow(
    daemon: &Daemon,
    id: &str,
    path: &Path,
    (mut log, wanted): (LogFile, &Wanted),
) -> Result<(), Error> {
    let mut asked = Instant::now();
    let mut has_ended = false;
    loop {
        // All that it wrote is in the file when it has ended.
        log.print(wanted)?;
        if has_ended {
            return Ok(());
        }
        if log.is_replaced(path) {
            // What came between the last look and the renaming.
            log.print(wanted)?;
            log = open(path, true).await?;
            continue;
        }
        sleep(TICK).await;
        if asked.elapsed() >= QUESTION {
            asked = Instant::now();
            has_ended = ended(daemon, id).await;
        }
    }
}

/// Whether a container runs no more; while the daemon is restarted it does.
async fn ended(daemon: &Daemon, id: &str) -> bool {
    let answer = match daemon.again().await {
        Ok(daemon) => ps::status(&daemon, id, false).await,
        Err(_) => return false,
    };
    match answer {
        Ok(answer) => answer.status.is_none_or(|status| !is_live(status.state())),
        Err(error) => matches!(error, Error::Missing { .. }),
    }
}
