//! WWW-Authenticate headers of registries.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| image::fuzz::challenge(bytes));
