//! What operators rely on: the printed defaults are the defaults, and every mistake is named with its place.
#![allow(clippy::unwrap_used)]

mod mistakes;

use super::*;
use serde_json::Value as Json;
use std::path::PathBuf;

/// A configuration directory that goes away with the test.
struct Etc(tempfile::TempDir);

impl Etc {
    fn new(main: &str) -> Self {
        let etc = Self(tempfile::tempdir().unwrap());
        fs::write(etc.main(), main).unwrap();
        etc
    }

    fn main(&self) -> PathBuf {
        self.0.path().join("corten.toml")
    }

    fn drop_in(&self, name: &str, text: &str) {
        let directory = self.0.path().join("conf.d");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), text).unwrap();
    }

    fn load(&self) -> Loaded {
        load(Some(&self.main())).unwrap()
    }

    /// The refusal, with the directory's random name taken out.
    fn refusal(&self) -> String {
        let text = load(Some(&self.main())).unwrap_err().to_string();
        text.replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn refusal(main: &str) -> String {
    Etc::new(main).refusal()
}

/// The settings as nested objects. Unset ones are there too, as null.
fn json(config: &Config) -> Json {
    serde_json::to_value(config).unwrap()
}

fn keys(prefix: &str, value: &Json, found: &mut Vec<String>) {
    // Settings that are maps of names are one value each.
    let is_map = ["runtime.default_sysctls", "runtime.rlimits"].contains(&prefix);
    let Some(entries) = value.as_object().filter(|_| !is_map) else {
        return found.push(prefix.to_owned());
    };
    for (key, value) in entries {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        keys(&key, value, found);
    }
}

#[test]
fn the_printed_defaults_are_the_defaults() {
    let (mut root, mistakes) = Node::parse(Path::new("corten.toml"), DEFAULT_TEXT);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    assert_eq!(json(&settings(&mut root, &[], &[]).unwrap()), json(&Config::default()));
}

#[test]
fn the_printed_defaults_name_and_explain_every_key() {
    let (root, _) = Node::parse(Path::new("corten.toml"), DEFAULT_TEXT);
    let lines: Vec<&str> = DEFAULT_TEXT.lines().collect();
    let mut all = Vec::new();
    keys("", &json(&Config::default()), &mut all);
    assert!(all.len() > 30, "{all:?}");
    for key in all {
        let place = root.place_of(&key).unwrap_or_else(|| panic!("{key} is missing"));
        let name = key.rsplit('.').next().unwrap();
        assert!(lines[place.line - 1].starts_with(&format!("{name} = ")), "{key} at {place}");
        // Two keys that belong together may share one explanation.
        let above = lines[..place.line - 1].iter().rev().take_while(|line| !line.is_empty());
        assert!(above.into_iter().any(|line| line.starts_with("# ")), "{key} is not explained");
    }
}

#[test]
fn without_any_file_the_defaults_apply() {
    let mut root = Node::empty();
    assert_eq!(json(&settings(&mut root, &[], &[]).unwrap()), json(&Config::default()));
    assert_eq!(json(&Etc::new("").load().config), json(&Config::default()));
}

#[test]
fn a_named_file_has_to_exist() {
    let error = load(Some(Path::new("/nonexistent/corten.toml"))).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /nonexistent/corten.toml: No such file"), "{error}");
}

#[test]
fn the_state_directory_is_known_of_files_that_are_refused() {
    for (main, wanted) in [
        ("state_dir = \"/srv/run\"\nwrong = 1\n", "/srv/run"),
        ("state_dir = \"/srv/run\"\n[log]\nlevel = info\n", "/srv/run"),
        ("state_dir = 5\n", "/run/corten"),
        ("", "/run/corten"),
    ] {
        assert_eq!(state_dir(Some(&Etc::new(main).main())).unwrap(), Path::new(wanted), "{main}");
    }
    assert!(state_dir(Some(Path::new("/nonexistent/corten.toml"))).is_err());
}

#[test]
fn drop_ins_are_merged_in_the_order_of_their_names() {
    let etc = Etc::new("data_dir = \"/srv/corten\"\n[log]\nlevel = \"warn\"\nformat = \"json\"\n");
    etc.drop_in("20-b.toml", "[log]\nlevel = \"trace\"\n");
    etc.drop_in(
        "10-a.toml",
        "[log]\nlevel = \"debug\"\n[runtime]\npids_limit = 7\ndefault_capabilities = []\n",
    );
    etc.drop_in(".30-hidden.toml", "[log]\nlevel = \"error\"\n");
    etc.drop_in("40-note.txt", "no settings");
    let Loaded { config, files, .. } = etc.load();
    assert_eq!((config.log.level.as_str(), config.log.format), ("trace", LogFormat::Json));
    assert_eq!(config.runtime.pids_limit, 7);
    assert!(config.runtime.default_capabilities.is_empty(), "a list is replaced as a whole");
    let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["corten.toml", "10-a.toml", "20-b.toml"]);
    assert_eq!(config.images.root, Path::new("/srv/corten/images"), "follows data_dir");
    assert_eq!(config.network.data_dir, Path::new("/srv/corten/network"));
}

#[test]
fn every_address_for_metrics_reads_back() {
    for text in ["", "127.0.0.1:10290", "[::1]:0", "/run/corten/metrics.sock"] {
        assert_eq!(text.parse::<MetricsAddress>().unwrap().to_string(), text);
    }
    assert!("10290".parse::<MetricsAddress>().is_err());
}

#[test]
fn the_unit_waits_for_a_network_plugin_unless_a_file_says_otherwise() {
    let unit = include_str!("../../../config/corten.service");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    assert!(start.ends_with(" serve --no-builtin-network --cadvisor"), "{start}");
    let etc = Etc::new("");
    let builtin = |defaults| load_over(defaults, Some(&etc.main())).unwrap().config.network.builtin_network;
    assert!(builtin(""), "corten serve alone has a network");
    assert!(!builtin(NO_BUILTIN_NETWORK));
    etc.drop_in("10-network.toml", "[network]\nbuiltin_network = true\n");
    assert!(builtin(NO_BUILTIN_NETWORK));
}

#[test]
fn directories_of_registries_are_one_or_several_in_both_forms() {
    let one = Etc::new("images.certs_dir = \"/a\"\n").load().config.images.certs_dir;
    assert_eq!(one.to_string(), "/a");
    let colons = Etc::new("images.certs_dir = \"/a:/b/c\"\n").load().config.images.certs_dir;
    let list = Etc::new("images.certs_dir = [\"/a\", \"/b/c\"]\n").load().config.images.certs_dir;
    assert_eq!(colons, list);
    assert_eq!(list.paths(), [Path::new("/a"), Path::new("/b/c")]);
    for (written, told) in [
        ("\"/a:b\"", "`b` is no absolute path"),
        ("[\"/a\", \"/\"]", "is the root directory"),
        ("[]", "names no directory"),
        ("\"\"", "names no directory"),
        ("7", "expected a path in quotes, several with colons between them, or a list of paths, found 7"),
    ] {
        let refusal = refusal(&format!("images.certs_dir = {written}\n"));
        assert!(refusal.contains(told), "{written}: {refusal}");
    }
}

#[test]
fn paths_that_depend_on_where_the_daemon_is_started_are_refused() {
    for (setting, key) in [
        ("[runtime]\nblockio_config_file = \"b.yaml\"\n", "runtime.blockio_config_file"),
        ("[runtime]\nrdt_config_file = \"../r.yaml\"\n", "runtime.rdt_config_file"),
        ("[runtime]\nrdt_config_file = \"/etc/../r.yaml\"\n", "runtime.rdt_config_file"),
        ("[runtime]\ncdi_spec_dirs = [\"/etc/cdi\", \"cdi\"]\n", "runtime.cdi_spec_dirs"),
        ("[runtime]\nshim = \"shim\"\n", "runtime.shim"),
        ("[nri]\nplugin_path = \"plugins\"\n", "nri.plugin_path"),
        ("[nri]\nplugin_config_path = \"conf.d\"\n", "nri.plugin_config_path"),
        ("[nri]\nsocket_path = \"nri.sock\"\n", "nri.socket_path"),
    ] {
        let said = refusal(setting);
        assert!(said.starts_with(&format!("corten.toml:2: `{key}`: `")), "{said}");
        assert!(said.contains("is no absolute path without `..`"), "{said}");
    }
    Etc::new("[runtime]\nblockio_config_file = \"\"\nrdt_config_file = \"\"\ncdi_spec_dirs = []\n").load();
}
