//! Stands in for the crate of this name: the same types and methods, without Unicode's tables and without several engines.
//!
//! In the daemon, only oci-spec uses it, to check one field of a process (`execCPUAffinity`).

pub use regex_lite::*;
