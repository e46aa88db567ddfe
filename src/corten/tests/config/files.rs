//! Files that settings name.

use super::{corten, lacks, text};

#[test]
fn every_file_that_a_setting_names_is_to_be_there() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("empty"), "\n").unwrap();
    std::fs::write(directory.path().join("wrong"), "partitions: {p: {l3Allocation: 101%}}\n").unwrap();
    for (settings, key, reason) in [
        ("[metrics]\ntoken_file = \"DIR/no\"\n", "metrics.token_file", "no: No such file"),
        ("[metrics]\ntoken_file = \"DIR/empty\"\n", "metrics.token_file", "empty: it is empty"),
        (
            "[metrics]\ntls_cert_file = \"DIR/no\"\ntls_key_file = \"DIR/no\"\n",
            "metrics.tls_cert_file",
            "read no: I/O error: No such file",
        ),
        (
            "[stream]\ntls_cert_file = \"DIR/no\"\ntls_key_file = \"DIR/no\"\n",
            "stream.tls_cert_file",
            "read no: I/O error: No such file",
        ),
        (
            "[tracing]\nca_file = \"DIR/no\"\nendpoint = \"https://c.example:4317\"\n",
            "tracing.ca_file",
            "no: No such file",
        ),
        (
            "[tracing]\nca_file = \"DIR/empty\"\nendpoint = \"https://c.example:4317\"\n",
            "tracing.ca_file",
            "empty has no certificate",
        ),
        ("runtime.blockio_config_file = \"DIR/no\"\n", "runtime.blockio_config_file", "no: No such file"),
        ("runtime.rdt_config_file = \"DIR/no\"\n", "runtime.rdt_config_file", "no: No such file"),
        (
            "runtime.rdt_config_file = \"DIR/wrong\"\n",
            "runtime.rdt_config_file",
            "wrong: partition \"p\": l3Allocation",
        ),
    ] {
        let lines = lacks(directory.path(), settings);
        let told = lines.iter().any(|line| line.contains(&format!(": `{key}`: ")) && line.contains(reason));
        assert!(told && lines.len() == 1, "{settings} gives {lines:?}");
    }
}

#[test]
fn a_file_that_is_right_is_a_success_though_the_host_has_not_what_it_is_about() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("blockio"), "Classes: {slow: [{Devices: [/dev/no-such], Weight: 80}]}\n").unwrap();
    std::fs::write(path("rdt"), "partitions: {p: {classes: {gold: }}}\n").unwrap();
    let settings = |files: &str| {
        let programs = "[runtime]\nshim = \"/bin/true\"\npause = \"/bin/true\"\n";
        std::fs::write(path("corten.toml"), format!("{programs}{files}")).unwrap();
        corten(&["config", "check", "--config", path("corten.toml").to_str().unwrap()])
    };
    let output = settings(&format!("blockio_config_file = {:?}\n", path("blockio")));
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.starts_with("corten: on this host: ") && said.contains("`runtime.blockio_config_file`: "),
        "{said}"
    );
    assert!(said.contains("class \"slow\": this host has no block device /dev/no-such"), "{said}");
    assert!(text(&output.stdout).contains("corten.toml: ok"), "{}", text(&output.stdout));
    if !std::path::Path::new("/sys/fs/resctrl/schemata").exists() {
        let output = settings(&format!("rdt_config_file = {:?}\n", path("rdt")));
        let said = text(&output.stderr);
        assert!(output.status.success() && said.contains("the host has no resctrl filesystem"), "{said}");
    }
    // What is wrong beside it is told with it, and fails.
    let output = settings(&format!(
        "blockio_config_file = {:?}\n[metrics]\ntoken_file = \"/no/such\"\n",
        path("blockio")
    ));
    let said = text(&output.stderr);
    assert!(
        !output.status.success() && said.contains("/dev/no-such") && said.contains("metrics.token_file"),
        "{said}"
    );
}
