#![allow(clippy::unwrap_used)]

use super::*;
use crate::spec::tests::Case;
use tempfile::TempDir;

const YAML: &str = r#"
cdiVersion: "0.6.0"
kind: vendor.com/class
devices:
  - name: zero
    containerEdits:
      deviceNodes:
        - path: /dev/vendor0
          hostPath: /dev/zero
          permissions: rw
      env: ["DEVICE=zero"]
containerEdits:
  env: ["VENDOR=1", "PATH=/vendor/bin"]
  additionalGids: [0, 44]
  mounts:
    - hostPath: /etc
      containerPath: /vendor/etc
      options: [ro, rbind]
"#;

fn json(name: &str, edits: &str) -> String {
    format!(
        r#"{{"cdiVersion": "1.0.0", "kind": "vendor.com/class",
            "devices": [{{"name": "{name}", "containerEdits": {edits}}}]}}"#
    )
}

fn registry() -> (TempDir, Registry) {
    let dir = tempfile::tempdir().unwrap();
    let dirs = ["low", "high"].map(|name| dir.path().join(name));
    dirs.iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
    (dir, Registry::new(dirs.to_vec()))
}

fn inject(registry: &Registry, names: &[&str]) -> OciResult<Spec> {
    let mut spec = Case::new().spec().unwrap();
    let names: Vec<String> = names.iter().map(|name| format!("vendor.com/class={name}")).collect();
    registry.inject(&mut spec, &names).map(|()| spec)
}

fn refused(registry: &Registry, name: &str) -> String {
    inject(registry, &[name]).unwrap_err().to_string()
}

#[test]
fn a_device_brings_what_its_file_says() {
    let (dir, registry) = registry();
    std::fs::write(dir.path().join("low/vendor.yaml"), YAML).unwrap();
    let spec = inject(&registry, &["zero"]).unwrap();
    let process = spec.process().as_ref().unwrap();
    let env = process.env().as_ref().unwrap();
    for pair in ["VENDOR=1", "PATH=/vendor/bin", "DEVICE=zero"] {
        assert!(env.iter().any(|known| known == pair), "{env:?}");
    }
    assert_eq!(env.iter().filter(|pair| pair.starts_with("PATH=")).count(), 1);
    assert!(process.user().additional_gids().as_ref().unwrap().ends_with(&[44]));
    let linux = spec.linux().as_ref().unwrap();
    let node = &linux.devices().as_ref().unwrap()[0];
    assert_eq!((node.path().as_path(), node.major(), node.minor()), (Path::new("/dev/vendor0"), 1, 5));
    let rules = linux.resources().as_ref().unwrap().devices().as_ref().unwrap();
    assert_eq!(rules.last().unwrap().access().as_deref(), Some("rw"));
    let mounts = spec.mounts().as_ref().unwrap();
    assert!(mounts.iter().any(|mount| mount.destination() == Path::new("/vendor/etc")));
}

#[test]
fn changes_count_and_damaged_files_hide_no_other() {
    let (dir, registry) = registry();
    let file = dir.path().join("low/one.json");
    assert!(refused(&registry, "a").contains("no specification of vendor.com/class=a in /"));
    std::fs::write(&file, json("a", r#"{"env": ["X=1"]}"#)).unwrap();
    std::fs::write(dir.path().join("low/broken.yaml"), "cdiVersion: [").unwrap();
    inject(&registry, &["a"]).unwrap();
    assert!(refused(&registry, "b").contains("broken.yaml"));
    std::fs::write(&file, json("other", r#"{"env": ["X=1"]}"#)).unwrap();
    inject(&registry, &["other"]).unwrap();
    refused(&registry, "a");
    std::fs::remove_file(file).unwrap();
    refused(&registry, "other");
}

#[test]
fn a_later_directory_wins_and_equals_conflict() {
    let (dir, registry) = registry();
    std::fs::write(dir.path().join("low/a.json"), json("a", r#"{"env": ["X=low"]}"#)).unwrap();
    std::fs::write(dir.path().join("high/a.json"), json("a", r#"{"env": ["X=high"]}"#)).unwrap();
    let spec = inject(&registry, &["a"]).unwrap();
    let env = spec.process().as_ref().unwrap().env().clone().unwrap();
    assert!(env.contains(&"X=high".to_owned()) && !env.contains(&"X=low".to_owned()), "{env:?}");
    std::fs::write(dir.path().join("high/b.json"), json("a", r#"{"env": ["X=too"]}"#)).unwrap();
    assert!(refused(&registry, "a").contains("both describe it"));
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    let (dir, registry) = registry();
    for (edits, part) in [
        (r#"{"hooks": [{"hookName": "preCreate", "path": "/bin/x"}]}"#, "preCreate"),
        (r#"{"hooks": [{"hookName": "poststop", "path": "bin/x"}]}"#, "poststop"),
        (r#"{"hooks": [{"hookName": "poststop", "path": "/bin/x", "timeout": 0}]}"#, "no time"),
        (r#"{"intelRdt": {"closID": "x"}}"#, "intelRdt"),
        (r#"{"netDevices": [{"hostInterfaceName": "eth1", "name": "eth1"}]}"#, "netDevices"),
        (r#"{"env": ["=x"]}"#, "environment"),
        (r#"{"deviceNodes": [{"path": "/dev/x", "permissions": "x"}]}"#, "permissions"),
        (r#"{"deviceNodes": [{"path": "/dev/absent-device"}]}"#, "/dev/absent-device"),
        (r#"{"mounts": [{"hostPath": "/absent", "containerPath": "/x"}]}"#, "/absent"),
        (r#"{"mounts": [{"hostPath": "/etc", "containerPath": "/"}]}"#, "containerPath"),
        (r#"{"unheard": 1}"#, "unheard"),
    ] {
        std::fs::write(dir.path().join("low/a.json"), json("a", edits)).unwrap();
        let text = refused(&registry, "a");
        assert!(text.starts_with("CDI_devices") && text.contains(part), "{edits}: {text}");
    }
}

#[test]
fn hooks_come_in_their_order() {
    let (dir, registry) = registry();
    let edits = r#"{"hooks": [
        {"hookName": "createContainer", "path": "/bin/x", "args": ["x", "a"], "env": ["A=b"], "timeout": 7},
        {"hookName": "createContainer", "path": "/bin/y"}, {"hookName": "prestart", "path": "/bin/z"},
        {"hookName": "createRuntime", "path": "/bin/r"}]}"#;
    std::fs::write(dir.path().join("low/a.json"), json("a", edits)).unwrap();
    let spec = inject(&registry, &["a"]).unwrap();
    let plan = crate::plan::hooks(&spec, b"{".to_vec(), 7).unwrap();
    let paths = |hooks: &[wire::plan::HookPlan]| -> Vec<String> {
        hooks.iter().map(|hook| String::from_utf8_lossy(&hook.path).into_owned()).collect()
    };
    assert_eq!(paths(&plan.create_container), ["/bin/x", "/bin/y"]);
    assert_eq!(paths(&plan.create_runtime), ["/bin/z", "/bin/r"]);
    let first = &plan.create_container[0];
    assert_eq!((first.timeout_seconds, first.args.len(), first.env.len()), (7, 2, 1));
}

#[test]
fn thousands_of_devices_and_variables_take_time_in_proportion() {
    let (dir, registry) = registry();
    let file = |count: usize| {
        let device = |n| {
            let node = format!(r#"{{"path": "/dev/v{n}", "type": "c", "major": 1, "minor": 3}}"#);
            format!(r#"{{"name": "{n}", "containerEdits": {{"env": ["V{n}=1"], "deviceNodes": [{node}]}}}}"#)
        };
        let devices: Vec<String> = (0..count).map(device).collect();
        let head = r#""cdiVersion": "1.0.0", "kind": "vendor.com/class""#;
        format!(r#"{{{head}, "devices": [{}]}}"#, devices.join(","))
    };
    crate::spec::tests::many::check("devices", 150, |count| {
        let path = dir.path().join("low/vendor.json");
        if std::fs::metadata(&path).is_err()
            || registry.scan()[0].document.as_ref().unwrap().devices.len() != count
        {
            std::fs::write(&path, file(count)).unwrap();
        }
        let names: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        let spec = inject(&registry, &names.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        let nodes = spec.linux().as_ref().unwrap().devices().as_ref().unwrap();
        assert_eq!(nodes.len(), count);
    });
}
