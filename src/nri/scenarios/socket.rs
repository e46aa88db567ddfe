//! Who may come, and where to.

use super::*;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

fn mode(path: &std::path::Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_socket_is_roots_alone_and_goes_with_the_runtime() {
    let stage = Stage::new(|_| {});
    assert_eq!((mode(stage.socket.parent().unwrap()), mode(&stage.socket)), (0o700, 0o600));
    stage.nri.shutdown().await;
    assert!(!stage.socket.exists());
}

/// The runtime with its socket there, and why nobody can connect to that.
fn at(socket: &std::path::Path, change: impl FnOnce(&mut Settings)) -> (Nri, Option<String>) {
    let mut settings = Settings { socket: socket.to_owned(), ..Settings::default() };
    change(&mut settings);
    let nri = Nri::new();
    nri.start(settings, Arc::<World>::default());
    let problem = nri.listening().unwrap().problem;
    (nri, problem)
}

#[tokio::test]
async fn one_that_nobody_answers_on_is_replaced_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nri.sock");
    let nowhere = dir.path().join("plugins");
    let start = |path: &std::path::Path| at(path, |settings| settings.plugins = nowhere.clone());
    let other = UnixListener::bind(&path).unwrap();
    other.set_nonblocking(true).unwrap();
    let (first, problem) = start(&path);
    assert!(problem.unwrap().starts_with("another runtime listens for NRI plugins"));
    assert!(other.accept().is_err(), "the other one hears of it");
    first.shutdown().await;
    assert!(path.exists(), "it is the other's");
    drop(other);
    let (second, problem) = start(&path);
    assert_eq!(problem, None);
    assert!(start(&path).1.unwrap().starts_with("another runtime"));
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(start(&file).1.unwrap().ends_with("it is there, and is no socket: remove it"));
    // Whoever comes after may have put his own there.
    std::fs::remove_file(&path).unwrap();
    let _third = UnixListener::bind(&path).unwrap();
    second.shutdown().await;
    assert!(path.exists(), "it is another's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_socket_is_anothers_what_is_required_is_missing_and_then_it_is_taken() {
    let mut other = None;
    let stage = Stage::with(
        |dir| {
            std::fs::create_dir(dir.join("nri")).unwrap();
            other = Some(UnixListener::bind(dir.join("nri/nri.sock")).unwrap());
            std::fs::create_dir(dir.join("plugins")).unwrap();
            let program = dir.join("plugins/10-starts");
            std::fs::write(&program, format!("#!/bin/sh\ntouch {}/started\n", dir.display())).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        },
        |settings| {
            settings.validator.enable = true;
            settings.validator.required_plugins = vec!["policy".to_owned()];
        },
    );
    assert!(stage.nri.listening().unwrap().problem.is_some());
    assert_eq!(stage.nri.missing(), Some(vec!["policy".to_owned()]));
    let rejected = stage.create("first", Duration::ZERO).await.unwrap_err().to_string();
    assert!(rejected.contains("the required NRI plugin policy is not connected"), "{rejected}");
    let started = stage._dir.path().join("started");
    stage.until(|| started.exists()).await;
    drop(other);
    stage.until(|| stage.nri.listening().unwrap().problem.is_none()).await;
    let _policy = stage.join(Manner::new("10", "policy")).await;
    assert_eq!(stage.nri.missing(), Some(Vec::new()));
    stage.create("second", Duration::ZERO).await.unwrap();
    // A runtime that is started beside this one takes it away.
    std::fs::remove_file(&stage.socket).unwrap();
    stage.until(|| stage.nri.listening().unwrap().problem.is_none() && stage.socket.exists()).await;
    let _second = stage.join(Manner::new("20", "second")).await;
    stage.nri.shutdown().await;
    assert!(!stage.socket.exists());
}

#[tokio::test]
async fn nothing_is_there_where_plugins_are_not_wanted() {
    let stage = Stage::new(|settings| settings.enable = false);
    assert!(!stage.socket.exists());
    let stage = Stage::new(|settings| settings.external = false);
    assert!(!stage.socket.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_user_is_not_heard() {
    if !need::root("needs root to be somebody else") {
        return;
    }
    let stage = Stage::new(|_| {});
    let open =
        |path: &std::path::Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777));
    open(stage._dir.path()).and(open(stage.socket.parent().unwrap())).and(open(&stage.socket)).unwrap();
    let socket = stage.socket.clone();
    let read = move || {
        let nobody = rustix::process::Uid::from_raw(65534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        let mut stranger = UnixStream::connect(socket).unwrap();
        stranger.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        std::io::Read::read(&mut stranger, &mut [0; 1])
    };
    let read = tokio::task::spawn_blocking(move || std::thread::spawn(read).join().unwrap()).await.unwrap();
    assert_eq!(read.unwrap(), 0, "the connection is not closed");
}
