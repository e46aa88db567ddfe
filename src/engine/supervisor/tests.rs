//! The real thing against a shim of another release.
#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::settings::Paths;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use wire::feature::{Feature, Features};
use wire::frame::{Body, Frame, FrameDecoder};
use wire::msg::{Reply, Request};
use wire::plan::HooksPlan;

/// A shim that greets as told and answers everything else as if it were done; what it was asked is what its task returns.
fn older(dir: &Path, version: u32, features: Features) -> tokio::task::JoinHandle<Vec<Request>> {
    std::fs::create_dir_all(dir.join("pods/p")).unwrap();
    let listener = UnixListener::bind(dir.join("pods/p/shim.sock")).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut decoder, mut asked) = (FrameDecoder::new(), Vec::new());
        let mut buffer = vec![0; 4096];
        loop {
            let count = stream.read(&mut buffer).await.unwrap();
            if count == 0 {
                return asked;
            }
            decoder.push(&buffer[..count]);
            while let Some(frame) = decoder.next_frame().unwrap() {
                let Body::Request(request) = frame.body else { panic!("the daemon answers") };
                let reply = match &request {
                    Request::Hello => Reply::Hello {
                        version,
                        pid: 1,
                        sandbox_ready: true,
                        containers: Vec::new(),
                        pause_pid: None,
                        features,
                    },
                    Request::Create(_) => Reply::Created { pid: 7 },
                    _ => Reply::Ok,
                };
                asked.push(request);
                stream.write_all(&wire::frame::reply(frame.id, &reply)).await.unwrap();
            }
        }
    })
}

pub(super) fn launcher_of(binary: &str) -> ShimLauncher {
    ShimLauncher::new(binary.into(), &prometheus::Registry::new()).unwrap()
}

async fn connect(dir: &Path) -> Result<Arc<dyn Supervisor>, EngineError> {
    let paths = Paths { state: dir.to_owned(), data: dir.to_owned() };
    let files = PodFiles::new(&paths, "p");
    let launcher = launcher_of("/nowhere");
    launcher.connect("p", &files, None, Box::new(|_| {})).await.map(|(supervisor, _)| supervisor)
}

#[tokio::test]
async fn an_older_shim_is_asked_for_nothing_that_it_cannot_do() {
    let dir = tempfile::tempdir().unwrap();
    let served = older(dir.path(), wire::VERSION, Features::of(&[Feature::Streams, Feature::AppArmor]));
    let shim = connect(dir.path()).await.unwrap();
    let create = |hooks| ContainerPlan { id: "c".to_owned(), hooks, ..ContainerPlan::default() };
    let refused = shim.create(create(Some(HooksPlan::default()))).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "create container c: the pod's supervisor is older: it cannot run hooks, restart the pod"
    );
    assert_eq!(refused.kind(), model::ErrorKind::FailedPrecondition);
    let plan = ExecPlan { size: (80, 24), ..ExecPlan::default() };
    let command = Command { plan, streams: Streams::default(), tty: true };
    assert!(matches!(shim.open_exec(command).await, Err(SupervisorError::Old { .. })));
    assert_eq!(shim.create(create(None)).await.unwrap(), 7);
    drop(shim);
    assert_eq!(served.await.unwrap(), [Request::Hello, Request::Create(create(None))]);
}

#[tokio::test]
async fn a_shim_of_another_protocol_is_not_spoken_with() {
    for version in [wire::OLDEST - 1, wire::VERSION + 1] {
        let dir = tempfile::tempdir().unwrap();
        let _served = older(dir.path(), version, Features::of(Feature::ALL));
        let refused = connect(dir.path()).await.err().unwrap();
        let EngineError::Supervisor(SupervisorError::Foreign { version: told, .. }) = refused else {
            panic!("{refused}")
        };
        assert_eq!(told, version);
    }
}

/// What a shim says to each request; with `Opened`, so many descriptors.
fn reply(request: &Request) -> Reply {
    let exec = |exit_code| Reply::Exec {
        exit_code,
        stdout: b"out".to_vec(),
        stderr: Vec::new(),
        timed_out: false,
        truncated: false,
    };
    match request {
        Request::Hello => Reply::Hello {
            version: wire::VERSION,
            pid: std::process::id().cast_signed(),
            sandbox_ready: true,
            containers: Vec::new(),
            pause_pid: Some(5),
            features: Features::of(Feature::ALL),
        },
        Request::Sandbox(_) => Reply::Sandbox { pause_pid: Some(5), warnings: vec!["w".to_owned()] },
        Request::Create(_) => Reply::Created { pid: 7 },
        Request::Start { .. } => Reply::Started { started_at_ns: 9, pid: 8 },
        Request::Exec(_) => exec(3),
        Request::WaitExec { .. } => exec(4),
        Request::OpenExec { .. } => Reply::Opened { number: 1, descriptors: 2 },
        Request::Attach { .. } => Reply::Opened { number: 0, descriptors: 1 },
        Request::Signal { .. }
        | Request::KillExec { .. }
        | Request::ReopenLog { .. }
        | Request::Remove { .. }
        | Request::CloseStdin { .. }
        | Request::Shutdown => Reply::Ok,
    }
}

/// A shim in a thread: answers by [`reply`], after each answer sends what `beside` says.
fn shim(dir: &Path, beside: impl Fn(&Request) -> Vec<u8> + Send + 'static) {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;
    std::fs::create_dir_all(dir.join("pods/p")).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(dir.join("pods/p/shim.sock")).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut decoder, mut buffer) = (FrameDecoder::new(), [0; 4096]);
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            decoder.push(&buffer[..count]);
            while let Ok(Some(Frame { id, body: Body::Request(request) })) = decoder.next_frame() {
                let reply = reply(&request);
                let frame = wire::frame::reply(id, &reply);
                if let Reply::Opened { descriptors, .. } = reply {
                    let null = std::fs::File::open("/dev/null").unwrap();
                    let passed = vec![null.as_fd(); descriptors as usize];
                    assert_eq!(sys::socket::write(stream.as_fd(), &frame, &passed).unwrap(), frame.len());
                } else {
                    stream.write_all(&frame).unwrap();
                }
                // The other end may have heard enough.
                let _ = stream.write_all(&beside(&request));
            }
        }
    });
}

/// Connects, with all that is told unasked.
async fn listen(dir: &Path) -> (Arc<dyn Supervisor>, Hello, tokio::sync::mpsc::UnboundedReceiver<Notice>) {
    let paths = Paths { state: dir.to_owned(), data: dir.to_owned() };
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let notify = Box::new(move |notice| drop(tell.send(notice)));
    let files = PodFiles::new(&paths, "p");
    let (shim, hello) = launcher_of("/nowhere").connect("p", &files, None, notify).await.unwrap();
    (shim, hello, told)
}

#[tokio::test]
async fn each_request_of_a_shim_has_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    shim(dir.path(), |_| Vec::new());
    let (shim, hello, _told) = listen(dir.path()).await;
    assert_eq!((hello.pause_pid, hello.containers.len()), (Some(5), 0));
    let standing = shim.sandbox(SandboxPlan::default()).await.unwrap();
    assert_eq!((standing.pause_pid, standing.warnings), (Some(5), vec!["w".to_owned()]));
    let started = shim.start("c").await.unwrap();
    assert_eq!((started.at, started.pid), (9, Some(8)));
    let executed = shim.exec(ExecPlan::default(), CancellationToken::new()).await.unwrap();
    assert_eq!((executed.exit_code, executed.stdout), (3, b"out".to_vec()));
    let command = Command { plan: ExecPlan::default(), streams: Streams::default(), tty: false };
    let opened = shim.open_exec(command).await.unwrap();
    assert_eq!((opened.number, opened.descriptors.len()), (1, 2));
    assert_eq!(shim.wait_exec("c", 1).await.unwrap(), 4);
    assert_eq!(shim.attach("c", Streams::default()).await.unwrap().len(), 1);
    shim.signal("c", 15, false).await.unwrap();
    shim.reopen_log("c").await.unwrap();
    shim.close_stdin("c").await.unwrap();
    shim.remove("c").await.unwrap();
    shim.shutdown().await.unwrap();
    let own = std::process::id().cast_signed();
    assert_eq!(shim.pid(), Some(own));
    assert!(!shim.gone(Duration::from_millis(5)).await, "its process lives");
    assert!(shim.interfaces().unwrap().iter().all(|interface| !interface.name.is_empty()));
    shim.stop_counting();
}

#[tokio::test]
async fn a_request_that_no_shim_reads_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    shim(dir.path(), |_| Vec::new());
    let (shim, _, _told) = listen(dir.path()).await;
    let refused = shim.remove(&"x".repeat(wire::REQUEST_LIMIT)).await.unwrap_err();
    assert!(matches!(refused, SupervisorError::TooLong { .. }));
    assert_eq!(refused.kind(), model::ErrorKind::InvalidArgument);
    shim.remove("c").await.unwrap();
}

#[tokio::test]
async fn what_a_shim_says_unasked_is_told_and_what_makes_no_sense_ends_the_connection() {
    let record = ExitRecord { id: "c".to_owned(), code: 7, ..ExitRecord::default() };
    let told = record.clone();
    for nonsense in [vec![0xff; 64], wire::frame::request(9, &Request::Shutdown)] {
        let (dir, told) = (tempfile::tempdir().unwrap(), told.clone());
        shim(dir.path(), move |request| match request {
            Request::Start { .. } => wire::frame::event(&wire::msg::Event::Exited(told.clone())),
            Request::Shutdown => nonsense.clone(),
            _ => Vec::new(),
        });
        let (shim, _, mut notices) = listen(dir.path()).await;
        shim.start("c").await.unwrap();
        let Some(Notice::Exited(exit)) = notices.recv().await else { panic!("the exit is told") };
        assert_eq!(exit, record);
        shim.shutdown().await.unwrap();
        assert!(matches!(notices.recv().await, Some(Notice::Lost)));
        assert!(shim.is_lost());
    }
}

#[tokio::test]
async fn a_shim_is_spawned_with_its_socket_and_known_by_its_arguments_when_it_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths { state: dir.path().to_owned(), data: dir.path().to_owned() };
    // Its arguments are no file: it ends at once, and is a child of ours until it is waited for.
    let launcher = launcher_of("/bin/cat");
    let files = PodFiles::new(&paths, "p");
    assert!(launcher.spawn("p", &files).is_err(), "its directory is not there");
    let begin = std::time::Instant::now();
    std::fs::create_dir_all(files.dir()).unwrap();
    let process = launcher.spawn("p", &files).unwrap();
    assert!(files.socket().exists());
    let connected = launcher.connect("p", &files, Some(process), Box::new(|_| {}));
    let refused = connected.await.err().unwrap();
    assert!(!refused.to_string().is_empty());
    assert!(begin.elapsed() < Duration::from_secs(20), "one that has died is not waited for");
    let log = std::fs::read_to_string(files.shim_log()).unwrap();
    assert!(log.contains("cannot open") || log.contains("No such file"), "{log}");
}

#[tokio::test]
async fn a_shim_that_is_lost_is_known_by_its_arguments() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let dir = tempfile::tempdir().unwrap();
    // A program that waits for ever: it reads a pipe that nobody writes to, and that is called as a pod is.
    let pipe = dir.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let pod = pipe.to_str().unwrap();
    let args = ["corten-shim", pod].map(|text| std::ffi::CString::new(text).unwrap());
    let listener = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let socket = std::os::fd::AsFd::as_fd(&listener);
    let given = sys::shim_spawn::Given { socket, bare: None, log: None };
    let process = sys::shim_spawn::spawn_shim(Path::new("/bin/cat"), given, &args, &[]).unwrap();
    let launcher = launcher_of("/nowhere");
    let lives = || {
        std::fs::read_to_string(format!("/proc/{}/cmdline", process.pid)).is_ok_and(|line| !line.is_empty())
    };
    // Its arguments are there a moment after it is.
    while !lives() {
        tokio::task::yield_now().await;
    }
    launcher.kill_lost("another").await;
    assert!(lives());
    launcher.kill_lost(pod).await;
    assert!(!lives());
    launcher.kill(process).await;
}
