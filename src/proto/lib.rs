//! The messages and services of the CRI v1 as compiled from `proto/`; see there for what they mean.

#![allow(missing_docs, unreachable_pub, deprecated, clippy::all, clippy::pedantic)]

use std::fmt;

tonic::include_proto!("runtime.v1");

impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}
