//! What holds for every RPC, once: a span, metrics, deadlines, panics, the size of requests.

mod deadline;
mod limit;
mod methods;
mod metrics;
mod observe;
mod panics;

pub(crate) use deadline::Deadline;
pub(crate) use limit::SizeLimit;
pub(crate) use metrics::Metrics;
pub(crate) use observe::Observe;
pub(crate) use panics::CatchPanics;
