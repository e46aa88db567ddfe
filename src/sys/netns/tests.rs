use super::*;
use crate::netlink::link_infos;

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("sys-netns-{}-{name}", std::process::id()))
}

fn root() -> bool {
    need::root("needs root")
}

#[test]
fn a_namespace_is_made_opened_and_removed() {
    if !root() {
        return;
    }
    let pin = scratch("life");
    let netns = create(&pin).unwrap();
    let mut batch = Batch::new();
    let links = link_infos(&netns.rtnl().run(batch.get_link("lo")).unwrap());
    assert!(links.iter().any(|link| link.name == "lo" && link.up && link.index == LOOPBACK), "{links:?}");
    assert!(create(&pin).is_err_and(|error| error.errno == libc::EEXIST));

    let again = Netns::open(&pin).unwrap();
    assert_eq!(again.rtnl().netns_cookie(), netns.rtnl().netns_cookie());
    assert_ne!(Socket::route().unwrap().netns_cookie(), netns.rtnl().netns_cookie());
    let inside = std::fs::metadata(&pin).unwrap();
    let entered = run_in(netns.fd(), || std::fs::metadata(OWN).unwrap()).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&inside), std::os::unix::fs::MetadataExt::ino(&entered));

    remove(&pin).unwrap();
    remove(&pin).unwrap();
    assert!(!pin.exists());
    assert!(Netns::open(&pin).is_err_and(|error| error.errno == libc::ENOENT));
}

#[test]
fn a_failed_creation_leaves_nothing() {
    if !root() {
        return;
    }
    let pin = scratch("no-such-directory").join("pin");
    assert!(create(&pin).is_err_and(|error| error.errno == libc::ENOENT));
    assert!(!pin.exists());
}

#[test]
fn a_file_that_is_no_namespace_is_refused() {
    let file = scratch("plain");
    std::fs::write(&file, b"").unwrap();
    assert!(Netns::open(&file).is_err());
    remove(&file).unwrap();
    assert!(!file.exists());
}

#[test]
fn the_thread_is_back_whatever_happened_in_there() {
    if !root() {
        return;
    }
    let own = || std::fs::read_link(OWN).unwrap();
    let home = own();
    let netns = create(&scratch("home")).unwrap();
    assert_eq!(own(), home);
    let inside = run_in(netns.fd(), own).unwrap();
    assert_ne!(inside, home);
    let work = || run_in(netns.fd(), || panic!("in there"));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    assert!(panicked.is_err());
    assert_eq!(own(), home);
    remove(netns.path()).unwrap();
}

#[test]
fn whatever_lies_in_the_place_of_a_pin_goes() {
    let root = std::env::temp_dir().join(format!("corten-netns-places-{}", std::process::id()));
    let pin = root.join("pin");
    std::fs::create_dir_all(pin.join("full")).unwrap();
    remove(&pin).unwrap();
    assert!(!pin.exists());
    std::os::unix::fs::symlink("/nowhere/at/all", &pin).unwrap();
    remove(&pin).unwrap();
    assert!(!pin.is_symlink());
    std::fs::write(&pin, "").unwrap();
    remove(&pin.join("below-a-file")).unwrap();
    remove(&pin).unwrap();
    remove(&pin).unwrap();
    std::fs::remove_dir(root).unwrap();
}
