//! Containers that trace, and that change nodes and keys of the host.
