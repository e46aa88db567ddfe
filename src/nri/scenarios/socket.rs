//! Who may come, and where to.

use super::*;
use crate::Error;
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

#[tokio::test]
async fn one_that_nobody_answers_on_is_replaced_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nri.sock");
    let settings = || Settings { socket: path.clone(), ..Settings::default() };
    let start = || Nri::new().start(settings(), Arc::<World>::default());
    let other = UnixListener::bind(&path).unwrap();
    assert!(matches!(start(), Err(Error::Occupied { .. })));
    drop(other);
    start().unwrap();
    assert!(matches!(start(), Err(Error::Occupied { .. })));
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let on_a_file =
        Nri::new().start(Settings { socket: file, ..Settings::default() }, Arc::<World>::default());
    assert!(matches!(on_a_file, Err(Error::Listen { .. })));
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
