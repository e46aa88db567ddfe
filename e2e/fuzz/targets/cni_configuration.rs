//! CNI configurations, and what the built-in plugins think of them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cni::fuzz::configuration(bytes));
