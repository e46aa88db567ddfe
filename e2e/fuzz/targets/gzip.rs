//! Compressed layers: members, headers and trailers, cut anywhere.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| image::fuzz::gzip(bytes));
