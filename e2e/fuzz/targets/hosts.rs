//! hosts.toml, written by hand.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| image::fuzz::hosts(bytes));
