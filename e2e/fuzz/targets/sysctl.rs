//! Names and values of kernel parameters.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cri::fuzzing::sysctl(bytes));
