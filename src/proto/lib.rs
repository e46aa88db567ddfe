//! The messages, services and clients of the CRI v1, and of the part of containerd's API that cAdvisor uses, as generated
//! from `proto/`; see there for what they mean.

#![allow(missing_docs, unreachable_pub, deprecated, clippy::all, clippy::pedantic)]

use std::fmt;

include!("generated/runtime.v1.rs");

/// What cAdvisor asks of containerd.
pub mod containerd {
    /// Who answers.
    pub mod version {
        include!("generated/containerd.services.version.v1.rs");
    }
    /// What pods and containers are called.
    pub mod containers {
        include!("generated/containerd.services.containers.v1.rs");
    }
    /// Their processes.
    pub mod tasks {
        include!("generated/containerd.services.tasks.v1.rs");
    }
}

impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}
