//! The first process of a cgroup's inhabitant.

use super::{Register, namespace};
use engine::FirstProcess;
use proto::containerd::tasks::tasks_server::Tasks;
use proto::containerd::tasks::{self, GetRequest, GetResponse, Process, Time};
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub(super) struct Answers<R>(pub(super) Arc<R>);

#[tonic::async_trait]
impl<R: Register> Tasks for Answers<R> {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        namespace::check(request.metadata())?;
        let GetRequest { container_id: id, exec_id } = request.into_inner();
        if !exec_id.is_empty() {
            return Err(Status::not_found(format!("no command {exec_id:?} is known here")));
        }
        let found = self.0.find(&id).await;
        let found =
            found.ok_or_else(|| Status::not_found(format!("no pod or container has the id {id:?}")))?;
        let process = found.process.ok_or_else(|| Status::not_found(format!("{id:?} has no process")))?;
        Ok(Response::new(GetResponse { process: Some(encode(id, process)) }))
    }
}

fn encode(id: String, process: FirstProcess) -> Process {
    let number = |pid: i32| u32::try_from(pid).unwrap_or_default();
    let (pid, status, exit) = match process {
        FirstProcess::Waits(pid) => (number(pid), tasks::Status::Created, None),
        FirstProcess::Runs(pid) => (number(pid), tasks::Status::Running, None),
        FirstProcess::Ended(exit) => (0, tasks::Status::Stopped, Some(exit)),
    };
    Process {
        container_id: id.clone(),
        id,
        pid,
        status: status.into(),
        exit_status: exit.as_ref().map_or(0, |exit| number(exit.code)),
        exited_at: exit.map(|exit| {
            let (seconds, nanos) = super::split(exit.finished_at);
            Time { seconds, nanos }
        }),
    }
}
