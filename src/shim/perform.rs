//! Between what happens and what is done about it: events go into the pod, and the actions that come out are carried out.

use std::time::Instant;

use wire::msg::Request;

use crate::execs::Command;
use crate::pod::{Action, Course, Event, Fact, Ticket};
use crate::shim::Shim;

impl Shim {
    /// Lets the pod know what has happened, and does what it says.
    pub(crate) fn feed(&mut self, event: Event) {
        for action in self.pod.on(Instant::now(), event) {
            self.perform(action);
        }
    }

    /// The same for what a daemon asks.
    pub(crate) fn ask(&mut self, ticket: Ticket, request: &Request) {
        match (self.pod.asked(Instant::now(), ticket, request), request) {
            (Course::Do(actions), _) => {
                for action in actions {
                    self.perform(action);
                }
            }
            (Course::Build, Request::Create(plan)) => self.build(plan),
            (Course::Run { number, first }, Request::Exec(plan)) => {
                self.run_command(number, first, &Command::captured(plan));
            }
            (Course::Run { number, first }, Request::OpenExec { plan, streams, tty }) => {
                let (streams, tty) = (*streams, *tty);
                self.run_command(number, first, &Command { plan, streams, tty, is_open: true });
            }
            (Course::Attach(number), Request::Attach { id, streams }) => {
                self.open_client(number, id, *streams);
            }
            (_, request) => self.serve(ticket, request),
        }
    }

    /// The same for something about a container.
    pub(crate) fn learn(&mut self, id: &str, fact: Fact) {
        self.feed(Event::Container(id.to_owned(), fact));
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Reply(ticket, reply) => self.reply(ticket, &reply),
            Action::Announce(record) => self.announce(record),
            Action::Then(event) => self.feed(*event),
            Action::Hear(id) => self.hear(&id),
            Action::Tell(id) => self.tell(&id),
            Action::RunStart(id) => self.run_start(&id),
            Action::Adopt(id, end) => self.adopt(&id, end),
            Action::CloseStatus(id) => self.close_status(&id),
            Action::WatchMemory(id) => self.watch_memory(&id),
            Action::Count { id, known, doomed } => self.count(&id, known, doomed),
            Action::Signal { ticket, id, signal, all } => self.signal(ticket, &id, signal, all),
            Action::Kill(id) => self.kill(&id),
            Action::KillPause => self.kill_pause(),
            Action::ForgetPause => self.forget_pause(),
            Action::ForgetHelper(id) => self.forget_helper(&id),
            Action::ForgetProcess(id) => self.forget_process(&id),
            Action::Empty { id, kill } => self.empty(&id, kill),
            Action::Close { id, count } => self.close(&id, count),
            Action::DiscardLog(id) => self.discard_log(&id),
            Action::Release(id) => self.release(&id),
            Action::WriteExit(record) => self.write_exit(&record),
            Action::Forget(id) => self.forget(&id),
            Action::HearExec(number) => self.hear_exec(number),
            Action::PassStreams(ticket, number) => self.pass_streams(ticket, number),
            Action::DrainExec(number) => self.drain_exec(number),
            Action::KillExec(number) => self.kill_exec(number),
            Action::CloseExec(number, container) => self.close_exec(number, &container),
            Action::Answer { ticket, number, reply } => self.answer_exec(ticket, number, reply),
            Action::ForgetExec(number) => drop(self.execs.remove(&number)),
            Action::PassPipes(ticket, number) => self.pass_pipes(ticket, number),
            Action::AwaitRoom(number) => self.await_room(number),
            Action::CloseClient(number) => self.close_client(number),
            Action::CloseStdin(id) => drop(self.close_stdin(&id)),
            Action::Hold(id) => self.hold(&id),
            Action::Resume(id) => self.resume(&id),
            Action::ReportStalled(id) => {
                crate::report(&format!("container {id}: an attached client that does not read is dropped"));
            }
        }
    }
}
