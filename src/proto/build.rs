//! Compiles the interface in `proto/` with protox, so that no protoc is needed on the machine.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo:rerun-if-changed={}", dir.display());
    let files = protox::compile(["api.proto"], [&dir])?;
    tonic_prost_build::configure()
        // Sorted maps make equal messages equal bytes, and move into the model as they are.
        .btree_map(".")
        // Passwords must not reach a log through a debug print: `proto` has a Debug of its own for it.
        .skip_debug(["runtime.v1.AuthConfig"])
        .emit_rerun_if_changed(false)
        .compile_fds(files)?;
    Ok(())
}
