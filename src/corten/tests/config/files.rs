//! Files that settings name.

use super::lacks;

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
