//! Many readings side by side: most of the time of one is the kernel's.

use crate::blocking;
use crate::error::EngineError;
use std::sync::Arc;
use std::thread::available_parallelism;

/// Threads for one list at most: the node has other work.
const MOST: usize = 4;
/// Readings that are worth a thread.
const WORTH: usize = 32;

/// On how many threads a list is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lanes(usize);

impl Lanes {
    /// For this host.
    pub(super) fn new() -> Self {
        Self(available_parallelism().map_or(1, usize::from).min(MOST))
    }

    /// Reads each into what its lane finds: together, in that order, what one lane would have found.
    pub(super) async fn read<T: Send + 'static, L: Default + Send + 'static>(
        self,
        mut items: Vec<T>,
        read: impl Fn(&mut L, T) + Send + Sync + 'static,
    ) -> Result<Vec<L>, EngineError> {
        let (read, size) = (Arc::new(read), items.len().div_ceil(self.0).max(WORTH));
        let mut lanes = Vec::new();
        while !items.is_empty() {
            let rest = items.split_off(size.min(items.len()));
            let (lane, read) = (std::mem::replace(&mut items, rest), read.clone());
            lanes.push(blocking("reading counters", move || {
                let mut found = L::default();
                lane.into_iter().for_each(|item| read(&mut found, item));
                Ok(found)
            }));
        }
        futures::future::try_join_all(lanes).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::Mutex;

    #[tokio::test]
    async fn what_is_read_side_by_side_comes_in_order() {
        let threads = Arc::new(Mutex::new(HashSet::new()));
        for (count, lanes) in [(0, 4), (1, 4), (WORTH, 4), (WORTH * 4 + 3, 4), (7, 1)] {
            threads.lock().unwrap().clear();
            let seen = threads.clone();
            let even = move |found: &mut Vec<usize>, number: usize| {
                seen.lock().unwrap().insert(std::thread::current().id());
                found.extend(number.is_multiple_of(2).then_some(number));
            };
            let read = Lanes(lanes).read((0..count).collect(), even).await.unwrap();
            assert!(read.len() <= lanes);
            assert!(read.into_iter().flatten().eq((0..count).step_by(2)), "{count}");
            assert!(threads.lock().unwrap().len() <= lanes);
        }
    }
}
