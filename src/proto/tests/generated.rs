//! What is generated from `proto/` is what lies in `generated/`: building the daemon needs no compiler of interfaces.
#![allow(clippy::unwrap_used)]

use std::path::Path;

/// The files that name the others, and the packages that come of them.
const FILES: [&str; 4] =
    ["api.proto", "containerd/version.proto", "containerd/containers.proto", "containerd/tasks.proto"];
const PACKAGES: [&str; 4] = [
    "runtime.v1",
    "containerd.services.version.v1",
    "containerd.services.containers.v1",
    "containerd.services.tasks.v1",
];

/// After a change of `proto/`: `CORTEN_GENERATE=1 cargo test -p proto`.
#[test]
fn the_generated_code_is_that_of_the_interface() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = protox::compile(FILES, [here.join("../../proto")]).unwrap();
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
    for package in PACKAGES {
        let made = std::fs::read_to_string(made.path().join(format!("{package}.rs"))).unwrap();
        let kept = here.join(format!("generated/{package}.rs"));
        if std::env::var_os("CORTEN_GENERATE").is_some() {
            std::fs::write(&kept, &made).unwrap();
        }
        let same = std::fs::read_to_string(&kept).is_ok_and(|kept| kept == made);
        assert!(same, "proto/ has changed: CORTEN_GENERATE=1 cargo test -p proto ({package})");
    }
    let all = std::fs::read_dir(made.path()).unwrap().count();
    assert_eq!(all, PACKAGES.len(), "a package that is not kept");
}
