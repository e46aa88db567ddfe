//! What holds of every answer and every end.

use sys::process::SIGKILL;
use wire::msg::{ExitRecord, Reply, Request};

use super::super::Ticket;
use super::fake::By;
use super::world::World;

impl World {
    /// A start is told before the end, and a container that is there once.
    pub(super) fn check_reply(&self, ticket: Ticket, reply: &Reply) {
        let request = &self.requests[usize::try_from(ticket.id).unwrap()];
        if let (Request::Start { id }, Reply::Started { .. }) = (request, reply) {
            let last = |what: &str| self.done.iter().rposition(|one| *one == format!("{what} {id}"));
            assert!(last("announce") <= last("build"), "started after its end: {:?}", self.done);
        }
    }

    /// Whose fault it was is told as it really was, as far as anybody can know.
    pub(super) fn check_exit(&self, record: &ExitRecord) {
        let fake = &self.fakes[&record.id];
        let unseen = fake.kills > fake.outlived;
        let oom = match fake.by.unwrap() {
            By::Kernel => true,
            By::Us => false,
            By::Itself(code) => code == 128 + SIGKILL && unseen,
            By::Somebody => unseen,
        };
        assert_eq!(record.oom, oom, "{record:?} {fake:?}");
        let position = |what: &str| self.done.iter().rposition(|one| *one == format!("{what} {}", record.id));
        assert!(position("release") < position("write exit"), "{:?}", self.done);
    }
}
