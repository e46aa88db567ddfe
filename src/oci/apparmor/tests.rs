#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

struct Fake {
    enabled: bool,
    loadable: bool,
}

impl Node for Fake {
    fn is_enabled(&self) -> bool {
        self.enabled
    }

    fn holds(&self, name: &str) -> bool {
        lists("docker-default (enforce)\nodd (name) (complain)\n", name)
    }

    fn load_default(&self) -> OciResult<()> {
        if self.loadable { Ok(()) } else { Err(OciError::invalid(FIELD, "no parser")) }
    }
}

#[test]
fn the_decision_is_containerds() {
    use AppArmor::{Localhost, RuntimeDefault, Unconfined};
    let local = |name: &str| Some(Localhost(name.to_owned()));
    let table: [(bool, Option<AppArmor>, bool, Option<&str>); 10] = [
        (true, None, false, Some(DEFAULT)),
        (true, None, true, None),
        (true, Some(RuntimeDefault), false, Some(DEFAULT)),
        (true, Some(RuntimeDefault), true, None),
        (true, Some(Unconfined), false, None),
        (true, local("docker-default"), false, Some("docker-default")),
        (true, local("docker-default"), true, Some("docker-default")),
        (true, local("odd (name)"), false, Some("odd (name)")),
        (false, Some(RuntimeDefault), false, None),
        (false, None, false, None),
    ];
    for (enabled, request, privileged, expected) in table {
        let host = Fake { enabled, loadable: true };
        let found = decide(&host, request.as_ref(), privileged).unwrap();
        assert_eq!(found.as_deref(), expected, "{request:?} {privileged}");
    }
}

#[test]
fn a_profile_that_cannot_be_applied_is_refused() {
    let local = |name: &str| AppArmor::Localhost(name.to_owned());
    for (enabled, request) in [
        (true, local("docker")),
        (true, local("docker-default (enforce)")),
        (false, local("docker-default")),
        (true, AppArmor::RuntimeDefault),
    ] {
        let host = Fake { enabled, loadable: false };
        let error = decide(&host, Some(&request), false).unwrap_err().to_string();
        assert!(error.starts_with(FIELD), "{error}");
    }
}

#[test]
fn the_daemons_own_profile_is_read_and_quoted() {
    for (label, name) in [
        ("unconfined\n", "unconfined"),
        ("corten (enforce)\n", "corten"),
        ("odd (name) (complain)\0", "odd (name)"),
        ("", "unconfined"),
    ] {
        assert_eq!(profile_of(label), name);
    }
    assert_eq!(quoted("/usr/bin/corten"), "\"/usr/bin/corten\"");
    assert_eq!(quoted("a\"*,"), "\"a\\\"\\*\\,\"");
}

#[test]
fn the_parser_takes_the_built_in_profile() {
    let Some(parser) = PARSERS.iter().map(Path::new).find(|path| path.is_file()) else {
        need::skip(need::Need::System, "needs apparmor_parser");
        return;
    };
    for daemon in ["unconfined", "/usr/bin/corten", "odd (name) {*}"] {
        let mut child = Command::new(parser)
            .args(["--skip-kernel-load", "--skip-cache", "--quiet"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(default_profile(daemon).as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{daemon}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
