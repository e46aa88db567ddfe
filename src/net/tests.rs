#![allow(clippy::unwrap_used, clippy::expect_used)]

mod chain;
mod failures;
mod fake;
mod harness;
mod irregular;
mod plugins;
mod removal;
mod shared_host;
mod slots;
mod upkeep;
mod watching;
