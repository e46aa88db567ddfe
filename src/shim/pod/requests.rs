//! What a daemon asks of the pod.

use std::time::Instant;

use sys::process::SIGKILL;
use wire::msg::{ErrorCode, Reply, Request};
use wire::plan::ContainerPlan;

use super::{Action, Command, Container, Errand, Pod, SHUTDOWN, Shutdown, Ticket};
use crate::requests::{error, unknown};

impl Pod {
    pub(super) fn asked(&mut self, now: Instant, ticket: Ticket, request: Request) {
        let done = match request {
            Request::Create(plan) => self.create(ticket, plan),
            Request::Start { id } => self.start(ticket, &id),
            Request::Signal { id, signal, all } => self.signal(ticket, id, signal, all),
            Request::Remove { id } => self.remove(ticket, &id),
            Request::Shutdown => self.shut_down(now, ticket),
            Request::Hello => self.serve(ticket, Errand::Greet),
            Request::Sandbox(plan) => self.serve(ticket, Errand::SetUp(Box::new(plan))),
            Request::Exec(plan) => self.exec(ticket, plan),
            Request::OpenExec { plan, streams, tty } => {
                self.open_exec(ticket, Command { plan, streams, tty, is_open: true })
            }
            Request::WaitExec { number } => self.wait_exec(ticket, number),
            Request::ReopenLog { id } => self.serve(ticket, Errand::ReopenLog(id)),
            Request::CloseStdin { id } => self.serve(ticket, Errand::CloseStdin(id)),
            Request::Attach { id, streams } => self.serve(ticket, Errand::Attach(id, streams)),
        };
        if let Err(reply) = done {
            self.todo.push(Action::Reply(ticket, reply));
        }
    }

    fn serve(&mut self, ticket: Ticket, errand: Errand) -> Result<(), Reply> {
        self.todo.push(Action::Serve(ticket, errand));
        Ok(())
    }

    /// Create is answered when the child that builds the container reports.
    fn create(&mut self, ticket: Ticket, plan: ContainerPlan) -> Result<(), Reply> {
        self.admit(&plan)?;
        self.containers.insert(plan.id.clone(), Container::new(ticket, &plan));
        self.todo.push(Action::Build(Box::new(plan)));
        Ok(())
    }

    fn admit(&self, plan: &ContainerPlan) -> Result<(), Reply> {
        let id = &plan.id;
        if id.is_empty() || id.contains('/') || id.contains('\0') || id.starts_with('.') {
            return Err(error(ErrorCode::Invalid, format!("container id {id:?} is no file name")));
        }
        if plan.process.argv.first().is_none_or(Vec::is_empty) {
            return Err(error(ErrorCode::Invalid, format!("container {id} has no command")));
        }
        if !self.is_set_up || self.shutdown.is_some() {
            return Err(error(ErrorCode::BadState, "the sandbox is not set up"));
        }
        if self.containers.contains_key(id) {
            return Err(error(ErrorCode::BadState, format!("container {id} exists")));
        }
        Ok(())
    }

    /// Start is answered when the program runs.
    fn start(&mut self, ticket: Ticket, id: &str) -> Result<(), Reply> {
        let container = self.containers.get_mut(id).ok_or_else(|| unknown(id))?;
        container.start(ticket, &mut self.todo)
    }

    fn signal(&mut self, ticket: Ticket, id: String, signal: i32, all: bool) -> Result<(), Reply> {
        let container = self.containers.get_mut(&id).ok_or_else(|| unknown(&id))?;
        if !container.has_process() {
            return Err(error(ErrorCode::BadState, format!("container {id} has ended")));
        }
        container.count(signal == SIGKILL, &mut self.todo);
        self.todo.push(Action::Signal { ticket, id, signal, all });
        Ok(())
    }

    /// Forgets a container at once, or when it is dead.
    fn remove(&mut self, ticket: Ticket, id: &str) -> Result<(), Reply> {
        match self.containers.get_mut(id) {
            Some(container) if container.is_alive() => container.remove(ticket, &mut self.todo),
            _ => {
                self.forget(id);
                self.todo.push(Action::Reply(ticket, Reply::Ok));
            }
        }
        Ok(())
    }

    fn shut_down(&mut self, now: Instant, ticket: Ticket) -> Result<(), Reply> {
        for container in self.containers.values_mut() {
            container.kill(&mut self.todo);
        }
        self.todo.push(Action::KillPause);
        self.shutdown = Some(Shutdown { ticket, by: now + SHUTDOWN });
        Ok(())
    }
}
