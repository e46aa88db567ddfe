use super::harness::{Node, eventually, list, pod};
use crate::conf::ConfDir;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

#[tokio::test]
async fn files_come_change_and_go() {
    let mut node = Node::new();
    node.settings.status_interval_seconds = 3600;
    for plugin in ["a", "b", "c"] {
        node.address_plugin(plugin);
    }
    let network = node.open();
    let status = network.status();
    assert_eq!((status.ready, status.reason.as_str()), (false, "NetworkPluginNotReady"));
    assert!(status.message.contains("no CNI configuration in"), "{}", status.message);

    node.conf("20.conflist", &list("1.0.0", &["b"]));
    eventually("added", || network.status().ready).await;
    network.attach(&pod("c1")).await.unwrap();
    assert_eq!(node.calls(), ["b ADD"]);

    node.conf("10.conf", r#"{"name": "first", "cniVersion": "1.0.0", "type": "a"}"#);
    eventually("the lexically first one", || network.loaded_name() == "first").await;
    node.conf("10.conf", "{ not json");
    eventually("broken", || network.loaded_name() == "net1").await;
    let status = network.status();
    assert!(
        status.ready && status.message.contains("10.conf: "),
        "the next one, and the broken one named: {status:?}"
    );

    let staged = node.path("staged");
    fs::write(&staged, r#"{"name": "renamed", "cniVersion": "1.0.0", "type": "c"}"#).unwrap();
    fs::rename(&staged, node.settings.conf_dir.join("10.conf")).unwrap();
    eventually("renamed over", || network.loaded_name() == "renamed").await;
    assert_eq!(network.status().message, "");

    fs::remove_file(node.settings.conf_dir.join("10.conf")).unwrap();
    eventually("removed", || network.loaded_name() == "net1").await;
    fs::remove_file(node.settings.conf_dir.join("20.conflist")).unwrap();
    eventually("empty", || !network.status().ready).await;
}

#[tokio::test]
async fn another_directory_and_other_plugins_are_in_force_at_once() {
    let mut node = Node::new();
    node.settings.status_interval_seconds = 3600;
    node.address_plugin("a");
    node.conf("10.conf", r#"{"name": "first", "cniVersion": "1.0.0", "type": "a"}"#);
    let network = node.open();
    assert_eq!(network.loaded_name(), "first");
    let mut settings = node.settings.clone();
    settings.conf_dir = node.path("elsewhere");
    settings.builtin_network = true;
    network.reconfigure(&settings);
    eventually("nothing is there", || !network.status().ready).await;
    assert!(network.status().message.contains("elsewhere"), "{}", network.status().message);
    fs::create_dir(&settings.conf_dir).unwrap();
    fs::write(settings.conf_dir.join("a.json"), r#"{"name": "second", "cniVersion": "1.0.0", "type": "a"}"#)
        .unwrap();
    eventually("found", || network.loaded_name() == "second").await;
    assert!(network.status().ready);
    settings.bin_dirs = vec![node.path("empty")];
    network.reconfigure(&settings);
    eventually("without its plugin", || !network.status().ready).await;
    assert!(network.status().message.contains("no CNI plugin a in"), "{}", network.status().message);
}

#[tokio::test]
async fn the_directory_itself_comes_and_goes() {
    let mut node = Node::new();
    node.settings.status_interval_seconds = 3600;
    node.settings.conf_dir = node.path("etc/cni/net.d");
    node.address_plugin("a");
    let network = node.open();
    assert!(!network.status().ready);
    for _ in 0..2 {
        fs::create_dir_all(&node.settings.conf_dir).unwrap();
        node.conf("a.json", r#"{"name": "first", "cniVersion": "1.0.0", "type": "a"}"#);
        eventually("appeared", || network.status().ready).await;
        fs::remove_dir_all(node.path("etc")).unwrap();
        eventually("disappeared", || !network.status().ready).await;
    }
    let real = node.path("real");
    fs::create_dir_all(&real).unwrap();
    fs::create_dir_all(node.path("etc/cni")).unwrap();
    fs::write(real.join("x.conflist"), list("1.0.0", &["a"])).unwrap();
    symlink(&real, &node.settings.conf_dir).unwrap();
    eventually("through a link", || network.status().ready).await;
}

#[tokio::test]
async fn a_file_is_there_for_an_attach_at_once() {
    let node = Node::new();
    node.address_plugin("a");
    let network = node.open();
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    network.attach(&pod("c1")).await.unwrap();
}

#[test]
fn only_what_has_changed_is_parsed_again() {
    let node = Node::new();
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    node.conf("30.conflist", r#"{"name": "dir", "cniVersion": "1.0.0"}"#);
    let mut dir = ConfDir::new(node.settings.conf_dir.clone());
    let first = dir.scan().unwrap();
    assert_eq!(first.broken.len(), 1, "no plugins yet");
    node.conf("20.conflist", &list("1.0.0", &["b"]));
    let second = dir.scan().unwrap();
    assert!(Arc::ptr_eq(first.chosen.as_ref().unwrap(), second.chosen.as_ref().unwrap()));

    fs::create_dir(node.settings.conf_dir.join("dir")).unwrap();
    node.conf("dir/2.conf", r#"{"type": "two"}"#);
    node.conf("dir/1.conf", r#"{"type": "one"}"#);
    node.conf("dir/0.txt", "ignored");
    node.conf("10.conflist", "");
    fs::remove_file(node.settings.conf_dir.join("20.conflist")).unwrap();
    let third = dir.scan().unwrap().chosen.unwrap();
    let types: Vec<_> = third.list.plugins.iter().map(cni::types::PluginConfig::plugin_type).collect();
    assert_eq!(types, ["one", "two"], "plugins of the directory beside the list");
    node.conf("dir/1.conf", r#"{"type": "a/b"}"#);
    let fourth = dir.scan().unwrap();
    assert!(fourth.chosen.is_none());
    assert!(fourth.broken[1].problem.contains("dir/1.conf: invalid plugin type"), "{:?}", fourth.broken);
}

#[test]
fn what_is_no_plain_small_file_is_broken() {
    let node = Node::new();
    let at = |name: &str| node.settings.conf_dir.join(name);
    nix::unistd::mkfifo(&at("1.conf"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(at("2.conf")).unwrap();
    fs::write(at("3.conf"), vec![b' '; (1 << 20) + 1]).unwrap();
    symlink(at("gone"), at("4.conf")).unwrap();
    symlink("/dev/zero", at("5.conf")).unwrap();
    let scan = ConfDir::new(node.settings.conf_dir.clone()).scan().unwrap();
    assert!(scan.chosen.is_none());
    assert_eq!(scan.broken.len(), 4, "{:?}", scan.broken);
}
