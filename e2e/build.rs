//! Compiles the client side of the Container Runtime Interface from `proto/`.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    println!("cargo:rerun-if-changed={}", directory.display());
    let files = protox::compile([directory.join("api.proto")], [&directory])?;
    tonic_prost_build::configure().build_server(false).compile_fds(files)?;
    Ok(())
}
