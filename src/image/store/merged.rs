//! The paths of several lists in one order.

use crate::unpack::{Paths, Reading, order};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Goes through all of them at once.
pub(super) struct Merged<'a> {
    lists: Vec<Reading<'a>>,
    /// The next path of each list that has one.
    next: BinaryHeap<Reverse<Next>>,
}

#[derive(PartialEq, Eq)]
struct Next {
    path: Vec<u8>,
    list: usize,
}

impl Ord for Next {
    fn cmp(&self, other: &Self) -> Ordering {
        order(&self.path, &other.path).then(self.list.cmp(&other.list))
    }
}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a> Merged<'a> {
    pub(super) fn new(lists: &'a [Paths]) -> Self {
        let lists: Vec<_> = lists.iter().map(Paths::read).collect();
        let mut merged = Self { next: BinaryHeap::with_capacity(lists.len()), lists };
        (0..merged.lists.len()).for_each(|list| merged.advance(list));
        merged
    }

    /// The next path, and the lists that have it.
    pub(super) fn next(&mut self) -> Option<(Vec<u8>, Vec<usize>)> {
        let Reverse(Next { path, list }) = self.next.pop()?;
        self.advance(list);
        let mut lists = vec![list];
        while let Some(Reverse(next)) = self.next.peek()
            && next.path == path
        {
            let list = next.list;
            self.next.pop();
            self.advance(list);
            lists.push(list);
        }
        Some((path, lists))
    }

    fn advance(&mut self, list: usize) {
        if let Some(path) = self.lists.get_mut(list).and_then(Reading::next) {
            let path = path.to_vec();
            self.next.push(Reverse(Next { path, list }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_comes_once_with_all_that_have_it() {
        let list = |paths: &[&str]| Paths::of(&paths.iter().map(ToString::to_string).collect::<Vec<_>>());
        let lists = [list(&["", "a/b", "c"]), list(&[]), list(&["a", "a/b", "a b"])];
        let mut merged = Merged::new(&lists);
        let mut found = Vec::new();
        while let Some((path, lists)) = merged.next() {
            found.push((String::from_utf8_lossy(&path).into_owned(), lists));
        }
        let expected = [("", vec![0]), ("a", vec![2]), ("a/b", vec![0, 2]), ("a b", vec![2]), ("c", vec![0])];
        assert_eq!(found, expected.map(|(path, lists)| (path.to_owned(), lists)));
    }
}
