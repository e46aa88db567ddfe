//! The `portmap` plugin as a binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    cni::standalone::main("portmap")
}
