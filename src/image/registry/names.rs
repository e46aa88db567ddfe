//! The addresses of hosts, as the C library finds them: getaddrinfo(3) cannot be ended, and takes as long as the servers
//! of names do. It has threads of its own, and looks for a name once at a time, however many pulls want it.

use crate::aside::Aside;
use crate::error::ImageError;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use sys::sync::lock;
use tokio::sync::watch;

/// Most look-ups at the same time.
const THREADS: usize = 32;
/// Most names that are looked up or wait for it.
const MOST_NAMES: usize = 1024;
/// How long a pull waits for the addresses of a host: two tries of the C library with two servers of names.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the standard library says before the C library's words.
const PREFIX: &str = "failed to lookup address information: ";

/// The addresses of a host, or why there are none.
type Outcome = Result<Vec<SocketAddr>, String>;
/// Looks up a name.
pub(crate) type Lookup = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// A name without an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name {name} cannot be resolved: {problem}")]
pub(super) struct NameError {
    name: String,
    problem: NameProblem,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum NameProblem {
    /// In the words of the C library.
    #[error("{0}")]
    Refused(String),
    #[error("no name server answered within {0:?}")]
    Unanswered(Duration),
    #[error("{MOST_NAMES} other names are being looked up")]
    Crowded,
    #[error("the look-up was interrupted")]
    Interrupted,
}

/// Look-ups of names, of all pulls.
pub(crate) struct Resolver {
    aside: Aside,
    table: Arc<Table>,
}

struct Table {
    lookup: Box<Lookup>,
    /// Look-ups under way and those that wait for a thread.
    running: Mutex<HashMap<String, watch::Sender<Option<Outcome>>>>,
}

impl Resolver {
    /// # Errors
    /// When there can be no threads.
    pub(crate) fn new() -> Result<Self, ImageError> {
        Self::with(Box::new(|name| Ok((name, 0).to_socket_addrs()?.collect())))
    }

    /// As [`Self::new`], where something else than the C library knows the addresses.
    pub(crate) fn with(lookup: Box<Lookup>) -> Result<Self, ImageError> {
        let table = Arc::new(Table { lookup, running: Mutex::default() });
        Ok(Self { aside: Aside::new("names", THREADS)?, table })
    }

    /// For connections that may take so long.
    pub(super) fn within(self: &Arc<Self>, dial_timeout: Duration) -> Arc<dyn Resolve> {
        // Before the connection as a whole is given up, so that it can be told what was waited for.
        let patience = PATIENCE.min(dial_timeout * 9 / 10);
        Arc::new(Within { names: Arc::clone(self), patience })
    }

    async fn look_up(&self, name: String, patience: Duration) -> Result<Vec<SocketAddr>, NameError> {
        let found = match self.join(&name) {
            None => Err(NameProblem::Crowded),
            Some(mut outcome) => {
                match tokio::time::timeout(patience, outcome.wait_for(Option::is_some)).await {
                    Err(_) => Err(NameProblem::Unanswered(patience)),
                    Ok(Ok(outcome)) => match &*outcome {
                        Some(outcome) => outcome.clone().map_err(NameProblem::Refused),
                        None => Err(NameProblem::Interrupted),
                    },
                    Ok(Err(_)) => Err(NameProblem::Interrupted),
                }
            }
        };
        found.map_err(|problem| NameError { name, problem })
    }

    /// Waits with others for the look-up that is under way, or begins one; `None` when there are too many.
    fn join(&self, name: &str) -> Option<watch::Receiver<Option<Outcome>>> {
        let mut running = lock(&self.table.running);
        if let Some(outcome) = running.get(name) {
            return Some(outcome.subscribe());
        }
        if running.len() >= MOST_NAMES {
            return None;
        }
        let (sender, receiver) = watch::channel(None);
        running.insert(name.to_owned(), sender);
        let (table, name) = (Arc::clone(&self.table), name.to_owned());
        self.aside.start(move || table.work(&name));
        Some(receiver)
    }
}

impl Table {
    fn work(&self, name: &str) {
        if self.is_abandoned(name) {
            return;
        }
        let outcome = (self.lookup)(name).map_err(|error| words(&error));
        if let Some(waiting) = lock(&self.running).remove(name) {
            // Whoever has gone away meanwhile needs no answer.
            let _ = waiting.send(Some(outcome));
        }
    }

    /// Whether nobody waits for the name any more; then it is forgotten.
    fn is_abandoned(&self, name: &str) -> bool {
        let mut running = lock(&self.running);
        let abandoned = running.get(name).is_none_or(watch::Sender::is_closed);
        if abandoned {
            running.remove(name);
        }
        abandoned
    }
}

/// The C library's words, as the end of a sentence.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let mut rest = text.strip_prefix(PREFIX).unwrap_or(&text).chars();
    rest.next().map_or_else(String::new, |first| first.to_lowercase().chain(rest).collect())
}

/// The look-ups of one client.
struct Within {
    names: Arc<Resolver>,
    patience: Duration,
}

impl Resolve for Within {
    fn resolve(&self, name: Name) -> Resolving {
        let (names, patience) = (Arc::clone(&self.names), self.patience);
        Box::pin(async move {
            let found = names.look_up(name.as_str().to_owned(), patience).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(60);

    /// Look-ups that wait for a word each, and tell of the names that they begin with.
    fn waiting() -> (Arc<Resolver>, mpsc::Receiver<String>, mpsc::Sender<()>) {
        let ((begun, names), (word, gate)) = (mpsc::channel(), mpsc::channel());
        let gate = Mutex::new(gate);
        let lookup = move |name: &str| {
            begun.send(name.to_owned()).unwrap();
            // Without a sender everybody may go.
            let _ = gate.lock().unwrap().recv();
            Ok(vec![SocketAddr::from(([192, 0, 2, 1], 0))])
        };
        (Arc::new(Resolver::with(Box::new(lookup)).unwrap()), names, word)
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_at_a_time_however_often_pulls_are_given_up() {
        let (names, begun, word) = waiting();
        for _ in 0..500 {
            let problem = names.look_up("dead.example".to_owned(), Duration::ZERO).await.unwrap_err();
            assert!(problem.to_string().contains("dead.example"), "{problem}");
        }
        assert_eq!(begun.recv_timeout(LONG).unwrap(), "dead.example");
        let waiter = {
            let names = Arc::clone(&names);
            tokio::spawn(async move { names.look_up("dead.example".to_owned(), LONG).await })
        };
        while lock(&names.table.running)["dead.example"].receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        word.send(()).unwrap();
        assert_eq!(waiter.await.unwrap().unwrap().len(), 1, "an old look-up answers a new pull");
        assert_eq!(begun.try_recv().ok(), None);
    }

    #[tokio::test]
    async fn names_wait_for_a_thread_as_long_as_somebody_waits_for_them_and_are_not_without_number() {
        let (names, begun, word) = waiting();
        // The waiters of all but the last have gone away when there is a thread for them.
        for number in 0..MOST_NAMES - 1 {
            let waiter = names.join(&format!("n{number}.example")).unwrap();
            if number < THREADS {
                begun.recv_timeout(LONG).unwrap();
            }
            drop(waiter);
        }
        let mut last = names.join("last.example").unwrap();
        let problem = names.look_up("more.example".to_owned(), LONG).await.unwrap_err().to_string();
        assert!(problem.ends_with("1024 other names are being looked up"), "{problem}");
        drop(word);
        assert!(last.wait_for(Option::is_some).await.is_ok());
        assert_eq!(begun.try_iter().collect::<Vec<_>>(), ["last.example"]);
        assert!(names.look_up("more.example".to_owned(), LONG).await.is_ok());
    }
}
