//! How a shim that was started ahead learns which pod it is to serve, once. Both ends are of one build, or of two that
//! are told apart here: a shim that does not say the same is used for no pod.

/// The argument of such a shim in the place of the pod's id, for as long as it has none; the id is written over it. Shims
/// from before take it for a question how they are used, and end.
pub const NAMELESS: &str = "--waits-for-a-pod-----------------------------------------------";

/// What it says once it can be told, with the form of what it is told then: the pod's id in one message, and with that
/// two descriptors, the socket that it is to listen on and its log.
pub const WAITS: &[u8] = b"corten-shim waits: 1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_fits_where_the_shim_has_none() {
        assert_eq!(NAMELESS.len(), 64);
        assert!(NAMELESS.starts_with("--"), "or shims of 0.1.0 would take the socket for one to listen on");
    }
}
