//! A container's output on its way into the CRI log.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shim::fuzzing::log(bytes));
