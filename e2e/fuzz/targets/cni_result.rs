//! Results and errors of CNI plugins, in every version.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cni::fuzz::result(bytes));
