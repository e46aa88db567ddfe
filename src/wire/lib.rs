//! What the daemon and a pod's shim say to each other: requests, replies and events in versioned binary
//! frames over a Unix stream socket. std only, so that the shim stays small.
//!
//! A frame is `length: u32`, `kind: u8`, `id: u64`, then the message; all numbers are little-endian. The id
//! pairs a reply with its request, so that any number of requests are in flight on one connection; it is 0 in
//! events. Every structure carries its own length, and a reader skips fields that it does not know. A shim says which
//! features it has ([`feature`]), and is asked for no others: that is how a new daemon talks to the shims of yesterday.
//! Frames of every release lie in `golden`, and a test reads them.

mod codec;
pub mod exit;
pub mod feature;
pub mod frame;
#[cfg(test)]
mod golden;
mod layout;
pub mod msg;
pub mod naming;
mod needs;
pub mod plan;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod witness;

pub use codec::DecodeError;

/// The version of the protocol; the shim states its own in [`msg::Reply::Hello`]. What exists never changes its meaning,
/// and what is added is a [`feature::Feature`]: the version rises only when a daemon has to speak another way.
pub const VERSION: u32 = 1;

/// The oldest version of shims that this daemon serves: those of the two minor releases before its own.
pub const OLDEST: u32 = 1;

/// The longest request that a shim reads, in bytes: what a gRPC message may hold (16 MiB), and as much again by
/// half for what the daemon adds to it. A daemon must not send more: the shim would hang up.
pub const REQUEST_LIMIT: usize = 24 << 20;
