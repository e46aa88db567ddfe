//! What is the administrator's, and stays.

use super::*;

#[test]
fn an_installation_of_the_administrators_is_not_taken_over() {
    let Some(node) = Node::new() else { return };
    put(&node.root.path().join("usr/local/lib/systemd/system/corten.service"), "of make install");
    let before = node.all();
    let told = node.install(false).unwrap_err().to_string();
    assert!(
        told.contains("/usr/local/lib/systemd/system/corten.service is of another installation"),
        "{told}"
    );
    assert_eq!((node.all(), node.hand.asked()), (before, Vec::new()));
}

#[test]
fn settings_that_were_changed_since_stay_and_are_told() {
    let Some(node) = Node::new() else { return };
    fs::remove_file(node.root.path().join("etc/crictl.yaml")).unwrap();
    node.install(false).unwrap();
    put(&node.root.path().join("etc/corten/corten.toml"), "the administrator's");
    let told = node.uninstall().unwrap().1;
    assert_eq!(told, ["/etc/corten/corten.toml was changed since it was installed, and stays"]);
    assert_eq!(node.read("etc/corten/corten.toml").unwrap(), "the administrator's");
    assert_eq!(node.read("etc/crictl.yaml"), None, "nobody has changed it");
}

#[test]
fn an_empty_directory_of_data_is_wiped_and_comes_back() {
    let Some(node) = Node::new() else { return };
    let data = node.root.path().join("var/lib/corten");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, PermissionsExt::from_mode(0o750)).unwrap();
    let before = node.all();
    node.install(false).unwrap();
    // As the daemon's wipe does.
    fs::remove_dir(&data).unwrap();
    node.uninstall().unwrap();
    assert!(node.hand.asked().contains(&"corten wipe --yes --images".to_owned()));
    assert_eq!(node.all(), before);
}

#[test]
fn what_is_no_host_is_refused() {
    let Some(node) = Node::new() else { return };
    let nowhere = node.root.path().join("nowhere");
    let host = Host::new(&nowhere);
    let told = uninstall::uninstall(&host, &node.hand).unwrap_err().to_string();
    assert!(told.contains("is not the root of a host"), "{told}");
    let told = install::install(&host, &node.hand, &[node.source.path().to_path_buf()], false).unwrap_err();
    assert!(matches!(told, NodeError::NoHost(_)), "{told}");
    assert!(!nowhere.exists() && node.uninstall().unwrap().1.join("").contains("nothing is installed"));
}
