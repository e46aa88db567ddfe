//! The real thing against a shim of another release.
#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::settings::Paths;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use wire::feature::{Feature, Features};
use wire::frame::{Body, FrameDecoder};
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

async fn connect(dir: &Path) -> Result<Arc<dyn Supervisor>, EngineError> {
    let paths = Paths { state: dir.to_owned(), data: dir.to_owned() };
    let files = PodFiles::new(&paths, "p");
    let launcher = ShimLauncher::new("/nowhere".into());
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
