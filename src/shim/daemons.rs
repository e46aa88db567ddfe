//! The daemons: what they ask goes to the pod, and what it answers to them.

use std::os::fd::OwnedFd;

use wire::frame::{self, Asked};
use wire::msg::{self, ErrorCode, ExitRecord, Reply};

use crate::conn::Conn;
use crate::pod::{Event, Ticket};
use crate::reactor::Interest;
use crate::requests::error;
use crate::shim::Shim;

impl Shim {
    /// Lets in whoever has come.
    pub(crate) fn accept(&mut self) {
        while let Some((token, stream)) = self.reactor.accept() {
            self.conns.insert(token, Conn::new(stream));
            self.feed(Event::Connected(token));
        }
    }

    /// Takes what a daemon asks, and sends it what waits for it.
    pub(crate) fn receive(&mut self, token: u64) {
        let Some(conn) = self.conns.get_mut(&token) else { return };
        if !conn.flush() {
            self.hang_up(token);
            return;
        }
        if conn.is_clogged() {
            self.update_interest(token);
            return;
        }
        let received = conn.receive(&mut self.buffer);
        for Asked { id, request } in received.requests {
            failpoint::pass!("shim.frame.asked");
            let ticket = Ticket { conn: token, id };
            match request {
                Ok(request) => self.ask(ticket, &request),
                // A newer daemon's, which has not looked at the features.
                Err(unknown) => {
                    let text = format!("the pod's supervisor is older: {unknown}");
                    self.reply(ticket, &error(ErrorCode::BadState, text));
                }
            }
        }
        if received.closed {
            self.hang_up(token);
        } else {
            self.update_interest(token);
        }
    }

    fn update_interest(&mut self, token: u64) {
        if let Some(conn) = self.conns.get(&token) {
            let wanted = Interest { readable: !conn.is_clogged(), writable: conn.is_behind() };
            if !self.reactor.set_conn_interest(token, conn, wanted) {
                self.hang_up(token);
            }
        }
    }

    fn hang_up(&mut self, token: u64) {
        failpoint::pass!("shim.daemon.left");
        if let Some(conn) = self.conns.remove(&token) {
            self.reactor.drop_conn(token, &conn);
        }
        self.feed(Event::HungUp(token));
    }

    /// Answers a request; a daemon that is gone, or reads nothing, gets no answer.
    pub(crate) fn reply(&mut self, ticket: Ticket, reply: &Reply) {
        self.post(ticket.conn, frame::reply(ticket.id, reply), Vec::new());
        failpoint::pass!("shim.frame.answered");
    }

    /// Answers a request with descriptors.
    pub(crate) fn reply_with(&mut self, ticket: Ticket, number: u64, passed: Vec<OwnedFd>) {
        let descriptors = u32::try_from(passed.len()).unwrap_or(u32::MAX);
        let reply = Reply::Opened { number, descriptors };
        self.post(ticket.conn, frame::reply(ticket.id, &reply), passed);
    }

    /// Tells every daemon that has said hello.
    pub(crate) fn announce(&mut self, record: ExitRecord) {
        let bytes = frame::event(&msg::Event::Exited(record));
        let greeted: Vec<u64> =
            self.conns.iter().filter(|(_, conn)| conn.greeted).map(|(token, _)| *token).collect();
        for token in greeted {
            self.post(token, bytes.clone(), Vec::new());
        }
    }

    fn post(&mut self, token: u64, bytes: Vec<u8>, passed: Vec<OwnedFd>) {
        let Some(conn) = self.conns.get_mut(&token) else { return };
        let before = (conn.is_behind(), conn.is_clogged());
        if !conn.send(bytes, passed) {
            self.hang_up(token);
        } else if (conn.is_behind(), conn.is_clogged()) != before {
            self.update_interest(token);
        }
    }
}
