//! The streaming server: exec, attach and port forwarding, as the kubelet, kubectl and crictl speak them.
//!
//! An RPC of the CRI gives its client a URL with a token ([`Urls`], [`Ticket`]); the client shows it here, once and
//! within a minute. The connection is upgraded (`protocol`) to SPDY/3.1 (`spdy`), to channels over a WebSocket (`ws`), or to
//! SPDY within a WebSocket. `session` finds the streams in it, and `remote` and `forward` join them with those of the engine.
//!
//! Everything is bounded: tokens, connections, heads of requests, frames, headers, streams of a connection, and what waits
//! for a slow reader. A stream that breaks a rule ends alone where the protocol allows it, else with its connection.
//!
//! For fuzzing: [`spdy::frame::Decoder::next`], [`spdy::headers::Headers::parse`] and [`ws::frame::Decoder::next`] take any
//! bytes, in any pieces.

mod error;
mod forward;
mod link;
mod protocol;
mod remote;
mod resize;
mod server;
mod session;
mod settings;
pub mod spdy;
mod status;
mod tls;
mod tokens;
pub mod ws;

pub use error::StreamError;
pub use server::{Server, Urls};
pub use settings::Settings;
pub use tokens::Ticket;
