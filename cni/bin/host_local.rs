//! The `host-local` plugin as a binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    cni::standalone::main("host-local")
}
