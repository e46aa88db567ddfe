//! `corten config dump`.

use super::{corten, text};

#[test]
fn the_settings_in_force_are_dumped_with_the_line_where_each_is_set() {
    let directory = tempfile::tempdir().unwrap();
    let (file, drop_in) =
        (directory.path().join("corten.toml"), directory.path().join("conf.d/10-more.toml"));
    std::fs::create_dir(directory.path().join("conf.d")).unwrap();
    std::fs::write(&file, "data_dir = \"/srv/corten\"\n[log]\nlevel = \"warn\"\n").unwrap();
    std::fs::write(&drop_in, "\n[log]\nlevel = \"debug\"\n[handlers.\"a.b\"]\ntype = \"native\"\n").unwrap();
    let config = file.to_str().unwrap();
    let dumped = corten(&["config", "dump", "--no-builtin-network", "--config", config]);
    let said = text(&dumped.stdout);
    let (file, drop_in) = (file.display(), drop_in.display());
    for line in [
        format!("data_dir = \"/srv/corten\"  # {file}:1"),
        format!("log.level = \"debug\"  # {drop_in}:3"),
        format!("handlers.\"a.b\".type = \"native\"  # {drop_in}:5"),
        "images.root = \"/srv/corten/images\"  # default".to_owned(),
        "network.builtin_network = false  # command line".to_owned(),
        "daemon.workers = 0  # default".to_owned(),
    ] {
        assert!(said.lines().any(|one| one == line), "no {line} in\n{said}");
    }
    // What it prints says the same to the daemon.
    let again = directory.path().join("again.toml");
    std::fs::write(&again, said).unwrap();
    let checked = corten(&["config", "check", "--no-host", "--config", again.to_str().unwrap()]);
    // The drop-in counts for it as well.
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    let json = corten(&["config", "dump", "--json", "--config", config]);
    let settings: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let level = settings.as_array().unwrap().iter().find(|one| one["key"] == "log.level").unwrap();
    assert_eq!((level["value"].as_str(), level["source"].as_str()), (Some("debug"), Some("file")));
    assert_eq!(
        (level["file"].as_str(), level["line"].as_u64()),
        (Some(drop_in.to_string().as_str()), Some(3))
    );
}
