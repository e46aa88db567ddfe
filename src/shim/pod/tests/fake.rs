//! A container as it really is.

use std::collections::VecDeque;

use super::super::Fact;

/// Who ends a first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Itself, with this code.
    Itself(i32),
    /// The kernel, for want of memory.
    Kernel,
    /// The shim.
    Us,
    /// Somebody else's SIGKILL.
    Somebody,
}

/// A container as it really is.
#[derive(Debug, Default)]
pub(super) struct Fake {
    /// The first process, and the one that takes its place in secret.
    pub(super) pid: i32,
    pub(super) successor: Option<i32>,
    pub(super) joins: bool,
    /// The one that the shim has a descriptor of; 0: of none.
    pub(super) known: i32,
    pub(super) has_appeared: bool,
    /// It has begun in a user namespace, and is with its second process.
    pub(super) has_handed_over: bool,
    /// It lives in a user namespace.
    pub(super) is_mapped: bool,
    /// What the child has said, unheard.
    pub(super) said: VecDeque<Fact>,
    /// The status channel: the child's end is closed; the shim's is.
    pub(super) has_hung_up: bool,
    pub(super) channel_closed: bool,
    pub(super) told: bool,
    /// OOM kills in its cgroup.
    pub(super) kills: u64,
    /// Those that the shim has seen it survive.
    pub(super) outlived: u64,
    /// Something outside holds its output.
    pub(super) held: bool,
    /// So many times its cgroup is found populated.
    pub(super) left: u32,
    /// No signal ends it.
    pub(super) immortal: bool,
    pub(super) by: Option<By>,
    /// The process that a runtime's `create` leaves behind.
    pub(super) leaves: Option<i32>,
    /// The runtime's `start`.
    pub(super) helper: i32,
}
