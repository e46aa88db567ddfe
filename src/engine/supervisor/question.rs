//! What is asked of a pod's supervisor: by this its failures are named, and its answers are read.

use super::error::SupervisorError;
use super::request::Ask;
use std::os::fd::OwnedFd;
use std::time::Duration;
use wire::msg::Reply;

/// A request to the supervisor of a pod, about something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) pod: &'a str,
    verb: &'static str,
    subject: &'a str,
}

impl<'a> Question<'a> {
    pub(super) fn of<A: Ask>(pod: &'a str, subject: &'a str) -> Self {
        Self { pod, verb: A::VERB, subject }
    }

    /// Nobody answers any more.
    pub(super) fn gone(&self) -> SupervisorError {
        SupervisorError::Gone { pod: self.pod.to_owned(), verb: self.verb, subject: self.subject.to_owned() }
    }

    /// Nobody has answered for so long.
    pub(super) fn silent(&self, limit: Duration) -> SupervisorError {
        SupervisorError::Silent {
            pod: self.pod.to_owned(),
            verb: self.verb,
            subject: self.subject.to_owned(),
            seconds: limit.as_secs(),
        }
    }

    /// What is answered, with the descriptors that came with it.
    pub(super) fn answer<A: Ask>(
        &self,
        reply: Reply,
        passed: Vec<OwnedFd>,
    ) -> Result<A::Answer, SupervisorError> {
        let (verb, subject) = (self.verb, self.subject.to_owned());
        match reply {
            Reply::Error { kind: code, errno, message } => {
                Err(SupervisorError::Refused { verb, subject, code, errno, message })
            }
            reply => A::answer(reply, passed).ok_or_else(|| SupervisorError::WrongReply {
                pod: self.pod.to_owned(),
                verb,
                subject,
            }),
        }
    }
}
