#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::{Value, json};

fn base() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "root": { "path": "/" },
        "process": { "args": ["sh"], "cwd": "/", "user": { "uid": 0, "gid": 0 } },
        "linux": { "namespaces": [{ "type": "mount" }, { "type": "pid" }, { "type": "uts" }] }
    })
}

fn checked(change: impl FnOnce(&mut Value)) -> std::result::Result<(), String> {
    let mut value = base();
    change(&mut value);
    spec(&serde_json::from_value(value).unwrap()).map_err(|error| error.to_string())
}

#[test]
fn a_plain_configuration_passes() {
    checked(|_| {}).unwrap();
    checked(|spec| {
        spec["linux"]["resources"] = json!({
            "cpu": { "shares": 100 }, "memory": { "limit": 1 << 30, "reservation": 0 }, "blockIO": {},
            "devices": [{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" }]
        });
    })
    .unwrap();
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    let table: [(&str, &str, Value); 11] = [
        ("ociVersion", "ociVersion", json!("2.0.0")),
        ("ociVersion", "ociVersion", json!("one")),
        ("process.args", "process/args", json!([])),
        ("process.cwd", "process/cwd", json!("tmp")),
        ("linux.namespaces", "linux/namespaces", json!([{ "type": "pid" }])),
        ("linux.namespaces", "linux/namespaces", json!([{ "type": "mount" }, { "type": "mount" }])),
        (
            "a mount namespace to join",
            "linux/namespaces",
            json!([{ "type": "mount", "path": "/proc/1/ns/mnt" }]),
        ),
        ("linux.personality", "linux/personality", json!({ "domain": "LINUX32" })),
        ("linux.resources.memory.swappiness", "linux/resources", json!({ "memory": { "swappiness": 10 } })),
        ("linux.resources.blockIO", "linux/resources", json!({ "blockIO": { "weight": 10 } })),
        (
            "linux.resources.devices",
            "linux/resources",
            json!({ "devices": [{ "allow": true, "type": "a" }, { "allow": false, "type": "c", "major": 1, "minor": 3 }] }),
        ),
    ];
    for (told, path, value) in table {
        let error = checked(|spec| {
            let mut at = spec;
            for part in path.split('/') {
                at = &mut at[part];
            }
            *at = value.clone();
        })
        .unwrap_err();
        assert!(error.contains(told), "{path}: {error}");
    }
}

#[test]
fn ids_and_user_namespaces_go_together() {
    let ids = json!([{ "containerID": 0, "hostID": 1000, "size": 10 }]);
    let error = checked(|spec| spec["linux"]["uidMappings"] = ids.clone()).unwrap_err();
    assert!(error.contains("linux.uidMappings"), "{error}");
    let namespaces = json!([{ "type": "mount" }, { "type": "user" }]);
    let error = checked(|spec| {
        spec["linux"]["namespaces"] = namespaces.clone();
        spec["linux"]["uidMappings"] = ids.clone();
    })
    .unwrap_err();
    assert!(error.contains("linux.gidMappings"), "{error}");
    let whole = |user: u32| {
        let mut value = base();
        value["linux"] = json!({ "namespaces": namespaces, "uidMappings": ids, "gidMappings": ids });
        value["process"]["user"] = json!({ "uid": user, "gid": 0 });
        mapped(&serde_json::from_value(value).unwrap()).map_err(|error| error.to_string())
    };
    whole(9).unwrap();
    assert!(whole(10).unwrap_err().contains("process.user.uid: 10"));
}
