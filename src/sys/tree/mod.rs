//! Trees that strangers made: removed, and walked, whatever is in them.
//!
//! Everything is reached by an open directory and one name, so that no path grows and no link is followed. A few
//! descriptors are open at a time, and what is kept in memory has a bound that is the same for trees of any depth,
//! breadth and length of paths. Nothing recurses. What is mounted in a tree is no part
//! of it, unless somebody says so.

mod listing;
mod remove;
mod trail;
mod trash;
mod usage;
mod walk;

pub use listing::Name;
pub use nix::sys::stat::FileStat;
pub use remove::{remove, remove_at};
pub use trail::Trail;
pub use trash::Trash;
pub use usage::{Tally, Usage, usage};
pub use walk::{Entry, Walk, look};

#[cfg(test)]
pub(crate) mod tests;
