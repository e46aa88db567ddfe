//! The administration of a running daemon: JSON over HTTP on a Unix socket of its own (mode 0600) in the state
//! directory. It carries what the CRI has no words for; the command line is its client, and no other is promised that
//! it stays as it is.

mod client;
mod protocol;
mod save;
mod server;
mod status;
mod verify;

pub(crate) use client::{Archive, Client, ClientError};
pub(crate) use protocol::{
    AdoptRequest, ImageView, PullEvent, PullRequest, RemoveRequest, Secrets, Sought, VerifyEvent,
    VerifyRequest,
};
pub(crate) use server::Server;
pub(crate) use status::{ExplainRequest, Nri, Plugin, StatusView};

use std::path::{Path, PathBuf};

/// Where the socket is.
pub(crate) fn socket(state_dir: &Path) -> PathBuf {
    state_dir.join("admin.sock")
}
