//! Tokens: what the kubelet or crictl gets from an RPC and shows to the streaming server, once.

use crate::error::StreamError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::{OpenExec, Streams};
use model::{ContainerId, SandboxId};
use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a token is good for (kubelet, `cacheTTL`).
const LIFE: Duration = Duration::from_secs(60);
/// Tokens that may wait for their client (kubelet, `maxInFlight`).
const MOST: usize = 1000;
/// Random bytes of a token.
const BYTES: usize = 24;

/// What a client may do with a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ticket {
    /// Run a command.
    Exec {
        /// The container's whole id.
        container: ContainerId,
        /// What.
        exec: OpenExec,
    },
    /// Join a container's streams.
    Attach {
        /// The container's whole id.
        container: ContainerId,
        /// In its terminal.
        tty: bool,
        /// Which of them.
        streams: Streams,
    },
    /// Connect to ports of a pod.
    PortForward {
        /// The pod's whole id.
        pod: SandboxId,
        /// For clients that cannot name ports themselves.
        ports: Vec<u16>,
    },
}

impl Ticket {
    /// The first part of its URL's path.
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Self::Exec { .. } => "exec",
            Self::Attach { .. } => "attach",
            Self::PortForward { .. } => "portforward",
        }
    }
}

/// The tokens in flight.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    tickets: HashMap<String, Ticket>,
    /// In the order in which they expire.
    order: VecDeque<(Instant, String)>,
}

impl Held {
    fn expire(&mut self, now: Instant) {
        while let Some((end, token)) = self.order.front() {
            // One that was used is still in line, and may go at once.
            if *end > now && self.tickets.contains_key(token) {
                return;
            }
            self.tickets.remove(token);
            self.order.pop_front();
        }
    }
}

impl Tokens {
    /// A token for a ticket.
    pub(crate) fn issue(&self, ticket: Ticket, now: Instant) -> Result<String, StreamError> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).map_err(StreamError::Random)?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        let mut held = sys::sync::lock(&self.held);
        held.expire(now);
        if held.tickets.len() >= MOST {
            return Err(StreamError::TooMany(MOST));
        }
        if held.order.len() >= 2 * MOST {
            let Held { tickets, order } = &mut *held;
            order.retain(|(_, token)| tickets.contains_key(token));
        }
        held.tickets.insert(token.clone(), ticket);
        held.order.push_back((now + LIFE, token.clone()));
        Ok(token)
    }

    /// The ticket of a token; the token is used up by that.
    pub(crate) fn redeem(&self, verb: &str, token: &str, now: Instant) -> Option<Ticket> {
        let mut held = sys::sync::lock(&self.held);
        held.expire(now);
        let expires = held.order.iter().find(|(_, known)| known == token).map(|(end, _)| *end);
        let ticket = held.tickets.remove(token)?;
        (ticket.verb() == verb && expires.is_some_and(|end| end > now)).then_some(ticket)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn ticket() -> Ticket {
        Ticket::PortForward { pod: SandboxId::new("p"), ports: vec![80] }
    }

    #[test]
    fn a_token_is_good_once_for_its_verb_and_not_for_ever() {
        let (tokens, now) = (Tokens::default(), Instant::now());
        let token = tokens.issue(ticket(), now).unwrap();
        assert!(token.len() >= 32, "192 bits in base64");
        assert_eq!(tokens.redeem("portforward", "guessed", now), None);
        assert_eq!(tokens.redeem("portforward", &token, now), Some(ticket()));
        assert_eq!(tokens.redeem("portforward", &token, now), None);
        let token = tokens.issue(ticket(), now).unwrap();
        assert_eq!(tokens.redeem("exec", &token, now), None, "another verb");
        assert_eq!(tokens.redeem("portforward", &token, now), None, "used up by the try");
        let token = tokens.issue(ticket(), now).unwrap();
        assert_eq!(tokens.redeem("portforward", &token, now + LIFE), None);
        let token = tokens.issue(ticket(), now).unwrap();
        assert!(tokens.redeem("portforward", &token, now + LIFE - Duration::from_millis(1)).is_some());
    }

    #[test]
    fn so_many_may_wait_until_they_are_used_or_expire() {
        let (tokens, now) = (Tokens::default(), Instant::now());
        let issued: Vec<String> = (0..MOST).map(|_| tokens.issue(ticket(), now).unwrap()).collect();
        let refused = tokens.issue(ticket(), now).unwrap_err();
        assert_eq!(refused.kind(), model::ErrorKind::ResourceExhausted);
        tokens.redeem("portforward", &issued[500], now).unwrap();
        tokens.issue(ticket(), now).unwrap();
        assert!(tokens.issue(ticket(), now).is_err());
        assert!(tokens.issue(ticket(), now + LIFE).is_ok());
        let held = tokens.held.lock().unwrap();
        assert_eq!((held.tickets.len(), held.order.len()), (1, 1));
    }

    #[test]
    fn a_long_row_of_used_tokens_takes_no_space() {
        let (tokens, now) = (Tokens::default(), Instant::now());
        let _kept = tokens.issue(ticket(), now).unwrap();
        for _ in 0..20 * MOST {
            let token = tokens.issue(ticket(), now).unwrap();
            assert!(tokens.redeem("portforward", &token, now).is_some());
        }
        assert!(tokens.held.lock().unwrap().order.len() <= 2 * MOST);
    }
}
