//! WebSocket (RFC 6455) as the server's side, without extensions.

mod channels;
pub mod frame;
mod handshake;
mod tunnel;

pub(crate) use channels::{Codec, Mode, Served, Slot, serve};
pub(crate) use handshake::accept_key;
pub(crate) use tunnel::tunnel;
