//! A real cluster on the runtime: the control plane, the kubelet and kubectl are Kubernetes' own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chaos;
mod chart;
mod clients;
mod huge_pages;
mod hundred_kills;
mod lives;
mod migration;
mod network;
mod pods;
mod pressure;
mod rollout;
mod shutdown;
mod stage;
mod switch;
mod traces;
mod upkeep;
mod volumes;
mod workloads;
