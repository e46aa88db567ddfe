//! A node beside the first: a thread in an isolation of its own.

use crate::cluster::credentials::Credentials;
use crate::cluster::{Node, Options, link};
use crate::error::{Context, Error};
use crate::isolation::Sweeper;
use nix::unistd::gettid;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// The node; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Other {
    sweeper: Sweeper,
    /// Whose end tells the thread to end.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Other {
    /// Starts the node; returns when its kubelet runs.
    ///
    /// # Errors
    /// When something is missing or does not start.
    pub(crate) fn start(number: u8, credentials: &Credentials, options: &Options) -> Result<Self, Error> {
        let (place, placed) = channel();
        let (linked, link) = channel();
        let (addressed, address) = channel();
        let (end, ended) = channel();
        let (credentials, options) = (credentials.clone(), options.clone());
        let thread = std::thread::Builder::new()
            .name(format!("node {number}"))
            .spawn(move || {
                let mut node = Node::prepare(number, &options)?;
                node.furnish(&options)?;
                say(&place, (gettid().as_raw(), node.world.isolation.sweeper()));
                heard(&link);
                link::from(number)?;
                say(&addressed, ());
                node.join(&credentials, &options)?;
                drop(addressed);
                // Until the other side is dropped.
                heard(&ended);
                drop(node);
                Ok(())
            })
            .at("start", "a thread")?;
        let Ok((tid, sweeper)) = placed.recv() else { return Err(failure(thread)) };
        let other = Self { sweeper, end: Some(end), thread: Some(thread) };
        link::to(number, tid)?;
        say(&linked, ());
        heard(&address);
        link::route(number)?;
        Ok(other)
    }

    /// What ends it from any thread.
    pub(crate) fn sweeper(&self) -> Sweeper {
        self.sweeper.clone()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("a node failed: {}", crate::error::Chain(&error));
        }
    }
}

fn say<T>(to: &Sender<T>, what: T) {
    // Nobody listens any more: the one who did has failed, and says so.
    let _ = to.send(what);
}

fn heard(from: &Receiver<()>) {
    // The other side's end is as good as its word.
    let _ = from.recv();
}

fn failure(thread: JoinHandle<Result<(), Error>>) -> Error {
    match thread.join() {
        Ok(Err(error)) => error,
        _ => Error::Unexpected { what: "a node's thread", seen: "ended".to_owned() },
    }
}
