//! What the runner sees of a test that is skipped: this program calls itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use need::Need;
use std::process::{Command, Output};

#[test]
#[ignore = "called by the others"]
fn wants_tools() {
    need::skip(Need::Tools, "no\tsuch tool");
}

#[test]
#[ignore = "called by the others"]
fn wants_root() {
    assert!(!need::root("mounts need root"), "CORTEN_WITHOUT is not heeded");
}

fn run(test: &str, environment: &[(&str, &str)]) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", test])
        .env_remove("CORTEN_REQUIRE")
        .env_remove("CORTEN_SKIPS")
        .env_remove("CORTEN_WITHOUT")
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_skipped_test_passes_and_is_noted_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let notes = dir.path().join("skips");
    let notes_of = [("CORTEN_SKIPS", notes.to_str().unwrap()), ("CORTEN_REQUIRE", "root")];
    let output = run("wants_tools", &notes_of);
    assert!(output.status.success(), "{}", said(&output));
    let output = run("wants_root", &[notes_of[0], ("CORTEN_WITHOUT", "root")]);
    assert!(output.status.success(), "{}", said(&output));
    let lines = std::fs::read_to_string(&notes).unwrap();
    assert_eq!(lines, "tools\tskip::wants_tools\tno such tool\nroot\tskip::wants_root\tmounts need root\n");
}

#[test]
fn what_was_promised_is_a_failure() {
    let output = run("wants_tools", &[("CORTEN_REQUIRE", "root, tools")]);
    let said = said(&output);
    assert!(!output.status.success() && said.contains("promises tools: no\tsuch tool"), "{said}");
}

#[test]
fn a_need_that_does_not_exist_is_a_failure() {
    let output = run("wants_tools", &[("CORTEN_REQUIRE", "rot")]);
    let said = said(&output);
    assert!(
        !output.status.success() && said.contains(r#""rot" is no need of a test: root, tools"#),
        "{said}"
    );
}
