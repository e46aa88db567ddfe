//! `start`: gives the word, and hears whether the program runs.

use std::os::fd::AsFd;

use launch::channel::{self, Status as Told};
use oci::cgroup::Host;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::hooks::{self, Stage};
use crate::log;
use crate::state::{Dir, Record};
use crate::status::Status;

/// Starts a created container.
pub(crate) fn start(context: &Context<'_>, id: &str) -> Result<()> {
    let (dir, record) = Dir::open(&context.global.root, id)?;
    match dir.status(&record, Host::detect().ok().as_ref()) {
        Status::Created => run(context, &dir, &record),
        status => Err(Error::State { operation: "start", id: id.to_owned(), status }),
    }
}

/// Gives the word to a container that waits.
pub(crate) fn run(context: &Context<'_>, dir: &Dir, record: &Record) -> Result<()> {
    let connection = dir.with_socket(sys::socket::connect_messages)?;
    std::fs::remove_file(dir.socket()).map_err(Error::io("remove", dir.socket()))?;
    channel::send_go(connection.as_fd())?;
    loop {
        match channel::receive(connection.as_fd()) {
            Some(Told::Closed) => break,
            Some(Told::Failed(failure)) => return Err(failure.into()),
            Some(Told::Warning(text)) => log::warning(context.global, &text),
            Some(_) | None => {}
        }
    }
    let told = record.json(Status::Running)?;
    for error in hooks::run_all(&dir.spec()?, Stage::Poststart, &told) {
        // The program runs: that is not taken back.
        log::warning(context.global, &error.to_string());
    }
    Ok(())
}
