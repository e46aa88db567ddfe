//! The messages, services and clients of the CRI v1 as generated from `proto/`; see there for what they mean.

#![allow(missing_docs, unreachable_pub, deprecated, clippy::all, clippy::pedantic)]

use std::fmt;

include!("generated/runtime.v1.rs");

impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}
