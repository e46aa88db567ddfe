//! What is generated from `proto/nri` is what lies in `generated/`: building the daemon needs no compiler of interfaces.
#![allow(clippy::unwrap_used)]

use std::path::Path;

const KEPT: &str = "nri.pkg.api.v1alpha1.rs";

/// After a change of `proto/nri`: `CORTEN_GENERATE=1 cargo test -p nri --test generated`.
#[test]
fn the_generated_code_is_that_of_the_interface() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = protox::compile(["nri/api.proto"], [here.join("../../proto")]).unwrap();
    let made = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        // The services are not gRPC's.
        .build_client(false)
        .build_server(false)
        // Sorted maps make equal messages equal bytes.
        .btree_map(".")
        .emit_rerun_if_changed(false)
        .out_dir(made.path())
        .compile_fds(files)
        .unwrap();
    let made = std::fs::read_to_string(made.path().join(KEPT)).unwrap();
    let kept = here.join("generated").join(KEPT);
    if std::env::var_os("CORTEN_GENERATE").is_some() {
        std::fs::write(&kept, &made).unwrap();
    }
    let same = std::fs::read_to_string(&kept).is_ok_and(|kept| kept == made);
    assert!(same, "proto/nri has changed: CORTEN_GENERATE=1 cargo test -p nri --test generated");
}
