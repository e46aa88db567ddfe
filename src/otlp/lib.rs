//! Traces of what the daemon does, for an OpenTelemetry collector (OTLP, the OpenTelemetry Protocol, 1.x).
//!
//! Whoever has something to trace opens a span of the `tracing` crate under the target [`TARGET`]: `call` for an RPC, with
//! the caller's `traceparent` (W3C Trace Context), and `stage` for a part of it. A [`Spans`] layer turns those into spans
//! of a trace, and [`Export`] sends them away. Where no collector is set there is neither, and opening such a span
//! costs the look at one static.
//!
//! A full queue or a collector that is gone loses spans, never a request: `corten_spans_total` tells what became of them.

mod context;
mod error;
mod export;
mod layer;
pub mod message;
mod send;
mod settings;

pub use error::OtlpError;
pub use export::{Export, open};
pub use layer::Spans;
pub use send::parse;
pub use settings::{Protocol, Settings};

/// The target of every span that is meant for a trace.
pub const TARGET: &str = "spans";
