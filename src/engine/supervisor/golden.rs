//! What the shim of every release said in the life of a pod, played to this daemon: the frames of `src/wire/golden`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::settings::Paths;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use wire::feature::Features;
use wire::frame::{Body, Frame, FrameDecoder};
use wire::msg::{ContainerState, Event, Reply, Request};

/// Where a frame has its number.
const NUMBER: std::ops::Range<usize> = 5..13;
/// A container that the shim does not know.
const UNKNOWN: &str = "unknown";

type Frames = BTreeMap<String, Vec<u8>>;

/// What the shims of each release say. What a release does not say anew it says as the one before.
fn releases() -> Vec<(String, Frames)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire/golden");
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = names.filter(|path| path.is_dir()).collect();
    let number = |path: &PathBuf| -> Vec<u32> {
        path.file_name().unwrap().to_str().unwrap().split('.').map(|part| part.parse().unwrap()).collect()
    };
    found.sort_by_key(number);
    let mut frames = Frames::new();
    let releases = found.into_iter().map(|path| {
        for file in fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()) {
            frames.insert(file.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(&file).unwrap());
        }
        (path.file_name().unwrap().to_str().unwrap().to_owned(), frames.clone())
    });
    releases.collect()
}

/// The frame that answers a request.
fn answer(request: &Request) -> &'static str {
    match request {
        Request::Hello => "reply-hello",
        Request::Sandbox(_) => "reply-sandbox",
        Request::Create(_) => "reply-created",
        Request::Start { .. } => "reply-started",
        Request::Exec(_) | Request::WaitExec { .. } => "reply-exec",
        Request::OpenExec { .. } | Request::Attach { .. } => "reply-opened",
        Request::Signal { id, .. } if id == UNKNOWN => "reply-error-not-found",
        Request::Signal { .. }
        | Request::KillExec { .. }
        | Request::ReopenLog { .. }
        | Request::Remove { .. }
        | Request::CloseStdin { .. }
        | Request::Shutdown => "reply-ok",
    }
}

fn read(bytes: &[u8]) -> Body {
    let mut decoder = FrameDecoder::new();
    decoder.push(bytes);
    decoder.next_frame().unwrap().expect("a golden frame is whole").body
}

/// Says what the shim of a release said, byte for byte but for the numbers of the requests.
fn play(stream: &mut UnixStream, frames: &Frames) {
    let (mut decoder, mut buffer) = (FrameDecoder::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        decoder.push(&buffer[..count]);
        while let Some(Frame { id, body: Body::Request(request) }) = decoder.next_frame().unwrap() {
            let mut bytes = frames[answer(&request)].clone();
            bytes[NUMBER].copy_from_slice(&id.to_le_bytes());
            let null = File::open("/dev/null").unwrap();
            let passed = match read(&bytes) {
                Body::Reply(Reply::Opened { descriptors, .. }) => vec![null.as_fd(); descriptors as usize],
                _ => Vec::new(),
            };
            assert_eq!(sys::socket::write(stream.as_fd(), &bytes, &passed).unwrap(), bytes.len());
            if matches!(request, Request::Start { .. }) {
                stream.write_all(&frames["event-exited"]).unwrap();
            }
        }
    }
}

/// What was said must be what is heard.
async fn hears(shim: &dyn Supervisor, frames: &Frames) {
    let said = |name: &str| match read(&frames[name]) {
        Body::Reply(reply) => reply,
        other => panic!("{other:?} is no reply"),
    };
    let standing = shim.sandbox(SandboxPlan::default()).await.unwrap();
    let Standing { pause_pid, warnings } = standing;
    assert_eq!(Reply::Sandbox { pause_pid, warnings }, said("reply-sandbox"));
    let pid = shim.create(ContainerPlan::default()).await.unwrap();
    assert_eq!(Reply::Created { pid }, said("reply-created"));
    let started = shim.start("c1").await.unwrap();
    let started = Reply::Started { started_at_ns: started.at, pid: started.pid.unwrap_or_default() };
    assert_eq!(started, said("reply-started"));
    let Executed { exit_code, stdout, stderr, timed_out } =
        shim.exec(ExecPlan::default(), CancellationToken::new()).await.unwrap();
    let exec = Reply::Exec { exit_code, stdout, stderr, timed_out, truncated: true };
    assert_eq!(exec, said("reply-exec"));
    let command = Command { plan: ExecPlan::default(), streams: Streams::default(), tty: false };
    let opened = shim.open_exec(command).await.unwrap();
    let descriptors = opened.descriptors.len().try_into().unwrap();
    assert_eq!(Reply::Opened { number: opened.number, descriptors }, said("reply-opened"));
    assert_eq!(shim.wait_exec("c1", opened.number).await.unwrap(), exit_code);
    assert_eq!(shim.attach("c1", Streams::default()).await.unwrap().len(), opened.descriptors.len());
    let refused = shim.signal(UNKNOWN, 15, false).await.unwrap_err();
    let Reply::Error { message, .. } = said("reply-error-not-found") else { panic!("it is an error") };
    assert_eq!(refused.to_string(), format!("signal container {UNKNOWN}: {message}"));
    shim.signal("c1", 15, true).await.unwrap();
    shim.close_stdin("c1").await.unwrap();
    shim.reopen_log("c1").await.unwrap();
    shim.remove("c1").await.unwrap();
    shim.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_shim_of_every_release_is_understood_from_its_greeting_to_its_end() {
    for (release, frames) in releases() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("pods/p")).unwrap();
        let listener = UnixListener::bind(dir.path().join("pods/p/shim.sock")).unwrap();
        let played = frames.clone();
        let shim_of_old = std::thread::spawn(move || play(&mut listener.accept().unwrap().0, &played));
        let paths = Paths { state: dir.path().to_owned(), data: dir.path().to_owned() };
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let notify = Box::new(move |notice| drop(tell.send(notice)));
        // Something that lives stands for its process.
        let mut process = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&process);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        let started = ShimProcess { pid: pid.as_raw_pid(), pidfd, link: None };
        let files = PodFiles::new(&paths, "p");
        let launcher = super::tests::launcher_of("/nowhere");
        let connected = launcher.connect("p", &files, Some(started), notify).await;
        let (shim, hello) = connected.unwrap_or_else(|error| panic!("the shim of {release}: {error}"));
        let Body::Reply(Reply::Hello { containers, pause_pid, features, .. }) = read(&frames["reply-hello"])
        else {
            panic!("{release} has no greeting")
        };
        assert_eq!((hello.pause_pid, &hello.containers), (pause_pid, &containers));
        assert!(containers.iter().any(|container| container.state == ContainerState::Running));
        assert_ne!(features, Features::NONE);
        hears(&*shim, &frames).await;
        let Some(Notice::Exited(record)) = told.recv().await else { panic!("no exit is told") };
        assert_eq!(Body::Event(Event::Exited(record)), read(&frames["event-exited"]));
        drop(shim);
        shim_of_old.join().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }
}
