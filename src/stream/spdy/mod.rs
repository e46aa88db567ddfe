//! SPDY/3.1 as Kubernetes' clients speak it: streams that the client opens, without flow control.

mod connection;
mod dictionary;
pub mod frame;
pub mod headers;

pub(crate) use connection::{Incoming, News, Served, serve};
