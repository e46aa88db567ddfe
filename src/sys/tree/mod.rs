//! Trees that strangers made: removed, and walked, whatever is in them.
//!
//! Everything is reached by an open directory and one name, so that no path grows and no link is followed. A few
//! descriptors are open at a time, and what is kept in memory has a bound that is the same for trees of any depth,
//! breadth and length of paths. Nothing recurses. What is mounted in a tree is no part of it.

mod listing;
mod remove;

pub use remove::{remove, remove_at};

#[cfg(test)]
mod tests;
