//! Removal of trees behind the scenes.

use super::remove::remove;
use crate::sync::lock;
use crate::{SysError, SysResult};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

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
    waiting: VecDeque<PathBuf>,
    workers: usize,
}

impl Trash {
    /// An empty one; `failed` is told what could not be removed.
    pub fn new(failed: fn(&Path, &SysError)) -> Self {
        Self { state: Arc::default(), failed }
    }

    /// Removes what lies at the path, soon.
    pub fn discard(&self, path: PathBuf) {
        let mut state = lock(&self.state);
        state.waiting.push_back(path);
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
        let Some(path) = next else { return };
        failpoint::pass!("sys.trash.taken");
        let removed: SysResult<()> = remove(&path);
        failpoint::pass!("sys.trash.removed");
        if let Err(error) = removed {
            failed(&path, &error);
        }
    }
}
