//! What settings say of plugins.

use super::{corten, text};

#[test]
fn a_plugin_that_none_can_be_called_as_is_not_required() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("corten.toml");
    for (names, wrong) in [
        ("\"policy\", \"10-policy\", \"a.b+c_d\"", None),
        ("\"policy\", \"pol icy\"", Some("\"pol icy\" is no name of a plugin")),
        ("\"\"", Some("\"\" is no name of a plugin")),
    ] {
        let settings = format!("[nri.default_validator]\nenable = true\nrequired_plugins = [{names}]\n");
        std::fs::write(&file, settings).unwrap();
        let output = corten(&["config", "check", "--no-host", "--config", file.to_str().unwrap()]);
        let said = text(&output.stderr);
        assert_eq!(output.status.success(), wrong.is_none(), "{names}: {said}");
        assert!(
            wrong.is_none_or(|wrong| said.contains(wrong) && said.contains("required_plugins")),
            "{said}"
        );
    }
}

#[test]
fn an_annotation_that_no_pod_can_have_lets_none_do_without_plugins() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("corten.toml");
    let long = "x".repeat(64);
    for (key, is_right) in [
        ("", true),
        ("tolerate-missing-plugins.noderesource.dev", true),
        ("example.com/Without_plugins.v1", true),
        ("not a key", false),
        ("a/b/c", false),
        ("Example.com/x", false),
        ("-x", false),
        ("/x", false),
        ("example..com/x", false),
        (&long, false),
    ] {
        let name = "tolerate_missing_plugins_annotation";
        std::fs::write(&file, format!("[nri.default_validator]\n{name} = {key:?}\n")).unwrap();
        let output = corten(&["config", "check", "--no-host", "--config", file.to_str().unwrap()]);
        let said = text(&output.stderr);
        assert_eq!(output.status.success(), is_right, "{key}: {said}");
        assert!(is_right || said.contains(name) && said.contains("is no key of an annotation"), "{said}");
    }
}
