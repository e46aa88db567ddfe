//! Connection tracking: forgetting the UDP flows of a port.

use super::message::{Writer, attr, attrs};
use super::socket::{ACK, Batch, DUMP, Reply, Socket};
use super::{AF_INET, AF_INET6};
use crate::SysResult;

const NEW: u16 = 1 << 8;
const GET: u16 = (1 << 8) | 1;
const DELETE: u16 = (1 << 8) | 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_DESTINATION_PORT: u16 = 3;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const FILTER_ORIGINAL_FLAGS: u16 = 1;
/// What of the original direction must match: the protocol's number and the destination port.
const MATCH_NUMBER_AND_DESTINATION_PORT: u32 = (1 << 3) | (1 << 5);
const UDP: u8 = 17;
/// Bytes of a `nfgenmsg`.
const GENERIC: usize = 4;

impl Socket {
    /// Forgets the UDP flows to a port of any address of the family, so that their next packet meets the
    /// current rules.
    ///
    /// # Errors
    /// When the kernel has no connection tracking, or refuses.
    pub fn forget_udp(&self, ipv4: bool, port: u16) -> SysResult<()> {
        let mut batch = Batch::new();
        batch.message(("forget udp flows", &port.to_string()), DELETE, ACK, |w| select(w, ipv4, port));
        match self.run(&mut batch) {
            // Before Linux 6.8 only a list of flows can be filtered.
            Err(error) if matches!(error.errno, libc::EINVAL | libc::EOPNOTSUPP) => {
                self.forget_udp_one_by_one(ipv4, port).map(drop)
            }
            result => result.map(drop),
        }
    }

    /// As [`Socket::forget_udp`], on every kernel: lists the flows, then forgets each. How many there were.
    ///
    /// # Errors
    /// As [`Socket::forget_udp`].
    pub fn forget_udp_one_by_one(&self, ipv4: bool, port: u16) -> SysResult<usize> {
        let what = port.to_string();
        let mut list = Batch::new();
        list.message(("list udp flows", &what), GET, DUMP, |w| select(w, ipv4, port));
        let replies = self.run(&mut list)?;
        // Kernels before 5.8 have listed every flow of the family.
        let flows: Vec<_> = replies.iter().filter_map(|reply| flow(reply, port)).collect();
        let mut batch = Batch::new();
        for flow in &flows {
            batch.message(("forget udp flow", &what), DELETE, ACK, |w| {
                header(w, ipv4);
                // The tuple says which flow, the number that it is not another's by now.
                for (kind, value) in attrs(flow) {
                    match kind {
                        TUPLE_ORIGINAL => w.nest(kind, |w| w.raw(value)),
                        ZONE | ID => w.attr(kind, value),
                        _ => {}
                    }
                }
            });
            batch.tolerate(libc::ENOENT);
        }
        self.run(&mut batch).map(|_| flows.len())
    }
}

fn header(w: &mut Writer, ipv4: bool) {
    w.raw(&[if ipv4 { AF_INET } else { AF_INET6 }, 0, 0, 0]);
}

fn select(w: &mut Writer, ipv4: bool, port: u16) {
    header(w, ipv4);
    w.nest(TUPLE_ORIGINAL, |w| {
        w.nest(TUPLE_PROTOCOL, |w| {
            w.attr(PROTOCOL_NUMBER, &[UDP]);
            w.attr(PROTOCOL_DESTINATION_PORT, &port.to_be_bytes());
        });
    });
    w.nest(FILTER, |w| w.attr_u32(FILTER_ORIGINAL_FLAGS, MATCH_NUMBER_AND_DESTINATION_PORT));
}

/// The attributes of a listed flow, when it is UDP to this port.
fn flow(reply: &Reply, port: u16) -> Option<&[u8]> {
    let attributes = reply.body.get(GENERIC..).filter(|_| reply.kind == NEW)?;
    let protocol = attr(attr(attributes, TUPLE_ORIGINAL)?, TUPLE_PROTOCOL)?;
    let is_meant = attr(protocol, PROTOCOL_NUMBER) == Some(&[UDP])
        && attr(protocol, PROTOCOL_DESTINATION_PORT) == Some(&port.to_be_bytes());
    is_meant.then_some(attributes)
}
