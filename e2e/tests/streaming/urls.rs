//! What an URL is good for.

use crate::{idle, start};
use e2e::client::Cri;
use e2e::http::Request;
use e2e::proto::{AttachRequest, ExecRequest, PortForwardRequest};
use e2e::runtime::Kind;
use e2e::world::World;
use std::net::SocketAddr;
use tonic::Code;

/// The address and the path of a URL.
pub(crate) fn split(url: &str) -> (SocketAddr, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (address, path) = rest.split_once('/').unwrap();
    (address.parse().unwrap(), format!("/{path}"))
}

pub(crate) fn exec_request(id: &str) -> ExecRequest {
    ExecRequest {
        container_id: id.to_owned(),
        cmd: vec!["true".to_owned()],
        stdout: true,
        stderr: true,
        ..ExecRequest::default()
    }
}

pub(crate) async fn exec_url(cri: &Cri, id: &str) -> Result<String, tonic::Status> {
    cri.runtime.clone().exec(exec_request(id)).await.map(|reply| reply.into_inner().url)
}

#[test]
fn urls_are_good_once_and_bad_requests_are_refused() {
    let Some(world) = World::new().unwrap() else { return };
    let (pod, id) = start(&world, "urls", &idle());
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let mut runtime = cri.runtime.clone();
        let refused = runtime.exec(ExecRequest { tty: true, ..exec_request(&id) }).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        let refused = runtime.exec(ExecRequest { stdout: false, stderr: false, ..exec_request(&id) }).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
        let request =
            AttachRequest { container_id: id.clone(), tty: true, stderr: true, ..AttachRequest::default() };
        assert_eq!(runtime.attach(request).await.unwrap_err().code(), Code::InvalidArgument);
        let corten = world.daemon.kind() == Kind::Corten;
        if corten {
            let refused = runtime.exec(exec_request("unknown")).await.unwrap_err();
            assert_eq!(refused.code(), Code::NotFound, "{refused}");
            let request = PortForwardRequest { pod_sandbox_id: "unknown".to_owned(), port: vec![] };
            assert_eq!(runtime.port_forward(request).await.unwrap_err().code(), Code::NotFound);
            let request = PortForwardRequest { pod_sandbox_id: pod.clone(), port: vec![80, 65536] };
            let refused = runtime.port_forward(request).await.unwrap_err();
            assert!(
                refused.code() == Code::InvalidArgument && refused.message().contains("port[1]"),
                "{refused}"
            );
        }
        let (address, path) = split(&exec_url(&cri, &id).await.unwrap());
        assert!(address.ip().is_loopback() && path.len() > 8);
        let status = |method: &'static str, target: String, headers: &'static [(&str, &str)]| {
            let send =
                move || Request { method, target: &target, headers, body: &[] }.send(address).unwrap().status;
            tokio::task::spawn_blocking(send)
        };
        assert_eq!(status("GET", path.clone(), &[]).await.unwrap(), 400, "no upgrade");
        for method in ["GET", "POST"] {
            assert_eq!(status(method, path.clone(), &[]).await.unwrap(), 404, "used up");
        }
        let guessed = format!("/exec/{}", "A".repeat(32));
        assert_eq!(status("GET", guessed, &[]).await.unwrap(), 404, "guessed");
        let (_, path) = split(&exec_url(&cri, &id).await.unwrap());
        let other = path.replace("/exec/", "/attach/");
        assert_eq!(status("POST", other, &[]).await.unwrap(), 404, "another verb");
        if corten {
            assert_eq!(status("DELETE", "/exec/x".to_owned(), &[]).await.unwrap(), 405);
        }
        // A thousand may wait for their client, of which some are used up above.
        let mut last = Ok(String::new());
        for count in 0..1_001 {
            last = exec_url(&cri, &id).await;
            if last.is_err() {
                assert!(count >= 995, "refused after {count}");
                break;
            }
        }
        assert_eq!(last.unwrap_err().code(), Code::ResourceExhausted);
    });
}
