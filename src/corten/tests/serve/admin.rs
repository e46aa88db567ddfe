//! What operators ask of a running daemon over its administration socket, as its log and its signals show it.

use super::Host;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn pull(host: &Host, image: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_corten"))
        .args(["image", "pull", image, "--config"])
        .arg(host.path("corten.toml"))
        .env("HOME", host.path("home"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_pull_of_an_operator_is_listed_while_it_is_under_way_and_logged_once_at_its_end() {
    let Some(host) = Host::new() else { return };
    let daemon = host.start();
    host.told("READY=1");
    // A registry that takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/team/app:1", silent.local_addr().unwrap());
    let mut pulling = pull(&host, &image);
    let _held = silent.accept().unwrap();
    daemon.signal(rustix::process::Signal::USR1);
    host.logged(&format!("in flight: corten image pull {image} for "));
    pulling.kill().unwrap();
    pulling.wait().unwrap();

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let image = format!("{closed}/team/app:1");
    assert!(!pull(&host, &image).wait().unwrap().success());
    host.logged(&format!("\"message\":\"corten image pull: failed\",\"image\":\"{image}\""));
    let lines = host.log().lines().filter(|line| line.contains(&image)).count();
    assert_eq!(lines, 1, "{}", host.log());
}

#[test]
fn a_request_that_does_not_come_to_its_end_is_given_up() {
    let Some(host) = Host::new() else { return };
    let _daemon = host.start();
    host.told("READY=1");
    let mut client = UnixStream::connect(host.path("run/admin.sock")).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = "POST /v1/inspect HTTP/1.1\r\nhost: corten\r\ncontent-length: 1000\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    let mut drops = client.try_clone().unwrap();
    // A byte now and then.
    std::thread::spawn(move || {
        while drops.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    let mut answer = [0; 12];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}
