//! Clients and users of the host that hold the daemon up.
