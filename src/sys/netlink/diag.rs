//! The states of TCP sockets of this host (`sock_diag(7)`).

use super::socket::{ACK, Batch, Socket};
use super::{AF_INET, AF_INET6, ip_bytes};
use crate::SysResult;
use std::net::SocketAddr;

const BY_FAMILY: u16 = 20;
const TCP: u8 = 6;
/// `INET_DIAG_NOCOOKIE`.
const ANY_COOKIE: [u8; 8] = [0xff; 8];
const ALL_STATES: u32 = u32::MAX;
/// FIN_WAIT1, FIN_WAIT2, TIME_WAIT, LAST_ACK, CLOSING: its user will send nothing more.
const CLOSED: [u8; 5] = [4, 5, 6, 9, 11];

impl Socket {
    /// Whether the user of the TCP socket with these addresses, its own and its peer's, has closed it.
    ///
    /// # Errors
    /// `ENOENT` when no such socket is in the network namespace; the kernel cannot tell.
    pub(crate) fn has_closed(&self, own: SocketAddr, peer: SocketAddr) -> SysResult<bool> {
        let mut batch = Batch::new();
        batch.message(("look at socket", &own.to_string()), BY_FAMILY, ACK, |w| {
            // struct inet_diag_req_v2
            w.raw(&[if own.is_ipv4() { AF_INET } else { AF_INET6 }, TCP, 0, 0]);
            w.raw(&ALL_STATES.to_ne_bytes());
            w.raw(&own.port().to_be_bytes());
            w.raw(&peer.port().to_be_bytes());
            for ip in [own.ip(), peer.ip()] {
                let mut bytes = ip_bytes(ip);
                bytes.resize(16, 0);
                w.raw(&bytes);
            }
            w.raw(&0_u32.to_ne_bytes());
            w.raw(&ANY_COOKIE);
        });
        let replies = self.run(&mut batch)?;
        // struct inet_diag_msg begins with the family and the state.
        Ok(replies.iter().any(|reply| reply.body.get(1).is_some_and(|state| CLOSED.contains(state))))
    }
}
