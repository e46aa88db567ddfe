//! Files of the Container Device Interface, in YAML and JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oci::fuzzing::cdi(bytes));
