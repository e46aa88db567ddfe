//! Indexes and manifests of images.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| image::fuzz::manifest(bytes));
