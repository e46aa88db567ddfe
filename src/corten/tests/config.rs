//! The configuration commands through the real binary: what scripts see of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "config/dump.rs"]
mod dump;
#[path = "config/files.rs"]
mod files;
#[path = "config/plugins.rs"]
mod plugins;

use std::process::{Command, Output, Stdio};

/// A daemon that should have refused and serves would never end.
fn corten(arguments: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", "60", env!("CARGO_BIN_EXE_corten")]).args(arguments);
    command.stdin(Stdio::null()).output().unwrap()
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

#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("corten.toml");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let checked = Command::new("timeout")
        .args(["10", env!("CARGO_BIN_EXE_corten"), "config", "check", "--config", fifo.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(1), "it waits for a writer");
    assert!(text(&checked.stderr).contains("not a regular file"), "{}", text(&checked.stderr));
}

#[test]
fn who_is_not_root_is_told_to_be() {
    use std::os::unix::process::CommandExt;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let settings = format!(
        "state_dir = \"{0}/run\"\ndata_dir = \"{0}/data\"\n[runtime]\nshim = \"/bin/true\"\npause = \"/bin/true\"\n",
        directory.path().display()
    );
    std::fs::write(directory.path().join("corten.toml"), settings).unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = directory.path().join("corten");
    std::fs::copy(env!("CARGO_BIN_EXE_corten"), &program).unwrap();
    let file = directory.path().join("corten.toml");
    let tried = Command::new(program)
        .args(["serve", "--config", file.to_str().unwrap()])
        .uid(65534)
        .gid(65534)
        .output();
    let told = text(&tried.unwrap().stderr).to_owned();
    assert!(told.ends_with(": run this as root\n"), "{told}");
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
        format!(
            "\ncorten: on this host: {at}:11: `handlers.other.binary`: /etc/passwd: not an executable file: pods of"
        ),
    ] {
        assert!(said.contains(&part), "{part} in {said}");
    }
    let checked = corten(&["config", "check", "--no-host", "--config", file.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(0));
}

/// What the check says of a host, a line each, without the part that all have, for settings in a directory.
fn lacks(directory: &std::path::Path, settings: &str) -> Vec<String> {
    let file = directory.join("corten.toml");
    std::fs::write(&file, settings.replace("DIR", directory.to_str().unwrap())).unwrap();
    std::fs::create_dir_all(directory.join("conf.d")).unwrap();
    let programs = "[runtime]\nshim = \"/bin/true\"\npause = \"/bin/true\"\n";
    std::fs::write(directory.join("conf.d/programs.toml"), programs).unwrap();
    let output = corten(&["config", "check", "--config", file.to_str().unwrap()]);
    let lines = text(&output.stderr).lines().map(|line| {
        let line = line.strip_prefix("corten: on this host: ").unwrap_or_else(|| panic!("{line}"));
        line.replace(&format!("{}/", directory.display()), "")
    });
    let lines: Vec<String> = lines.collect();
    assert_eq!(output.status.success(), lines.is_empty(), "{lines:?}");
    let checked = corten(&["config", "check", "--no-host", "--config", file.to_str().unwrap()]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    lines
}

#[test]
fn the_check_tells_of_directories_and_addresses_that_cannot_be() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::os::unix::fs::symlink(path("nowhere"), path("link")).unwrap();
    std::fs::write(path("file"), "").unwrap();
    for (settings, expected) in [
        (
            "data_dir = \"/proc/corten\"\n",
            "corten.toml:1: `data_dir`: /proc lies on proc, where nothing can be kept",
        ),
        (
            "data_dir = \"DIR/link/data\"\n",
            "corten.toml:1: `data_dir`: link is a link to nowhere: No such file",
        ),
        ("state_dir = \"DIR/file\"\n", "corten.toml:1: `state_dir`: file is no directory"),
        ("socket = \"DIR/file/sock\"\n", "corten.toml:1: `socket`: file is no directory"),
        ("socket = \"DIR/file\"\n", "corten.toml:1: `socket`: file exists and is no socket"),
        ("metrics.address = \"DIR\"\n", "corten.toml:1: `metrics.address`: "),
        ("runtime.netns_dir = \"/sys/netns\"\n", "corten.toml:1: `runtime.netns_dir`: /sys lies on sysfs"),
        ("network.conf_dir = \"DIR/link\"\n", "corten.toml:1: `network.conf_dir`: link is a link to nowhere"),
        ("images.certs_dir = \"DIR/file\"\n", "corten.toml:1: `images.certs_dir`: file is no directory"),
        ("nri.plugin_path = \"DIR/file\"\n", "corten.toml:1: `nri.plugin_path`: file is no directory"),
        (
            "nri.socket_path = \"DIR/file\"\n",
            "corten.toml:1: `nri.socket_path`: file exists and is no socket",
        ),
        ("nri.socket_path = \"/proc/x/nri.sock\"\n", "corten.toml:1: `nri.socket_path`: /proc lies on proc"),
        (
            "stream.address = \"192.0.2.1:0\"\n",
            "corten.toml:1: `stream.address`: 192.0.2.1 is no address of this",
        ),
        (
            "metrics.address = \"192.0.2.1:9\"\n",
            "corten.toml:1: `metrics.address`: 192.0.2.1 is no address of this",
        ),
        (
            "handlers.a = { type = \"native\", rlimits = { nofile = \"9999999999\" } }\n",
            "corten.toml:1: `handlers.a.rlimits`: the host allows less: nofile is at most ",
        ),
    ] {
        let lines = lacks(directory.path(), settings);
        let found = lines.iter().any(|line| line.contains(expected));
        assert!(found && lines.len() == 1, "{settings} gives {lines:?}");
    }
    assert!(!path("nowhere").exists(), "nothing is made");
}

#[test]
fn the_check_tells_whose_the_daemons_directories_are() {
    if !need::root("it takes root to give a directory away") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("theirs")).unwrap();
    std::os::unix::fs::chown(directory.path().join("theirs"), Some(65534), None).unwrap();
    let lines = lacks(directory.path(), "data_dir = \"DIR/theirs\"\n");
    assert_eq!(lines, ["corten.toml:1: `data_dir`: theirs belongs to user 65534, not to 0"]);
}

#[test]
fn the_check_asks_the_kernel_for_what_every_pod_would_get() {
    if !need::root("namespaces are made") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let settings =
        "[runtime]\ndefault_sysctls = { \"net.core.somaxconn\" = \"abc\", \"net.core.bogus\" = \"1\" }\n";
    let lines = lacks(directory.path(), settings);
    let at = "corten.toml:2: `runtime.default_sysctls`: ";
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0], format!("{at}\"net.core.somaxconn\": the kernel does not take \"abc\""));
    assert_eq!(lines[1], format!("{at}\"net.core.bogus\": this kernel has none: pods do without it"));
    let file = directory.path().join("corten.toml");
    let served = corten(&["serve", "--config", file.to_str().unwrap()]);
    assert_eq!(served.status.code(), Some(1));
    assert!(text(&served.stderr).contains("does not take \"abc\""), "{}", text(&served.stderr));
}

#[test]
fn the_check_tells_what_is_broken_in_the_files_that_settings_lead_to() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let settings =
        "images.certs_dir = \"DIR/certs.d\"\nnetwork.conf_dir = \"DIR/net.d\"\nnetwork.bin_dirs = []\n";
    assert!(lacks(directory.path(), settings).is_empty());
    write(
        "certs.d/_default/hosts.toml",
        "[host.\"https://mirror.example\"]\n\ncapabilites = [\"pull\"]\nskipverify = true\n",
    );
    write("certs.d/a.example_5000_/hosts.toml", "ca = \"missing.pem\"\n");
    write("certs.d/b.example/hosts.toml", "server = \n");
    write("certs.d/c.example/hosts.toml", "ca = \"empty.pem\"\n");
    write("certs.d/c.example/empty.pem", "");
    write("certs.d/d.example/hosts.toml", "server = \"https://d.example\"\n");
    write("net.d/05-broken.conflist", "{\"name\": \"x\",\n");
    write(
        "net.d/10-x.conflist",
        "{\"cniVersion\": \"1.0.0\", \"name\": \"x\", \"plugins\": [{\"type\": \"calico\"}]}",
    );
    let lines = lacks(directory.path(), settings);
    let expected = [
        "corten.toml:1: `images.certs_dir`: certs.d/_default/hosts.toml:3: unknown key host.\"https://mirror.example\".capabilites, did you mean `capabilities`?",
        "corten.toml:1: `images.certs_dir`: certs.d/_default/hosts.toml:4: unknown key host.\"https://mirror.example\".skipverify, did",
        "corten.toml:1: `images.certs_dir`: certs.d/a.example_5000_/hosts.toml:1: the ca certs.d/a.example_5000_/missing.pem: No such file",
        "corten.toml:1: `images.certs_dir`: certs.d/b.example/hosts.toml:1: ",
        "corten.toml:1: `images.certs_dir`: certs.d/c.example/hosts.toml:1: the ca certs.d/c.example/empty.pem: it holds no certificate",
        "corten.toml:2: `network.conf_dir`: net.d/05-broken.conflist: ",
        "corten.toml:2: `network.conf_dir`: no CNI plugin calico in ",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line} does not begin with {expected}");
    }
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
fn a_missing_file_is_told_by_whoever_looks_for_the_daemon_with_it() {
    for command in [&["config", "status"][..], &["image", "ls"][..]] {
        let output = corten(&[command, &["--config", "/nonexistent/corten.toml"]].concat());
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains("cannot read /nonexistent/corten.toml: No such file"), "{said}");
    }
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
