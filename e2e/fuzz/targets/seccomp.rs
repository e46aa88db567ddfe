//! Profiles of system calls, and their programs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oci::fuzzing::seccomp(bytes));
