//! What a daemon asks of the pod.

use std::time::Instant;

use sys::process::SIGKILL;
use wire::msg::{ErrorCode, Reply, Request};
use wire::plan::ContainerPlan;

use super::{Action, Container, Course, Pod, SHUTDOWN, Shutdown, Ticket};
use crate::requests::{error, unknown};

impl Pod {
    /// Takes in what a daemon asks, and says how it is carried out.
    pub(crate) fn asked(&mut self, now: Instant, ticket: Ticket, request: &Request) -> Course {
        let course = match request {
            Request::Create(plan) => self.create(ticket, plan),
            Request::Exec(plan) => self.exec(ticket, plan),
            Request::KillExec { request } => {
                self.kill_exec(now, ticket, *request);
                Ok(self.course())
            }
            Request::OpenExec { plan, .. } => self.open_exec(ticket, plan),
            Request::Hello | Request::Sandbox(_) | Request::ReopenLog { .. } | Request::CloseStdin { .. } => {
                Ok(Course::Serve)
            }
            Request::Attach { id, streams } => self.attach(ticket, id, *streams),
            Request::Start { id } => self.start(ticket, id).map(|()| self.course()),
            Request::Signal { id, signal, all } => {
                self.signal(ticket, id, *signal, *all).map(|()| self.course())
            }
            Request::WaitExec { number } => self.wait_exec(ticket, *number).map(|()| self.course()),
            Request::Remove { id } => {
                self.remove(ticket, id);
                Ok(self.course())
            }
            Request::Shutdown => {
                self.shut_down(now, ticket);
                Ok(self.course())
            }
        };
        course.unwrap_or_else(|reply| Course::Do(vec![Action::Reply(ticket, reply)]))
    }

    fn course(&mut self) -> Course {
        Course::Do(std::mem::take(&mut self.todo))
    }

    /// Create is answered when the child that builds the container reports.
    fn create(&mut self, ticket: Ticket, plan: &ContainerPlan) -> Result<Course, Reply> {
        self.admit(plan)?;
        self.containers.insert(plan.id.clone(), Box::new(Container::new(ticket, plan)));
        Ok(Course::Build)
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

    fn signal(&mut self, ticket: Ticket, id: &str, signal: i32, all: bool) -> Result<(), Reply> {
        let container = self.containers.get_mut(id).ok_or_else(|| unknown(id))?;
        if !container.has_process() {
            return Err(error(ErrorCode::BadState, format!("container {id} has ended")));
        }
        container.count(signal == SIGKILL, &mut self.todo);
        self.todo.push(Action::Signal { ticket, id: id.to_owned(), signal, all });
        Ok(())
    }

    /// Forgets a container at once, or when it is dead.
    fn remove(&mut self, ticket: Ticket, id: &str) {
        match self.containers.get_mut(id) {
            Some(container) if container.is_alive() => container.remove(ticket, &mut self.todo),
            _ => {
                self.forget(id);
                self.todo.push(Action::Reply(ticket, Reply::Ok));
            }
        }
    }

    fn shut_down(&mut self, now: Instant, ticket: Ticket) {
        self.end_all(now, Some(ticket));
        self.todo.push(Action::KillPause);
    }

    /// Kills every container; the pod is over with them.
    pub(super) fn end_all(&mut self, now: Instant, ticket: Option<Ticket>) {
        for container in self.containers.values_mut() {
            container.kill(&mut self.todo);
        }
        self.shutdown = Some(Shutdown { ticket, by: now + SHUTDOWN });
    }
}
