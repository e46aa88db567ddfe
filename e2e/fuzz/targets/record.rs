//! Records of pods and containers, as a crash or another release may have left them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| engine::fuzzing::record(bytes));
