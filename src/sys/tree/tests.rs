#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

pub(crate) fn scratch(name: &str) -> PathBuf {
    // In memory, where there is such a filesystem: these trees are large for a disk that others write to.
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let dir = base.join(format!("corten-sys-tree-{name}-{}", std::process::id()));
    remove(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    dir
}

/// Makes so many directories, one in the other.
pub(crate) fn chain(top: &Path, name: &[u8], depth: usize) -> fs::File {
    let mut here = fs::File::open(top).unwrap();
    for _ in 0..depth {
        crate::resolve::make_dir(here.as_fd(), name).unwrap();
        here = crate::resolve::open_beneath(here.as_fd(), name, libc::O_RDONLY).unwrap().into();
    }
    here
}

/// Runs it on a stack that recursion would end, with a few descriptors, and returns what it says.
fn confined<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let confined = || {
        // Descriptors of this thread alone.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).unwrap();
        let mut held = Vec::new();
        let (soft, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
        let free = |fd: i32| fd < i32::try_from(soft.min(4096)).unwrap();
        while held.last().is_none_or(|last: &fs::File| free(std::os::fd::AsRawFd::as_raw_fd(last))) {
            match fs::File::open("/dev/null") {
                Ok(file) => held.push(file),
                Err(_) => break,
            }
        }
        held.truncate(held.len().saturating_sub(16));
        run()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(128 << 10);
        thread.spawn_scoped(scope, confined).unwrap().join().unwrap()
    })
}

#[test]
fn a_tree_is_removed_however_deep_it_is() {
    let dir = scratch("deep");
    let deepest = chain(&dir, b"d", 9000);
    crate::resolve::open_or_create(deepest.as_fd(), b"file", false).unwrap();
    fs::create_dir_all(dir.join("d/.corten-removed-1/full")).unwrap();
    fs::write(dir.join(".corten-removed-2"), "a name of the removal's own").unwrap();
    drop(deepest);
    confined(|| remove(&dir)).unwrap();
    assert!(!dir.exists());
}

#[test]
fn a_tree_is_removed_however_broad_it_is_and_long_its_names_are() {
    let dir = scratch("broad");
    let long = chain(&dir, &[b'n'; 250], 40);
    for number in 0..3000 {
        let below = format!("d{number}/e");
        crate::resolve::open_or_create(long.as_fd(), below.as_bytes(), true).unwrap();
    }
    drop(long);
    confined(|| remove(&dir)).unwrap();
    assert!(!dir.exists());
}

#[test]
fn no_link_is_followed_and_what_is_no_directory_goes_too() {
    let dir = scratch("links");
    let kept = dir.join("kept");
    fs::create_dir_all(kept.join("inner")).unwrap();
    let tree = dir.join("tree");
    fs::create_dir(&tree).unwrap();
    for (target, link) in [("../kept", "out"), (".", "self"), ("nowhere", "dangling")] {
        std::os::unix::fs::symlink(target, tree.join(link)).unwrap();
    }
    remove(&tree).unwrap();
    std::os::unix::fs::symlink("kept", dir.join("link")).unwrap();
    remove(&dir.join("link")).unwrap();
    fs::write(dir.join("file"), "").unwrap();
    remove(&dir.join("file")).unwrap();
    remove(&dir.join("absent")).unwrap();
    remove_at(fs::File::open(&dir).unwrap().as_fd(), b"absent").unwrap();
    assert!(kept.join("inner").is_dir());
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    remove(&dir).unwrap();
}

#[test]
fn what_is_mounted_in_a_tree_is_left_alone_and_the_rest_goes() {
    if !need::root("mounting needs root") {
        return;
    }
    let dir = scratch("mounted");
    let (tree, precious) = (dir.join("tree"), dir.join("precious"));
    for path in [tree.join("a/mounted"), tree.join("b/c"), precious.join("inner")] {
        fs::create_dir_all(path).unwrap();
    }
    fs::write(tree.join("a/file"), "").unwrap();
    let error = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS | nix::sched::CloneFlags::CLONE_FS)
                .unwrap();
            let private = nix::mount::MsFlags::MS_PRIVATE | nix::mount::MsFlags::MS_REC;
            nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            let bind = nix::mount::MsFlags::MS_BIND;
            nix::mount::mount(Some(&precious), &tree.join("a/mounted"), None::<&str>, bind, None::<&str>)
                .unwrap();
            remove(&tree).unwrap_err()
        });
        thread.join().unwrap()
    });
    assert!(matches!(error.errno, libc::EBUSY | libc::EXDEV), "{error}");
    assert!(error.path == tree && precious.join("inner").is_dir());
    assert!(!tree.join("b").exists() && !tree.join("a/file").exists());
    remove(&dir).unwrap();
}

#[test]
fn an_error_names_the_tree() {
    let path = Path::new("/proc/self/fd");
    let error = remove(path).unwrap_err();
    assert!(error.path == path && error.op == "remove", "{error}");
    assert!(remove_at(nix::fcntl::AT_FDCWD, b"a\0b").is_err());
}

/// Every entry of the tree as depth and name, sorted.
fn walked(mut walk: Walk) -> Vec<(usize, Vec<u8>)> {
    let mut seen = Vec::new();
    while let Some(entry) = walk.advance().unwrap() {
        seen.push((entry.depth, entry.name.to_bytes().to_vec()));
    }
    assert!(!walk.is_torn());
    seen.sort();
    seen
}

#[test]
fn a_walk_comes_by_everything_once_and_all_of_it_goes_deep() {
    let dir = scratch("walk");
    // In each directory of a chain files before and behind the way down, more than one buffer holds, and a short branch.
    let mut here: std::os::fd::OwnedFd = fs::File::open(&dir).unwrap().into();
    let mut expected = Vec::new();
    for depth in 0..40 {
        for number in 0..if depth % 13 == 0 { 700 } else { 3 } {
            let name = format!("file-with-a-long-name-{number}");
            crate::resolve::open_or_create(here.as_fd(), name.as_bytes(), false).unwrap();
            expected.push((depth, name.into_bytes()));
        }
        crate::resolve::open_or_create(here.as_fd(), b"branch/b/b/b/b/b", true).unwrap();
        expected.push((depth, b"branch".to_vec()));
        expected.extend((1..6).map(|below| (depth + below, b"b".to_vec())));
        here = crate::resolve::open_or_create(here.as_fd(), b"way", true).unwrap();
        expected.push((depth, b"way".to_vec()));
    }
    expected.sort();
    let top = || Walk::new(Trail::open(&dir).unwrap());
    assert_eq!(confined(|| walked(top())), expected);
    assert_eq!(usage(&dir, u64::MAX).unwrap().unwrap().inodes, expected.len() as u64 + 1);
    assert_eq!(usage(&dir, 100).unwrap(), None);
    let mut walk = top();
    let mut seen = 0;
    while let Some(entry) = walk.advance().unwrap() {
        let way = entry.is_dir();
        seen += 1;
        if way {
            walk.skip();
        }
    }
    assert_eq!(seen, 702);
    remove(&dir).unwrap();
}

#[test]
fn a_deep_tree_is_measured_on_a_small_stack() {
    let dir = scratch("measure");
    drop(chain(&dir, b"d", 9000));
    assert_eq!(confined(|| usage(&dir, u64::MAX)).unwrap().unwrap().inodes, 9001);
    remove(&dir).unwrap();
}

#[test]
fn whoever_moves_directories_leads_nobody_out_of_the_tree() {
    let dir = scratch("moved");
    drop(chain(&dir.join("."), b"d", 1));
    let tree = dir.join("d");
    drop(chain(&tree, b"e", 30));
    fs::write(dir.join("outside"), "").unwrap();
    fs::write(tree.join("late"), "").unwrap();
    let mut trail = Trail::open(&tree).unwrap();
    for _ in 0..30 {
        trail.enter(c"e").unwrap();
    }
    fs::rename(tree.join("e/".repeat(20)), dir.join("moved")).unwrap();
    let mut torn = 0;
    while trail.depth() > 0 {
        torn += usize::from(trail.leave().is_err());
    }
    assert_eq!(torn, 1);
    assert!(!trail.leave().unwrap());
    let identity = crate::fd::identity(trail.here()).unwrap();
    assert_eq!(identity.inode, std::os::unix::fs::MetadataExt::ino(&tree.metadata().unwrap()));
    remove(&dir).unwrap();
}

#[test]
fn a_file_with_several_names_counts_once_however_many_there_are() {
    let dir = scratch("names");
    let empty = usage(&dir, u64::MAX).unwrap().unwrap();
    for number in 0..2000 {
        let file = dir.join(format!("{number}"));
        fs::write(&file, [7; 5000]).unwrap();
        for again in 0..2 {
            fs::hard_link(&file, dir.join(format!("{number}-{again}"))).unwrap();
        }
    }
    let all = usage(&dir, u64::MAX).unwrap().unwrap();
    assert_eq!((all.inodes, all.bytes - empty.bytes), (2001, 2000 * 8192));
    let mut crowded = Tally::crowded();
    let mut walk = Walk::new(Trail::open(&dir).unwrap());
    while let Some(entry) = walk.advance().unwrap() {
        crowded.add(entry.stat);
    }
    assert_eq!((crowded.sum().inodes, crowded.sum().bytes), (2000, 2000 * 8192));
    remove(&dir).unwrap();
}
