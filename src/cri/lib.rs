//! The gRPC edge: the CRI's two services on a Unix socket, on another one what cAdvisor asks of containerd (`cadvisor`), and
//! the only crate that sees prost and tonic.
//!
//! A request goes through the layers (`layers`: trace, metrics, panics, size), is decoded and validated as a
//! whole (`decode`), becomes one call of the engine (one file an RPC in `runtime` and `images`), and the
//! engine's view is encoded (`encode`). Failures become a gRPC status in one place (`status`).
//!
//! What this version does not do is refused with the name of the field, before anything happens; the table of
//! `decode/field_table.rs` covers every field of the configurations.

mod cadvisor;
mod decode;
mod encode;
#[cfg(fuzzing)]
pub mod fuzzing;
mod images;
mod layers;
mod lenient;
mod metrics;
mod parts;
mod runtime;
mod server;
mod services;
mod signals;
mod status;

pub use cadvisor::serve_cadvisor;
pub use decode::DecodeError;
pub use proto;
pub use server::{ServeError, Settings, serve};
