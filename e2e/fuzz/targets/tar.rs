//! Uncompressed layers: headers, GNU and PAX extensions, contents.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| image::fuzz::tar(bytes));
