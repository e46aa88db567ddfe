//! What the daemon and a pod's shim say to each other: requests, replies and events in versioned binary
//! frames over a Unix stream socket. std only, so that the shim stays small.
//!
//! A frame is `length: u32`, `kind: u8`, `id: u64`, then the message; all numbers are little-endian. The id
//! pairs a reply with its request, so that any number of requests are in flight on one connection; it is 0 in
//! events. Every structure carries its own length: a reader skips fields that it does not know yet, which is
//! how a new daemon talks to the shims of yesterday ([`VERSION`]).

mod codec;
pub mod exit;
pub mod frame;
pub mod msg;
pub mod plan;
mod records;

pub use codec::DecodeError;

/// The version of the protocol; the shim states its own in [`msg::Reply::Hello`]. It rises when a field or a
/// message is added; what exists never changes its meaning.
pub const VERSION: u32 = 3;

/// The longest request that a shim reads, in bytes: what a gRPC message may hold (16 MiB), and as much again by
/// half for what the daemon adds to it. A daemon must not send more: the shim would hang up.
pub const REQUEST_LIMIT: usize = 24 << 20;
