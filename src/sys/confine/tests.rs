#![allow(clippy::unwrap_used)]
use super::*;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

/// A directory of the test's own.
fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("confine-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir(&path).unwrap();
    path
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

fn refused<T>(result: std::io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

#[test]
fn a_thread_that_computes_keeps_what_is_open_and_opens_nothing() {
    let path = directory("computing");
    let (mut from, mut to) = (File::open("/proc/self/stat").unwrap(), File::create(path.join("to")).unwrap());
    let given = on_a_thread(|| {
        let given = thread(Work::Computing).unwrap();
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        to.write_all(&vec![b'x'; 4 << 20]).unwrap();
        if given.calls {
            assert!(refused(File::open(path.join("to"))));
            assert!(refused(fs::create_dir(path.join("more"))));
            assert!(std::net::UdpSocket::bind("127.0.0.1:0").is_err());
            assert!(std::thread::Builder::new().spawn(|| ()).is_err());
            assert!(nix::sys::signal::kill(nix::unistd::getpid(), None).is_err());
        }
        given
    });
    assert!(given.calls, "this kernel has filters of system calls");
    assert_eq!(fs::metadata(path.join("to")).unwrap().len(), 4 << 20);
    assert!(File::open(path.join("to")).is_ok(), "the others are as free as before");
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn a_thread_that_fills_a_directory_leaves_all_others_alone() {
    let (inside, outside) = (directory("inside"), directory("outside"));
    fs::write(outside.join("there"), "as before").unwrap();
    std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
    let (to, from) = (File::open(&inside).unwrap(), directory("source"));
    fs::write(from.join("read"), "bytes").unwrap();
    let source = File::open(&from).unwrap();
    let given = on_a_thread(|| {
        let work = Work::Filling { directory: to.as_fd(), source: Some(source.as_fd()) };
        let given = thread(work).unwrap();
        fs::create_dir_all(inside.join("a/b")).unwrap();
        fs::write(inside.join("a/file"), "content").unwrap();
        fs::hard_link(inside.join("a/file"), inside.join("a/b/linked")).unwrap();
        fs::remove_file(inside.join("a/file")).unwrap();
        assert_eq!(fs::read(from.join("read")).unwrap(), b"bytes");
        if given.files {
            assert!(refused(fs::read(outside.join("there"))));
            assert!(refused(fs::write(inside.join("link/there"), "else")));
            assert!(refused(fs::write(inside.join("link/new"), "")));
            assert!(refused(fs::remove_file(outside.join("there"))));
            assert!(refused(fs::create_dir(outside.join("new"))));
            assert!(refused(fs::write(from.join("read"), "else")));
        }
        if given.calls {
            assert!(std::process::Command::new("/bin/true").spawn().is_err());
            assert!(std::thread::Builder::new().spawn(|| ()).is_err());
            assert!(nix::sys::signal::kill(nix::unistd::getpid(), None).is_err());
            // SAFETY: sends nothing to anybody: the signal has number 0.
            assert_eq!(unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), 0) }, -1);
            assert!(std::net::UdpSocket::bind("127.0.0.1:0").is_err());
        }
        given
    });
    assert!(given.calls);
    assert_eq!(fs::read(outside.join("there")).unwrap(), b"as before");
    assert_eq!(fs::read(inside.join("a/b/linked")).unwrap(), b"content");
    for path in [inside, outside, from] {
        fs::remove_dir_all(path).unwrap();
    }
}

#[test]
fn a_thread_keeps_the_capabilities_of_its_work_alone() {
    let before = privilege::capabilities().unwrap();
    let (computing, filling) = (
        on_a_thread(|| thread(Work::Computing).and_then(|_| privilege::capabilities())),
        on_a_thread(|| {
            let root = File::open("/").unwrap();
            thread(Work::Filling { directory: root.as_fd(), source: None })
                .and_then(|_| privilege::capabilities())
        }),
    );
    // capget is no call of a thread that computes.
    assert!(computing.is_err());
    let filling = filling.unwrap();
    assert_eq!(filling.permitted, before.permitted & OF_FILES);
    assert_eq!(filling.effective, before.effective & OF_FILES);
    assert_eq!(privilege::capabilities().unwrap(), before, "the others keep theirs");
}
