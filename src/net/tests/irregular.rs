//! Things of the wrong kind in the places of what the network keeps.

use super::harness::{Node, list, pod};
use std::fs;
use std::os::unix::{fs::symlink, net::UnixListener};
use std::path::Path;

type Make = fn(&Path) -> std::io::Result<()>;

/// The first is a directory.
const KINDS: [(&str, Make); 6] = [
    ("a directory", |path| fs::create_dir_all(path.join("full"))),
    ("a link to nothing", |path| symlink("/nowhere/at/all", path)),
    ("a link to itself", |path| symlink(path, path)),
    ("a link to a device", |path| symlink("/dev/zero", path)),
    ("a fifo", |path| Ok(nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU)?)),
    ("a socket", |path| UnixListener::bind(path).map(drop)),
];

fn configured() -> Node {
    let node = Node::new();
    node.address_plugin("a");
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    node
}

#[tokio::test]
async fn the_attachment_of_one_pod_keeps_no_other_waiting_and_goes_with_its_pod() {
    for (kind, make) in KINDS {
        for extension in ["json", "left"] {
            let node = configured();
            let attachment = node.open().attach(&pod("c1")).await.unwrap();
            let recorded = node.settings.state_dir.join("attachments/c1-eth0.json");
            fs::remove_file(&recorded).unwrap();
            let path = recorded.with_extension(extension);
            make(&path).unwrap();
            let network = node.open();
            let other = network.attach(&pod("c2")).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
            network.detach(&pod("c2"), Some(&other)).await.unwrap();
            let valid = [("c1".to_owned(), "eth0".to_owned())];
            network.gc(&valid).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
            network.detach(&pod("c1"), Some(&attachment)).await.unwrap();
            assert_eq!(node.journal(), 0, "{kind}");
        }
    }
}

#[tokio::test]
async fn a_pod_of_which_nothing_else_is_known_is_detached_by_what_is_in_force() {
    for (kind, make) in KINDS {
        let node = configured();
        make(&{
            node.open();
            node.settings.state_dir.join("attachments/c1-eth0.json")
        })
        .unwrap();
        node.open().detach(&pod("c1"), None).await.unwrap();
        assert_eq!(node.calls(), ["a DEL"], "{kind}");
    }
}

#[tokio::test]
async fn directories_and_files_of_its_own_are_made_again() {
    for place in ["state/attachments", "state", "data", "data/subnets.json", "data/configured"] {
        for (kind, make) in KINDS {
            if kind == "a directory" && !place.starts_with("data/") {
                continue;
            }
            let node = configured();
            let attachment = node.open().attach(&pod("c1")).await.unwrap();
            let path = node.path(place);
            sys::tree::remove(&path).unwrap();
            make(&path).unwrap();
            let network = node.open();
            network.detach(&pod("c1"), Some(&attachment)).await.unwrap();
            let other = network.attach(&pod("c2")).await;
            other.unwrap_or_else(|error| panic!("{place}, {kind}: {error}"));
        }
    }
}

#[tokio::test]
async fn subnets_are_chosen_anew_where_their_file_is_none() {
    for (kind, make) in KINDS {
        let mut node = Node::new();
        node.settings.builtin_network = true;
        let path = node.settings.data_dir.join("subnets.json");
        make(&path).unwrap();
        assert_eq!(node.open().loaded_name(), "corten", "{kind}");
        assert!(path.is_file() && path.with_extension("json.bad").symlink_metadata().is_ok(), "{kind}");
    }
}
