//! Connection tracking: forgetting the UDP flows of a port.

use super::socket::{ACK, Batch};

const DELETE: u16 = (1 << 8) | 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_DESTINATION_PORT: u16 = 3;
const FILTER: u16 = 25;
const FILTER_ORIGINAL_FLAGS: u16 = 1;
/// What of the original direction must match: the protocol's number and the destination port.
const MATCH_NUMBER_AND_DESTINATION_PORT: u32 = (1 << 3) | (1 << 5);
const UDP: u8 = 17;

impl Batch {
    /// Forgets the UDP flows to a port of any address of the family, so that their next packet meets the
    /// current rules. Kernels before 5.8 have no such filter and refuse it.
    pub fn forget_udp(&mut self, ipv4: bool, port: u16) -> &mut Self {
        let what = port.to_string();
        self.message(("forget udp connections", &what), DELETE, ACK, |w| {
            w.raw(&[if ipv4 { 2 } else { 10 }, 0, 0, 0]);
            w.nest(TUPLE_ORIGINAL, |w| {
                w.nest(TUPLE_PROTOCOL, |w| {
                    w.attr(PROTOCOL_NUMBER, &[UDP]);
                    w.attr(PROTOCOL_DESTINATION_PORT, &port.to_be_bytes());
                });
            });
            w.nest(FILTER, |w| w.attr_u32(FILTER_ORIGINAL_FLAGS, MATCH_NUMBER_AND_DESTINATION_PORT));
        })
    }
}
