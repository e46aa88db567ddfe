#![allow(clippy::unwrap_used, clippy::expect_used)]

mod chain;
mod failures;
mod harness;
mod plugins;
mod upkeep;
mod watching;
