//! Removal of trees behind the scenes.

use super::remove::remove;
use crate::sync::lock;
use crate::{SysError, SysResult};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// So many trees are removed at a time.
const WORKERS: usize = 4;
const STACK: usize = 256 << 10;

/// Trees that are to go. Threads of their own remove them, which nobody waits for: neither who begins to serve nor who
/// ends.
#[derive(Debug)]
pub struct Trash {
    state: Arc<Mutex<State>>,
    failed: fn(&Path, &SysError),
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waste>,
    /// What could not be removed. Behind each removal one of it is tried again, so that what stays for good costs little.
    stuck: VecDeque<PathBuf>,
    workers: usize,
}

struct Waste {
    path: PathBuf,
    /// It could not be removed before.
    again: bool,
    /// Called when it is gone, or cannot be removed.
    done: Option<Box<dyn FnOnce() + Send>>,
}

impl std::fmt::Debug for Waste {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.fmt(formatter)
    }
}

impl Trash {
    /// An empty one; `failed` is told what could not be removed.
    pub fn new(failed: fn(&Path, &SysError)) -> Self {
        Self { state: Arc::default(), failed }
    }

    /// Removes what lies at the path, soon.
    pub fn discard(&self, path: PathBuf) {
        let mut state = lock(&self.state);
        state.waiting.push_back(Waste { path, again: false, done: None });
        self.work(state);
    }

    /// Removes what lies at the path before anything that nobody waits for, and tells when that is over.
    pub fn discard_first(&self, path: PathBuf, done: impl FnOnce() + Send + 'static) {
        let mut state = lock(&self.state);
        let place = state.waiting.iter().take_while(|waste| waste.done.is_some()).count();
        state.waiting.insert(place, Waste { path, again: false, done: Some(Box::new(done)) });
        self.work(state);
    }

    /// Sees to it that somebody removes what waits.
    fn work(&self, mut state: MutexGuard<'_, State>) {
        if state.workers >= WORKERS {
            return;
        }
        state.workers += 1;
        drop(state);
        let (shared, failed) = (Arc::clone(&self.state), self.failed);
        let work = move || empty(&shared, failed);
        if std::thread::Builder::new().name("trash".into()).stack_size(STACK).spawn(work).is_err() {
            // No thread to be had: it takes as long as it takes.
            empty(&self.state, failed);
        }
    }
}

fn empty(state: &Mutex<State>, failed: fn(&Path, &SysError)) {
    loop {
        let next = {
            let mut state = lock(state);
            let next = state.waiting.pop_front();
            state.workers -= usize::from(next.is_none());
            next
        };
        let Some(Waste { path, again, done }) = next else { return };
        failpoint::pass!("sys.trash.taken");
        let removed: SysResult<()> = remove(&path);
        failpoint::pass!("sys.trash.removed");
        match removed {
            // What was in the way of others may be over: a shortage, mostly.
            Ok(()) => {
                let mut state = lock(state);
                let next = state.stuck.pop_front().map(|path| Waste { path, again: true, done: None });
                state.waiting.extend(next);
            }
            Err(error) => {
                if !again {
                    failed(&path, &error);
                }
                lock(state).stuck.push_back(path);
            }
        }
        if let Some(done) = done {
            done();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn what_is_waited_for_goes_first_and_is_gone_when_that_is_told() {
        let dir = crate::tree::tests::scratch("trash");
        let trash = Trash::new(|_, _| {});
        // As if all were at work.
        lock(&trash.state).workers = WORKERS;
        let (tell, told) = channel();
        for (name, waited_for) in [("a", false), ("b", true), ("c", true), ("d", false)] {
            let path = dir.join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("file"), "").unwrap();
            let (tell, gone) = (tell.clone(), path.clone());
            match waited_for {
                true => trash.discard_first(path, move || tell.send((name, gone.exists())).unwrap()),
                false => trash.discard(path),
            }
        }
        let names: Vec<_> = lock(&trash.state)
            .waiting
            .iter()
            .map(|waste| waste.path.file_name().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["b", "c", "a", "d"]);
        empty(&trash.state, trash.failed);
        for name in ["b", "c"] {
            assert_eq!(told.recv_timeout(Duration::from_secs(10)).unwrap(), (name, false));
        }
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        std::fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn what_could_not_be_removed_is_tried_again_behind_the_next() {
        static TOLD: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let trash = Trash::new(|_, _| _ = TOLD.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let dir = crate::tree::tests::scratch("trash-again");
        let [file, more, other] = ["file", "more", "other"].map(|name| dir.join(name));
        let discard = |path: &Path| {
            let (tell, told) = channel();
            trash.discard_first(path.to_owned(), move || tell.send(()).unwrap());
            told.recv_timeout(Duration::from_secs(10)).unwrap();
        };
        discard(Path::new("/proc/self/status"));
        assert_eq!(lock(&trash.state).stuck.len(), 1);
        // As if they could be removed now.
        for path in [&file, &more] {
            std::fs::write(path, "").unwrap();
            lock(&trash.state).stuck.push_back(path.clone());
        }
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while file.exists() || more.exists() {
            assert!(std::time::Instant::now() < end, "{:?}", lock(&trash.state));
            // The first removal meets the one that stays, the next one the others, each behind the other.
            std::fs::write(&other, "").unwrap();
            discard(&other);
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(TOLD.load(std::sync::atomic::Ordering::Relaxed), 1, "nothing is told twice");
        std::fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn the_end_is_told_where_nothing_can_be_removed_too() {
        let (tell, told) = channel();
        let trash = Trash::new(|_, _| {});
        trash.discard_first(PathBuf::from("/proc/self/status"), move || tell.send(()).unwrap());
        told.recv_timeout(Duration::from_secs(10)).unwrap();
    }
}
