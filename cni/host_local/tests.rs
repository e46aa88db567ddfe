use super::*;
use crate::types::{Command, PluginConfig};
use serde_json::{Value, json};
use std::path::Path;

fn call(dir: &Path, container: &str, ipam: Value, extra: Value) -> Invocation {
    let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge", "ipam": ipam});
    conf["ipam"]["type"] = json!("host-local");
    conf["ipam"]["dataDir"] = json!(dir);
    for (key, value) in extra.as_object().unwrap() {
        conf[key] = value.clone();
    }
    Invocation {
        command: Command::Add,
        container_id: container.to_owned(),
        ifname: "eth0".to_owned(),
        netns: None,
        args: Vec::new(),
        path: Vec::new(),
        conf: PluginConfig::try_from(conf).unwrap(),
        skip_link_delete: false,
    }
}

fn small() -> Value {
    json!({"ranges": [[{"subnet": "10.9.0.0/29"}]]})
}

fn addresses(result: &CniResult) -> Vec<String> {
    result.ips.iter().map(|ip| ip.address.to_string()).collect()
}

#[test]
fn addresses_go_round_and_run_out() {
    let leases = Leases::default();
    let dir = tempfile::tempdir().unwrap();
    let add = |id: &str| super::add(&leases, &call(dir.path(), id, small(), json!({})));
    let del = |id: &str| super::del(&leases, &call(dir.path(), id, small(), json!({})));
    for last in 2..=6 {
        let result = add(&format!("c{last}")).unwrap();
        assert_eq!(addresses(&result), [format!("10.9.0.{last}/29")]);
        assert_eq!(result.ips[0].gateway, Some("10.9.0.1".parse().unwrap()));
    }
    assert!(add("c7").unwrap_err().msg.contains("no address available"));
    del("c3").unwrap();
    del("c3").unwrap();
    assert_eq!(addresses(&add("c8").unwrap()), ["10.9.0.3/29"]);
    // The address that was freed last is not the next one to be given out.
    del("c8").unwrap();
    del("c5").unwrap();
    assert_eq!(addresses(&add("c9").unwrap()), ["10.9.0.5/29"]);
    assert!(status(&leases, &call(dir.path(), "", small(), json!({}))).is_ok());
}

#[test]
fn the_files_are_those_of_the_standard_plugin() {
    let leases = Leases::default();
    let dir = tempfile::tempdir().unwrap();
    let conf = json!({"subnet": "10.9.1.0/24", "ranges": [[{"subnet": "fd00:9::/64"}]]});
    super::add(&leases, &call(dir.path(), "one", conf.clone(), json!({}))).unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join("net").join(name)).unwrap();
    assert_eq!(read("10.9.1.2"), "one\r\neth0");
    assert_eq!(read("fd00:9::2"), "one\r\neth0");
    assert_eq!(read("last_reserved_ip.0"), "10.9.1.2");
    assert_eq!(read("last_reserved_ip.1"), "fd00:9::2");
    assert_eq!(read("lock"), "");
    super::check(&leases, &call(dir.path(), "one", conf.clone(), json!({}))).unwrap();
    assert!(super::check(&leases, &call(dir.path(), "two", conf.clone(), json!({}))).is_err());

    // Another plugin adds and removes behind our back.
    std::fs::write(dir.path().join("net/10.9.1.7"), "two\r\neth0").unwrap();
    std::fs::remove_file(dir.path().join("net/10.9.1.2")).unwrap();
    super::check(&leases, &call(dir.path(), "two", conf.clone(), json!({}))).unwrap();
    super::del(&leases, &call(dir.path(), "two", conf.clone(), json!({}))).unwrap();
    assert!(!dir.path().join("net/10.9.1.7").exists());
    // Very old files name no interface.
    std::fs::write(dir.path().join("net/10.9.1.8"), "three").unwrap();
    super::del(&leases, &call(dir.path(), "three", conf, json!({}))).unwrap();
    assert!(!dir.path().join("net/10.9.1.8").exists());
}

#[test]
fn an_address_that_was_reserved_for_nobody_is_freed() {
    let leases = Leases::default();
    let dir = tempfile::tempdir().unwrap();
    super::add(&leases, &call(dir.path(), "one", small(), json!({}))).unwrap();
    // Its plugin was killed between making the file and saying for whom.
    std::fs::write(dir.path().join("net/10.9.0.4"), "").unwrap();
    super::del(&leases, &call(dir.path(), "two", small(), json!({}))).unwrap();
    assert!(!dir.path().join("net/10.9.0.4").exists());
    assert!(dir.path().join("net/10.9.0.2").exists());
}

#[test]
fn an_attachment_gets_addresses_once_and_failures_leave_none() {
    let leases = Leases::default();
    let dir = tempfile::tempdir().unwrap();
    let first = call(dir.path(), "c", small(), json!({}));
    super::add(&leases, &first).unwrap();
    assert!(super::add(&leases, &first).unwrap_err().msg.contains("duplicate allocation"));
    let both = json!({"ranges": [[{"subnet": "10.9.0.0/29"}], [{"subnet": "10.9.8.0/30"}]]});
    super::add(&leases, &call(dir.path(), "d", both.clone(), json!({}))).unwrap();
    // The second set is exhausted: the address of the first one is given back.
    assert!(super::add(&leases, &call(dir.path(), "e", both, json!({}))).is_err());
    let names: Vec<_> =
        std::fs::read_dir(dir.path().join("net")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let reserved = names.iter().filter(|name| name.to_str().unwrap().starts_with("10."));
    assert_eq!(reserved.count(), 3);
}

#[test]
fn requested_addresses_are_given_or_refused() {
    let leases = Leases::default();
    let dir = tempfile::tempdir().unwrap();
    let with = |id: &str, ip: &str| {
        super::add(&leases, &call(dir.path(), id, small(), json!({"runtimeConfig": {"ips": [ip]}})))
    };
    assert_eq!(addresses(&with("a", "10.9.0.4/29").unwrap()), ["10.9.0.4/29"]);
    assert!(with("b", "10.9.0.4").unwrap_err().msg.contains("not available"));
    assert!(with("b", "10.9.0.1").unwrap_err().msg.contains("gateway"));
    assert!(with("b", "10.8.0.1").unwrap_err().msg.contains("in no range"));
    assert!(with("b", "nonsense").is_err());
    let mut by_args = call(dir.path(), "b", small(), json!({"args": {"cni": {"ips": ["10.9.0.5"]}}}));
    assert_eq!(addresses(&super::add(&leases, &by_args).unwrap()), ["10.9.0.5/29"]);
    by_args = call(dir.path(), "c", small(), json!({}));
    by_args.args = vec![("IP".to_owned(), "10.9.0.6".to_owned())];
    assert_eq!(addresses(&super::add(&leases, &by_args).unwrap()), ["10.9.0.6/29"]);
}

#[test]
fn the_runtime_gives_ranges() {
    let leases = Leases::default();
    let dir = tempfile::tempdir().unwrap();
    let ranges = json!({"runtimeConfig": {"ipRanges": [
        [{"subnet": "10.7.0.0/24", "rangeStart": "10.7.0.20", "rangeEnd": "10.7.0.21", "gateway": "10.7.0.254"}],
        [{"subnet": "fd00:7::/64"}]]}});
    let result = super::add(&leases, &call(dir.path(), "a", json!({}), ranges.clone())).unwrap();
    assert_eq!(addresses(&result), ["10.7.0.20/24", "fd00:7::2/64"]);
    assert_eq!(result.ips[0].gateway, Some("10.7.0.254".parse().unwrap()));
    super::add(&leases, &call(dir.path(), "b", json!({}), ranges.clone())).unwrap();
    assert!(super::add(&leases, &call(dir.path(), "c", json!({}), ranges)).is_err());
}

#[test]
fn gc_frees_what_is_not_valid() {
    let leases = Leases::default();
    let dir = tempfile::tempdir().unwrap();
    for id in ["a", "b", "c"] {
        super::add(&leases, &call(dir.path(), id, small(), json!({}))).unwrap();
    }
    std::fs::write(dir.path().join("net/10.9.0.6"), "").unwrap();
    let valid = json!({"cni.dev/valid-attachments": [{"containerID": "b", "ifname": "eth0"}]});
    super::gc(&leases, &call(dir.path(), "", small(), valid)).unwrap();
    let left = |ip: &str| dir.path().join("net").join(ip).exists();
    assert_eq!(
        [left("10.9.0.2"), left("10.9.0.3"), left("10.9.0.4"), left("10.9.0.6")],
        [false, true, false, false]
    );
    assert!(super::gc(&leases, &call(dir.path(), "", small(), json!({}))).is_err());
}

#[test]
fn wrong_ranges_are_refused() {
    let leases = Leases::default();
    let dir = tempfile::tempdir().unwrap();
    for (ipam, part) in [
        (json!({}), "no address ranges"),
        (json!({"ranges": [[]]}), "empty"),
        (json!({"subnet": "10.0.0.0/31"}), "too small"),
        (json!({"subnet": "10.0.0.1/24"}), "host bits"),
        (json!({"subnet": "10.0.0.0/24", "rangeStart": "10.0.1.1"}), "not in network"),
        (json!({"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.9", "rangeEnd": "10.0.0.8"}), "after"),
        (json!({"subnet": "10.0.0.0/24", "gateway": "fd00::1"}), "family"),
        (json!({"ranges": [[{"subnet": "10.0.0.0/24"}, {"subnet": "fd00::/64"}]]}), "mixes"),
        (json!({"ranges": [[{"subnet": "10.0.0.0/16"}], [{"subnet": "10.0.1.0/24"}]]}), "overlap"),
        (json!({"ranges": [[{"subnet": "10.0.0.0/16"}, {"subnet": "10.0.1.0/24"}]]}), "overlap"),
    ] {
        let error = super::add(&leases, &call(dir.path(), "a", ipam.clone(), json!({}))).unwrap_err();
        assert!(error.msg.contains(part), "{ipam}: {error}");
        assert_eq!(error.code, CniError::INVALID_CONFIG);
        let error = status(&leases, &call(dir.path(), "", ipam, json!({}))).unwrap_err();
        assert_eq!(error.code, CniError::NOT_AVAILABLE);
    }
}

#[test]
fn sixteen_threads_get_different_addresses() {
    let leases = &Leases::default();
    let dir = tempfile::tempdir().unwrap();
    let conf = json!({"subnet": "10.5.0.0/24"});
    let all: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|n| {
                let call = call(dir.path(), &format!("c{n}"), conf.clone(), json!({}));
                scope.spawn(move || addresses(&super::add(leases, &call).unwrap()).remove(0))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let different: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!(different.len(), 16);
}

#[test]
fn two_that_remember_apart_give_nothing_out_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (Leases::default(), Leases::default());
    let of = |id: &str| call(dir.path(), id, small(), json!({}));
    let given = [(&one, "a"), (&other, "b"), (&one, "c"), (&other, "d")]
        .map(|(leases, id)| addresses(&super::add(leases, &of(id)).unwrap()).remove(0));
    assert_eq!(given, ["10.9.0.2/29", "10.9.0.3/29", "10.9.0.4/29", "10.9.0.5/29"]);
    // The directory's time of change is as fine as the kernel's ticks.
    std::thread::sleep(std::time::Duration::from_millis(20));
    super::del(&one, &of("d")).unwrap();
    super::del(&other, &of("a")).unwrap();
    assert!(super::check(&one, &of("b")).is_ok() && super::check(&one, &of("a")).is_err());
    assert!(!dir.path().join("net/10.9.0.5").exists() && !dir.path().join("net/10.9.0.2").exists());
}

#[test]
fn what_is_no_file_is_in_nobody_s_way() {
    use std::os::unix::{fs::symlink, net::UnixListener};
    type Make<'a> = &'a dyn Fn(&Path) -> std::io::Result<()>;
    let kinds: [(&str, Make<'_>); 5] = [
        ("a directory", &|path| std::fs::create_dir_all(path.join("full"))),
        ("a link to itself", &|path| symlink(path, path)),
        ("a link to a device", &|path| symlink("/dev/zero", path)),
        ("a fifo", &|path| std::process::Command::new("mkfifo").arg(path).status().map(drop)),
        ("a socket", &|path| UnixListener::bind(path).map(drop)),
    ];
    for place in ["lock", "last_reserved_ip.0", "10.9.0.2", "10.9.0.3"] {
        for (kind, make) in kinds {
            let dir = tempfile::tempdir().unwrap();
            let of = |id: &str| call(dir.path(), id, small(), json!({}));
            super::add(&Leases::default(), &of("one")).unwrap();
            let path = dir.path().join("net").join(place);
            let _ = std::fs::remove_file(&path);
            make(&path).unwrap();
            let leases = Leases::default();
            let given = addresses(&super::add(&leases, &of("two")).unwrap()).remove(0);
            assert_ne!(given, "10.9.0.2/29", "{place}, {kind}");
            assert_ne!(given.split('/').next(), Some(place), "{kind}");
            super::del(&leases, &of("one")).unwrap();
            super::del(&leases, &of("two")).unwrap();
            assert!(super::check(&leases, &of("two")).is_err(), "{place}, {kind}");
        }
    }
    for (kind, make) in kinds.into_iter().skip(1) {
        let dir = tempfile::tempdir().unwrap();
        let of = |id: &str| call(dir.path(), id, small(), json!({}));
        make(&dir.path().join("net")).unwrap();
        super::del(&Leases::default(), &of("one")).unwrap();
        let refused = super::add(&Leases::default(), &of("one")).unwrap_err();
        assert!(refused.msg.contains("net"), "{kind}: {refused}");
    }
}

#[test]
fn a_value_that_cannot_be_read_is_named_with_its_place() {
    for (ipam, said) in [
        (
            json!({"ranges": [[{"subnet": "10.1.0.0/16"}, {"subnet": "10.2.0.0/33"}]]}),
            r#"ipam.ranges[0][1].subnet "10.2.0.0/33": invalid IP address syntax"#,
        ),
        (
            json!({"subnet": "10.1.0.0/16", "gateway": "10.1.0.256"}),
            r#"ipam.gateway "10.1.0.256": invalid IP address syntax"#,
        ),
        (
            json!({"subnet": "10.1.0.0/16", "routes": [{"dst": "0.0.0.0/0"}, {"dst": 7}]}),
            "ipam.routes[1].dst 7: ",
        ),
        (json!({"ranges": {"subnet": "10.1.0.0/16"}}), "ipam.ranges: invalid type: map"),
    ] {
        let error = validate(&call(Path::new("/nowhere"), "c", ipam, json!({}))).unwrap_err();
        assert!(error.msg.starts_with(&format!("bridge configuration: {said}")), "{error}");
    }
}
