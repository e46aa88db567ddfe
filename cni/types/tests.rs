#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use serde_json::{Value, json};

fn full() -> Value {
    json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "cni0", "mac": "00:11:22:33:44:55", "mtu": 1500},
            {"name": "eth0", "mac": "99:88:77:66:55:44", "sandbox": "/run/netns/blue", "mtu": 1400,
             "socketPath": "/run/vhost.sock", "pciID": "0000:00:1f.6"},
        ],
        "ips": [
            {"interface": 1, "address": "10.1.0.5/16", "gateway": "10.1.0.1"},
            {"interface": 1, "address": "fd00::5/64", "gateway": "fd00::1"},
            {"interface": 1, "address": "10.2.0.5/24"},
        ],
        "routes": [
            {"dst": "0.0.0.0/0"},
            {"dst": "10.9.0.0/16", "gw": "10.1.0.9", "mtu": 1300, "advmss": 1200, "priority": 7, "table": 100, "scope": 253},
            {"dst": "::/0", "gw": "fd00::1"},
        ],
        "dns": {"nameservers": ["10.1.0.1"], "domain": "example.org", "search": ["a.example.org"], "options": ["ndots:2"]},
    })
}

#[test]
fn a_result_survives_its_own_version() {
    let result = CniResult::from_value(full(), Version::V0_1_0).unwrap();
    assert_eq!(result.to_value(Version::V1_1_0).unwrap(), full());
}

#[test]
fn each_version_says_what_it_can() {
    let result = CniResult::from_value(full(), Version::LATEST).unwrap();
    for version in Version::ALL {
        let value = result.to_value(version).unwrap();
        assert_eq!(value["cniVersion"], version.as_str());
        let back = CniResult::from_value(value.clone(), Version::LATEST).unwrap();
        assert_eq!(back.to_value(version).unwrap(), value, "{version} is stable");
        assert_eq!(back.dns, result.dns, "{version} keeps dns");
        if version < Version::V0_3_0 {
            assert_eq!(back.ips.len(), 2, "one address a family");
            assert_eq!(value["ip4"]["ip"], "10.1.0.5/16");
            assert_eq!(value["ip4"]["gateway"], "10.1.0.1");
            assert_eq!(value["ip4"]["routes"].as_array().unwrap().len(), 2);
            assert_eq!(value["ip6"]["routes"], json!([{"dst": "::/0", "gw": "fd00::1"}]));
            assert!(value.get("interfaces").is_none());
            continue;
        }
        assert_eq!(back.ips, result.ips);
        let tagged = version < Version::V1_0_0;
        assert_eq!(value["ips"][0].get("version"), tagged.then(|| json!("4")).as_ref(), "{version}");
        assert_eq!(value["ips"][1].get("version"), tagged.then(|| json!("6")).as_ref(), "{version}");
        let newest = version == Version::V1_1_0;
        assert_eq!(value["interfaces"][1].get("mtu").is_some(), newest, "{version}");
        assert_eq!(value["interfaces"][1].get("pciID").is_some(), newest, "{version}");
        for field in ["mtu", "advmss", "priority", "table", "scope"] {
            assert_eq!(value["routes"][1].get(field).is_some(), newest, "{version} {field}");
        }
    }
}

#[test]
fn a_result_without_address_cannot_become_old() {
    let empty = CniResult::default();
    assert!(matches!(empty.to_value(Version::V0_2_0), Err(TypesError::Conversion { .. })));
    assert_eq!(empty.to_value(Version::V0_3_1).unwrap(), json!({"cniVersion": "0.3.1"}));
}

#[test]
fn results_are_read_as_go_prints_them() {
    let value = json!({"ips": [{"interface": -1, "address": "10.0.0.2/24", "gateway": ""}],
                       "routes": null, "interfaces": null, "dns": {"nameservers": null}});
    let result = CniResult::from_value(value, Version::V1_0_0).unwrap();
    assert_eq!(result.ips[0].interface, None);
    assert_eq!(result.ips[0].gateway, None);
    assert!(result.dns.is_empty());
}

#[test]
fn malformed_results_are_errors() {
    for value in [
        json!([]),
        json!("text"),
        json!(null),
        json!({"cniVersion": 1}),
        json!({"cniVersion": "9.0.0"}),
        json!({"ips": [{"address": "10.0.0.300/24"}]}),
        json!({"ips": [{"address": "10.0.0.3"}]}),
        json!({"ips": [{"address": "10.0.0.3/24", "interface": 0}]}),
        json!({"ips": {}}),
        json!({"routes": [{"gw": "10.0.0.1"}]}),
    ] {
        assert!(CniResult::from_value(value.clone(), Version::LATEST).is_err(), "{value}");
    }
}

#[test]
fn a_list_and_a_single_plugin_are_read() {
    let list = NetworkConfigList::parse(
        br#"{"name": "net", "cniVersion": "1.0.0", "disableCheck": "true", "disableGC": true,
             "plugins": [{"type": "bridge", "ipam": {"type": "host-local"}, "x": [1]}, {"type": "portmap",
             "capabilities": {"portMappings": true, "other": false}}]}"#,
    )
    .unwrap();
    assert_eq!((list.cni_version, list.disable_check, list.disable_gc), (Version::V1_0_0, true, true));
    assert_eq!(list.plugins[0].plugin_type(), "bridge");
    assert_eq!(list.plugins[0].get("x"), Some(&json!([1])));
    assert!(list.plugins[1].has_capability("portMappings"));
    assert!(!list.plugins[1].has_capability("other"));
    let again: NetworkConfigList = serde_json::from_value(serde_json::to_value(&list).unwrap()).unwrap();
    assert_eq!(again, list);

    let single =
        NetworkConfigList::parse(br#"{"name": "net", "cniVersion": "0.4.0", "type": "ptp"}"#).unwrap();
    assert_eq!(single.plugins.len(), 1);
    assert!(single.load_only_inlined_plugins);
}

#[test]
fn the_newest_known_version_is_spoken() {
    let table = [
        (r#""cniVersion": "0.3.1""#, Some(Version::V0_3_1)),
        (r#""cniVersion": """#, Some(Version::V0_1_0)),
        (r#""disableGC": false"#, Some(Version::V0_1_0)),
        (r#""cniVersion": "0.4.0", "cniVersions": ["0.3.1", "1.0.0"]"#, Some(Version::V1_0_0)),
        (r#""cniVersion": "0.4.0", "cniVersions": ["1.1.0", "9.9.9"]"#, Some(Version::V1_1_0)),
        (r#""cniVersion": "9.9.9", "cniVersions": ["1.0.0"]"#, Some(Version::V1_0_0)),
        (r#""cniVersion": "9.9.9""#, None),
        (r#""cniVersion": 1"#, None),
        (r#""cniVersions": "1.0.0""#, None),
        (r#""cniVersions": [1]"#, None),
    ];
    for (fields, expected) in table {
        let text = format!(r#"{{"name": "n", "plugins": [{{"type": "t"}}], {fields}}}"#);
        let version = NetworkConfigList::parse(text.as_bytes()).map(|list| list.cni_version).ok();
        assert_eq!(version, expected, "{fields}");
    }
}

#[test]
fn malformed_configurations_are_errors() {
    for text in [
        "",
        "[]",
        "{",
        r#"{"plugins": [{"type": "bridge"}]}"#,
        r#"{"name": 1, "plugins": [{"type": "bridge"}]}"#,
        r#"{"name": "", "plugins": [{"type": "bridge"}]}"#,
        r#"{"name": "../n", "plugins": [{"type": "bridge"}]}"#,
        r#"{"name": "-n", "plugins": [{"type": "bridge"}]}"#,
        r#"{"name": "n", "plugins": []}"#,
        r#"{"name": "n", "plugins": {}}"#,
        r#"{"name": "n", "plugins": ["bridge"]}"#,
        r#"{"name": "n", "plugins": [{}]}"#,
        r#"{"name": "n", "plugins": [{"type": ""}]}"#,
        r#"{"name": "n", "plugins": [{"type": 1}]}"#,
        r#"{"name": "n", "plugins": [{"type": "../evil"}]}"#,
        r#"{"name": "n", "plugins": [{"type": "/bin/sh"}]}"#,
        r#"{"name": "n", "plugins": [{"type": ".."}]}"#,
        r#"{"name": "n", "plugins": [{"type": "bridge", "ipam": {"type": "a/b"}}]}"#,
        r#"{"name": "n", "type": "a/b"}"#,
        r#"{"name": "n", "disableCheck": 1, "plugins": [{"type": "bridge"}]}"#,
        r#"{"name": "n", "loadOnlyInlinedPlugins": true}"#,
    ] {
        assert!(NetworkConfigList::parse(text.as_bytes()).is_err(), "{text}");
    }
    let later = NetworkConfigList::parse(br#"{"name": "n"}"#).unwrap();
    assert!(matches!(later.validate(), Err(TypesError::NoPlugins)));
}

#[test]
fn names_of_networks_and_interfaces() {
    for (name, valid) in
        [("a", true), ("a_b.c-d", true), ("9", true), ("", false), ("_a", false), ("a b", false)]
    {
        assert_eq!(valid_name(name), valid, "{name:?}");
    }
    for (name, valid) in [
        ("eth0", true),
        ("a234567890123456", false),
        ("", false),
        (".", false),
        ("..", false),
        ("a/b", false),
        ("a:b", false),
        ("a b", false),
    ] {
        assert_eq!(valid_interface_name(name), valid, "{name:?}");
    }
}

#[test]
fn errors_have_the_shape_of_the_specification() {
    let error = CniError::new(CniError::TRY_AGAIN_LATER, "busy").with_details("lock").with_version("1.1.0");
    let value = serde_json::to_value(&error).unwrap();
    assert_eq!(value, json!({"cniVersion": "1.1.0", "code": 11, "msg": "busy", "details": "lock"}));
    assert_eq!(error.to_string(), "busy; lock (it may work later)");
    assert_eq!(error.kind(), model::ErrorKind::Unavailable);
    let version = CniError::from(Version::parse("7").unwrap_err());
    assert_eq!(version.code, CniError::INCOMPATIBLE_VERSION);
}

#[test]
fn a_previous_result_is_read_in_its_own_version() {
    let conf = PluginConfig::parse(
        br#"{"type": "t", "cniVersion": "1.0.0", "prevResult": {"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.2/8"}}}"#,
    )
    .unwrap();
    assert_eq!(conf.prev_result().unwrap().unwrap().ips.len(), 1);
}
