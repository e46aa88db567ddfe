//! An image's user databases, written by strangers: `user NUL /etc/passwd NUL /etc/group`.
#![no_main]

use std::sync::OnceLock;

/// The root of an image, whose two files are written anew for each input.
fn root() -> &'static tempfile::TempDir {
    static ROOT: OnceLock<tempfile::TempDir> = OnceLock::new();
    ROOT.get_or_init(|| {
        let dir = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
        std::fs::create_dir(dir.path().join("etc")).expect("its etc");
        dir
    })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let user = String::from_utf8_lossy(next()).into_owned();
    let etc = root().path().join("etc");
    std::fs::write(etc.join("passwd"), next()).expect("passwd");
    std::fs::write(etc.join("group"), next()).expect("group");
    let view = oci::rootfs::RootView::new([root().path()]);
    for strict in [false, true] {
        let request = oci::users::UserRequest {
            user: None,
            group: None,
            image_user: user.clone(),
            supplemental_groups: vec![7],
            strict_groups: strict,
        };
        if let Ok(found) = oci::users::resolve(&view, &request) {
            // What the kernel takes for "unchanged" must never come out of a file.
            assert!(found.uid != u32::MAX && found.gid != u32::MAX, "{found:?}");
            assert!(!found.groups.contains(&u32::MAX), "{found:?}");
            if strict {
                assert!(found.groups.iter().all(|group| *group == 7 || *group == found.gid), "{found:?}");
            }
            if let Some(home) = &found.home {
                assert!(!home.contains(['\n', '\0']), "{home:?}");
            }
        }
    }
});
