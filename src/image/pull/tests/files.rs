//! Files of operators that cannot be read to an end.

use super::Node;
use crate::ImageError;
use model::ErrorKind;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// What becomes of a pull on a runtime that has one thread, which nothing may block.
fn pull(node: &Node) -> ImageError {
    let (answer, told) = mpsc::channel();
    let store = Arc::clone(&node.store);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let pulled = runtime.block_on(store.pull("reg.example/app:v1", None));
        answer.send(pulled).unwrap();
    });
    let Ok(pulled) = told.recv_timeout(Duration::from_secs(60)) else { panic!("the runtime is blocked") };
    pulled.unwrap_err()
}

#[test]
fn what_is_no_regular_file_is_told_and_blocks_nothing() {
    for (text, name) in [
        ("", "hosts.toml"),
        ("ca = 'fifo'", "fifo"),
        ("client = 'fifo'", "fifo"),
        ("client = [['fifo', 'key']]", "fifo"),
        ("client = [['certificate', 'fifo']]", "fifo"),
        // As Docker has it.
        ("", "own.crt"),
        ("", "own.key"),
    ] {
        let node = Node::new();
        node.hosts("reg.example", text);
        let directory = node.directory.path().join("certs.d/reg.example");
        for (name, text) in [("certificate", ""), ("key", ""), ("own.cert", "")] {
            fs::write(directory.join(name), text).unwrap();
        }
        if text.is_empty() {
            fs::remove_file(directory.join("hosts.toml")).unwrap();
        }
        mkfifo(&directory.join(name), Mode::S_IRWXU).unwrap();
        let error = pull(&node);
        let told = error.to_string();
        // Beside what else is wrong with the others.
        assert!(told.contains(&format!("certs.d/reg.example/{name}: not a regular file")), "{told}");
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    }
}

#[test]
fn a_file_without_end_is_not_read_to_it() {
    let node = Node::new();
    node.hosts("reg.example", "");
    let path = node.directory.path().join("certs.d/reg.example/hosts.toml");
    fs::File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    let told = pull(&node).to_string();
    assert!(told.ends_with("hosts.toml: it is longer than 4194304 bytes"), "{told}");
}
