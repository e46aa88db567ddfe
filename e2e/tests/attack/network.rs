//! Pods that reach for what is the node's own.
