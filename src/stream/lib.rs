//! The streaming server: exec, attach and port forwarding, as the kubelet, kubectl and crictl speak them.
//!
//! An RPC of the CRI gives its client a URL with a token ([`Urls`], [`Ticket`]); the client shows it here, once and
//! within a minute. The connection is upgraded (`protocol`) to SPDY/3.1 (`spdy`), to channels over a WebSocket (`ws`), or to
//! SPDY within a WebSocket. `session` finds the streams in it, and `remote` and `forward` join them with those of the engine.
//!
//! Everything is bounded. A stream that breaks a rule ends alone where the protocol allows it, else with its connection.
//! What is full makes its client wait; a client that leaves meanwhile is noticed all the same (`socket`).
//!
//! | What | Bound | Test |
//! |---|---|---|
//! | tokens (`tokens`) | 1,000, for a minute each; their order 2,000 | `tokens::tests` |
//! | connections that are not upgraded (`web`), sessions (`server`) | 128, of which the oldest makes room, and 4,096; 10 s for TLS and for a head of 16 KiB and 64 lines | `web::tests`, `ten_thousand_broken_clients_leave_nothing` (e2e) |
//! | streams that are to open (`session`) | 30 s; one of each kind is kept | `streams_that_nobody_looks_at_hold_their_client_up` |
//! | streams of a SPDY connection (`spdy/connection`) | 1,024, until whoever serves one lets go of it | `streams_are_bounded_and_closed_ones_make_room`, `streams_that_are_reset_count_until_they_are_let_go_of` |
//! | streams of all connections (`bounds`) | 16,384 | `streams_of_all_connections_are_bounded` |
//! | streams that wait to be looked at (`spdy/connection`) | 16 | `streams_that_nobody_looks_at_hold_their_client_up` |
//! | halves of forwarded connections (`pairing`) | the streams of the connection; 30 s; numbers of 256 bytes | `halves_that_are_reset_leave_nothing`, `halves_that_stay_alone_are_given_up` |
//! | what a stream's reader has not read (`inlet`) | 32 MiB a forwarded stream, which is reset when nobody reads it for a second (10 s where it is the only one, and its pod has read 48 MiB of it); 256 KiB a stdin, which waits; 64 MiB over all, of which one gets as much as stays free | `inlet::tests`, `a_stream_that_nobody_reads_holds_up_no_other`, `a_lone_stream_that_nobody_reads_holds_up_no_new_one`, `a_large_upload_may_pause`, `a_channel_that_nobody_reads_holds_up_no_other` |
//! | what an attached client has not read (`remote`) | 16 MiB, 64 MiB over all; who is further behind is dropped | `many_who_never_read_share_what_one_could_have`, `clients_that_never_read_share_what_is_kept_for_the_slow` (e2e) |
//! | frames that wait to be written (`link`) | 8 of 32 KiB, then their writers wait | `a_client_that_does_not_read_makes_the_writer_wait` |
//! | frames, header blocks (`spdy/frame`, `spdy/headers`, `ws/frame`) | 4 MiB of data, which is not kept; 256 KiB of control; blocks of 16 KiB, inflated to 1 MiB at most; WebSocket frames of 32 MiB, which are not kept | the tests beside them |
//! | sizes of a window (`resize`) | 1 KiB without one | `nonsense_is_thrown_away` |
//!
//! For fuzzing: [`spdy::frame::Decoder::next`], [`spdy::headers::Headers::parse`] and [`ws::frame::Decoder::next`] take any
//! bytes, in any pieces.

mod bounds;
mod carry;
mod error;
mod forward;
mod inlet;
mod link;
mod pairing;
mod protocol;
mod remote;
mod resize;
mod server;
mod session;
mod settings;
mod socket;
pub mod spdy;
mod status;
mod tls;
mod tokens;
pub mod ws;

pub use error::StreamError;
pub use server::{Server, Tuning, Urls};
pub use settings::Settings;
pub use tls::acceptor;
pub use tokens::Ticket;
