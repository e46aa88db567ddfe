//! The configuration commands through the real binary: what scripts see of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::{Command, Output, Stdio};

fn corten(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_corten")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_printed_defaults_pass_the_check() {
    let printed = corten(&["config", "default"]);
    assert!(printed.status.success());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("corten.toml");
    std::fs::write(&file, &printed.stdout).unwrap();
    let checked = corten(&["config", "check", "--no-host", "--config", file.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    assert_eq!(text(&checked.stdout), format!("{}: ok\n", file.display()));
}

#[test]
fn a_refused_file_fails_the_check_and_the_daemon_alike() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("corten.toml");
    std::fs::write(&file, "[metrics]\nadress = \"\"\n").unwrap();
    let expected = format!(
        "corten: configuration: {}:2: unknown key `metrics.adress`, did you mean `metrics.address`?\n",
        file.display()
    );
    for command in [&["config", "check"][..], &["serve"][..]] {
        let output = corten(&[command, &["--config", file.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stderr), expected);
        assert!(output.stdout.is_empty());
    }
}

/// What the check and the daemon say of a file; they must say the same.
fn refusal(text_of_file: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("corten.toml");
    std::fs::write(&file, text_of_file).unwrap();
    let said = [&["config", "check"][..], &["serve"][..]].map(|command| {
        let output = corten(&[command, &["--config", file.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(1), "{command:?} of {text_of_file}");
        text(&output.stderr).replace(&format!("{}/", directory.path().display()), "")
    });
    assert_eq!(said[0], said[1], "{text_of_file}");
    said.into_iter().next().unwrap()
}

#[test]
fn the_check_refuses_what_the_daemon_would_refuse() {
    let table = [
        (
            "[runtime]\ndefault_capabilities = [\"CHOWN\", \"FLY\"]\n",
            "corten: configuration: corten.toml:2: `runtime.default_capabilities`: `FLY` is no capability",
        ),
        (
            "[runtime]\ndefault_handler = \"kata\"\n",
            "corten: configuration: corten.toml:2: `runtime.default_handler`: no handler `kata` is configured",
        ),
        (
            "[handlers.crun]\ntype = \"oci\"\n",
            "corten: configuration: corten.toml:1: `handlers.crun.binary`: a handler of the type oci needs one",
        ),
        (
            "[handlers.\"a.b\"]\ntype = \"oci\"\nbinary = \"crun\"\n",
            "corten: configuration: corten.toml:3: `handlers.a.b.binary`: expected an absolute path",
        ),
        (
            "[handlers.native]\ntype = \"oci\"\nbinary = \"/usr/bin/crun\"\n",
            "corten: configuration: corten.toml:1: `handlers.native`: this is the name of the built-in handler",
        ),
        (
            "[runtime]\nshim = \"/nonexistent/shim\"\n",
            "corten: on this host: corten.toml:2: `runtime.shim`: find the helper \"/nonexistent/shim\": No such file",
        ),
        (
            "[runtime]\nshim = \"/bin/true\"\npause = \"/bin/true\"\n\n[stream]\ntls_cert_file = \"/nonexistent/a\"\n\
             tls_key_file = \"/nonexistent/b\"\n",
            "corten: on this host: corten.toml:6: `stream.tls_cert_file`: ",
        ),
    ];
    for (file, expected) in table {
        let said = refusal(file);
        assert!(said.starts_with(expected), "{file} gives {said:?}, not {expected:?}");
    }
}

#[test]
fn the_check_names_what_this_host_lacks_though_the_daemon_would_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("corten.toml");
    let text_of_file = "[runtime]\nshim = \"/bin/true\"\npause = \"/bin/true\"\n\n[handlers.\"a.b\"]\ntype = \"oci\"\n\
        binary = \"/nonexistent/crun\"\n\n[handlers.other]\ntype = \"oci\"\nbinary = \"/etc/passwd\"\n";
    std::fs::write(&file, text_of_file).unwrap();
    let output = corten(&["config", "check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let (said, at) = (text(&output.stderr), file.display());
    assert!(said.starts_with("corten: on this host: "), "{said}");
    for part in [
        format!(
            "{at}:7: `handlers.a.b.binary`: /nonexistent/crun: No such file or directory (os error 2): pods of this"
        ),
        format!("; {at}:11: `handlers.other.binary`: /etc/passwd: not an executable file: pods of this"),
    ] {
        assert!(said.contains(&part), "{part} in {said}");
    }
    let checked = corten(&["config", "check", "--no-host", "--config", file.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(0));
}

#[test]
fn the_check_tells_that_data_dir_lies_on_an_overlay() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    for name in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    std::fs::write(
        path("corten.toml"),
        format!(
            "data_dir = \"{}/not/yet/made\"\n[runtime]\nshim = \"/bin/true\"\npause = \"/bin/true\"\n",
            path("merged")
        ),
    )
    .unwrap();
    let options = format!("lowerdir={},upperdir={},workdir={}", path("lower"), path("upper"), path("work"));
    // In a mount namespace of its own, which takes the overlay away with it.
    let script = format!(
        "mount -t overlay -o {options} none {} && exec {} config check --config {}",
        path("merged"),
        env!("CARGO_BIN_EXE_corten"),
        path("corten.toml")
    );
    let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
    let said = text(&output.stderr);
    if said.contains("Operation not permitted") {
        println!("skipped: mounting needs root");
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{said}");
    let expected =
        format!("corten: on this host: {}:1: `data_dir`: data_dir {}", path("corten.toml"), path("merged"));
    assert!(said.starts_with(&expected) && said.contains("lies on overlayfs"), "{said}");
}

#[test]
fn a_missing_file_fails_the_check() {
    let output = corten(&["config", "check", "--config", "/nonexistent/corten.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("cannot read /nonexistent/corten.toml: No such file"), "{stderr}");
}

#[test]
fn wrong_usage_has_a_code_of_its_own() {
    assert_eq!(corten(&["config", "chekc"]).status.code(), Some(2));
    assert_eq!(corten(&[]).status.code(), Some(2));
}

#[test]
fn the_version_is_told() {
    let output = corten(&["--version"]);
    assert_eq!(text(&output.stdout), format!("corten {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_corten"))
        .args(["config", "default"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}
