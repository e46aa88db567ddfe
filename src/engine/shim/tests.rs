#![allow(clippy::unwrap_used)]
use super::*;
use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use wire::feature::Feature;
use wire::plan::{ContainerPlan, ExecPlan, HooksPlan};

/// A shim that greets as told and answers everything else with "done"; what it was asked is what its task returns.
fn older(dir: &Path, version: u32, features: Features) -> tokio::task::JoinHandle<Vec<Request>> {
    let listener = UnixListener::bind(dir.join("shim.sock")).unwrap();
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
                    _ => Reply::Ok,
                };
                asked.push(request);
                stream.write_all(&wire::frame::reply(frame.id, &reply)).await.unwrap();
            }
        }
    })
}

#[tokio::test]
async fn an_older_shim_is_asked_for_nothing_that_it_cannot_do() {
    let dir = tempfile::tempdir().unwrap();
    let served = older(dir.path(), wire::VERSION, Features::of(&[Feature::Streams, Feature::AppArmor]));
    let shim = Shim::connect("p", dir.path(), |_| {}).await.unwrap();
    shim.hello().await.unwrap();
    let create =
        |hooks| Request::Create(ContainerPlan { id: "c".to_owned(), hooks, ..ContainerPlan::default() });
    let refused = shim.ask("create container", "c", &create(Some(HooksPlan::default()))).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "create container c: the pod's supervisor is older: it cannot run hooks, restart the pod"
    );
    assert_eq!(refused.kind(), model::ErrorKind::FailedPrecondition);
    let exec = Request::OpenExec {
        plan: ExecPlan { size: (80, 24), ..ExecPlan::default() },
        streams: wire::msg::Streams::default(),
        tty: true,
    };
    assert!(matches!(shim.open("run a command in", "c", &exec).await, Err(EngineError::OldShim { .. })));
    assert!(matches!(shim.ask("create container", "c", &create(None)).await, Ok(Reply::Ok)));
    drop(shim);
    assert_eq!(served.await.unwrap(), [Request::Hello, create(None)]);
}

#[tokio::test]
async fn a_shim_of_another_protocol_is_not_spoken_with() {
    for version in [wire::OLDEST - 1, wire::VERSION + 1] {
        let dir = tempfile::tempdir().unwrap();
        let _served = older(dir.path(), version, Features::of(Feature::ALL));
        let shim = Shim::connect("p", dir.path(), |_| {}).await.unwrap();
        let refused = shim.hello().await.err().unwrap();
        assert!(matches!(refused, EngineError::ForeignShim { version: told, .. } if told == version));
    }
}
