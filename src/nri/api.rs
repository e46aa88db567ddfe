//! The messages of the interface, as generated from `proto/nri`; see there for what they mean.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

include!("generated/nri.pkg.api.v1alpha1.rs");
