//! The methods that are answered, and what is said to the others.

use http::{Request, Response};
use proto::containerd::containers::containers_server::ContainersServer;
use proto::containerd::tasks::tasks_server::TasksServer;
use proto::containerd::version::version_server::VersionServer;
use std::convert::Infallible;
use std::future::ready;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tower::Service;

use super::{Register, containers, tasks, version};

/// Exactly what cAdvisor calls.
pub(super) struct Router<R> {
    pub(super) version: VersionServer<version::Answers>,
    pub(super) containers: ContainersServer<containers::Answers<R>>,
    pub(super) tasks: TasksServer<tasks::Answers<R>>,
}

impl<R> Clone for Router<R> {
    fn clone(&self) -> Self {
        Self { version: self.version.clone(), containers: self.containers.clone(), tasks: self.tasks.clone() }
    }
}

impl<R: Register> Service<Request<Body>> for Router<R> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Each of them always is.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match request.uri().path() {
            "/containerd.services.version.v1.Version/Version" => self.version.call(request),
            "/containerd.services.containers.v1.Containers/Get" => self.containers.call(request),
            "/containerd.services.tasks.v1.Tasks/Get" => self.tasks.call(request),
            path => {
                tracing::debug!(path, "cAdvisor's socket was asked for something else");
                Box::pin(ready(Ok(refuse(path).into_http())))
            }
        }
    }
}

fn refuse(path: &str) -> Status {
    Status::unimplemented(format!(
        "{}: containerd does not run here. This socket is Corten's (setting kubelet.cadvisor_socket) and answers only \
         the kubelet's cAdvisor; pods and images are on the CRI's socket, which `crictl` asks",
        path.trim_start_matches('/')
    ))
}
