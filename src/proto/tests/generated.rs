//! What is generated from `proto/` is what lies in `generated/`: building the daemon needs no compiler of interfaces.
#![allow(clippy::unwrap_used)]

use std::path::Path;

/// After a change of `proto/`: `CORTEN_GENERATE=1 cargo test -p proto`.
#[test]
fn the_generated_code_is_that_of_the_interface() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = protox::compile(["api.proto"], [here.join("../../proto")]).unwrap();
    let made = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        // Sorted maps make equal messages equal bytes, and move into the model as they are.
        .btree_map(".")
        // Passwords must not reach a log through a debug print: `proto` has a Debug of its own for it.
        .skip_debug(["runtime.v1.AuthConfig"])
        .emit_rerun_if_changed(false)
        .out_dir(made.path())
        .compile_fds(files)
        .unwrap();
    let made = std::fs::read_to_string(made.path().join("runtime.v1.rs")).unwrap();
    let kept = here.join("generated/runtime.v1.rs");
    if std::env::var_os("CORTEN_GENERATE").is_some() {
        std::fs::write(&kept, &made).unwrap();
    }
    let same = std::fs::read_to_string(&kept).unwrap() == made;
    assert!(same, "proto/ has changed: CORTEN_GENERATE=1 cargo test -p proto");
}
