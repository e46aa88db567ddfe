//! What the runner sees of a test that is skipped: each test here calls itself as one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use need::Need;
use std::process::{Command, Output};

/// What a test is to want when another has called it.
const WANTS: &str = "CORTEN_TEST_WANTS";

/// Whether this process was called to be skipped, and was.
fn is_skipped() -> bool {
    match std::env::var(WANTS).as_deref() {
        Ok("tools") => need::skip(Need::Tools, "no\tsuch tool"),
        Ok(_) => assert!(!need::root("mounts need root"), "CORTEN_WITHOUT is not heeded"),
        Err(_) => return false,
    }
    true
}

/// Calls a test of this program that wants something.
fn run(test: &str, wants: &str, environment: &[(&str, &str)]) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env_remove("CORTEN_REQUIRE")
        .env_remove("CORTEN_SKIPS")
        .env_remove("CORTEN_WITHOUT")
        .env(WANTS, wants)
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_skipped_test_passes_and_is_noted_with_its_name() {
    if is_skipped() {
        return;
    }
    let own = "a_skipped_test_passes_and_is_noted_with_its_name";
    let dir = tempfile::tempdir().unwrap();
    let notes = dir.path().join("skips");
    let notes_of = [("CORTEN_SKIPS", notes.to_str().unwrap()), ("CORTEN_REQUIRE", "root")];
    let output = run(own, "tools", &notes_of);
    assert!(output.status.success(), "{}", said(&output));
    let output = run(own, "root", &[notes_of[0], ("CORTEN_WITHOUT", "root")]);
    assert!(output.status.success(), "{}", said(&output));
    let lines = std::fs::read_to_string(&notes).unwrap();
    assert_eq!(lines, format!("tools\tskip::{own}\tno such tool\nroot\tskip::{own}\tmounts need root\n"));
}

#[test]
fn what_was_promised_is_a_failure() {
    if is_skipped() {
        return;
    }
    let output = run("what_was_promised_is_a_failure", "tools", &[("CORTEN_REQUIRE", "root, tools")]);
    let said = said(&output);
    assert!(!output.status.success() && said.contains("promises tools: no\tsuch tool"), "{said}");
}

#[test]
fn a_need_that_does_not_exist_is_a_failure() {
    if is_skipped() {
        return;
    }
    let output = run("a_need_that_does_not_exist_is_a_failure", "tools", &[("CORTEN_REQUIRE", "rot")]);
    let said = said(&output);
    assert!(
        !output.status.success() && said.contains(r#""rot" is no need of a test: root, tools"#),
        "{said}"
    );
}
