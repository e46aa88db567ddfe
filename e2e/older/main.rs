//! A supervisor of yesterday, for tests: today's, behind a proxy that says in its place that it has learnt nothing since
//! the first messages of the protocol. It is started as the daemon starts a supervisor.

use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::ffi::CString;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::{env, io, thread};
use sys::{fd, shim_spawn, socket};
use wire::feature::Features;
use wire::frame::{self, Body, FrameDecoder};
use wire::msg::Reply;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("older-shim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let shim = e2e::tools::corten("corten-shim").map_err(io::Error::other)?;
    let args: Vec<_> = env::args_os().collect();
    if args.get(1).is_some_and(|arg| arg == "--probe-user-namespace") {
        return Err(Command::new(shim).args(args.iter().skip(1)).exec());
    }
    if args.get(1).is_some_and(|arg| arg.as_encoded_bytes().starts_with(b"-")) {
        return Err(io::Error::other("it supervises one pod"));
    }
    let outer = UnixListener::from(fd::inherited(shim_spawn::LISTENER).map_err(io::Error::other)?);
    outer.set_nonblocking(false)?;
    let path = PathBuf::from(format!("/dev/shm/older-shim-{}", std::process::id()));
    let inner = socket::listen(&path).map_err(io::Error::other)?;
    let args: Vec<CString> =
        args.into_iter().map(|arg| CString::new(arg.into_vec())).collect::<Result<_, _>>()?;
    let log = io::stderr();
    let given = shim_spawn::Given { socket: inner.as_fd(), bare: None, log: Some(log.as_fd()) };
    let shim = shim_spawn::spawn_shim(&shim, given, &args, &[]).map_err(io::Error::other)?;
    drop(inner);
    let socket = path.clone();
    thread::spawn(move || {
        for daemon in outer.incoming().flatten() {
            if let Err(error) = serve(daemon, &socket) {
                eprintln!("older-shim: {error}");
            }
        }
    });
    waitpid(Pid::from_raw(shim.pid), None)?;
    std::fs::remove_file(path)
}

/// Carries one connection over.
fn serve(daemon: UnixStream, path: &std::path::Path) -> io::Result<()> {
    let shim = UnixStream::connect(path)?;
    let (mut asks, mut hears) = (daemon.try_clone()?, shim.try_clone()?);
    thread::spawn(move || {
        // What ends it is the end of a connection.
        let _ = io::copy(&mut asks, &mut hears);
        let _ = hears.shutdown(std::net::Shutdown::Write);
    });
    thread::spawn(move || {
        if let Err(error) = answer(&shim, &daemon) {
            eprintln!("older-shim: {error}");
        }
        let _ = daemon.shutdown(std::net::Shutdown::Both);
    });
    Ok(())
}

/// Carries what the shim says over, frame by frame, with the descriptors that come with it.
fn answer(shim: &UnixStream, daemon: &UnixStream) -> io::Result<()> {
    let (mut decoder, mut passed) = (FrameDecoder::new(), VecDeque::new());
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = socket::read(shim.as_fd(), &mut buffer, &mut passed).map_err(io::Error::other)?;
        if count == 0 {
            return Ok(());
        }
        decoder.push(buffer.get(..count).unwrap_or_default());
        while let Some(mut frame) = decoder.next_frame().map_err(io::Error::other)? {
            let mut descriptors: Vec<OwnedFd> = Vec::new();
            match &mut frame.body {
                Body::Reply(Reply::Hello { features, .. }) => *features = Features::NONE,
                Body::Reply(Reply::Opened { descriptors: count, .. }) => {
                    descriptors = passed.drain(..(*count as usize).min(passed.len())).collect();
                }
                _ => {}
            }
            let bytes = match &frame.body {
                Body::Request(request) => frame::request(frame.id, request),
                Body::Reply(reply) => frame::reply(frame.id, reply),
                Body::Event(event) => frame::event(event),
            };
            let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            let sent = socket::write(daemon.as_fd(), &bytes, &borrowed).map_err(io::Error::other)?;
            let mut rest = daemon;
            rest.write_all(bytes.get(sent..).unwrap_or_default())?;
        }
    }
}
