//! Against a manager that a test plays, and against dbus-daemon where there is one.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::connection::Link;
use crate::error::SystemdError;
use crate::message::tests::{answer, removed};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::net::UnixListener;

const SOON: Duration = Duration::from_secs(20);

/// Takes one client in, and gives what comes of each of its calls.
async fn manager(listener: UnixListener, answer: impl Fn(u32, &Message) -> Vec<Vec<u8>>) {
    let (stream, _) = listener.accept().await.unwrap();
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    let mut line = String::new();
    input.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("\0AUTH EXTERNAL ") && line.ends_with("\r\n"), "{line:?}");
    output.write_all(b"OK 0123456789abcdef\r\n").await.unwrap();
    line.clear();
    input.read_line(&mut line).await.unwrap();
    assert_eq!(line, "BEGIN\r\n");
    loop {
        let mut prefix = [0; PREFIX];
        if input.read_exact(&mut prefix).await.is_err() {
            return;
        }
        let mut bytes = prefix.to_vec();
        bytes.resize(message::length(&prefix).unwrap(), 0);
        input.read_exact(&mut bytes[PREFIX..]).await.unwrap();
        let number = u32::from_ne_bytes(bytes[8..12].try_into().unwrap());
        let answers = answer(number, &Message::parse(&bytes).unwrap());
        if answers.is_empty() {
            return;
        }
        for answer in answers {
            output.write_all(&answer).await.unwrap();
        }
    }
}

async fn linked(answer: impl Fn(u32, &Message) -> Vec<Vec<u8>> + Send + 'static) -> Link {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("private");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(manager(listener, answer));
    Link::on(&socket, false).await.unwrap()
}

async fn stop(link: &Link) -> Result<(), SystemdError> {
    link.run("stop", "StopUnit", "a.scope", &Body::of(&["a.scope", "replace"]), SOON).await
}

#[tokio::test]
async fn a_job_s_end_is_waited_for_whether_it_comes_before_its_answer_or_behind() {
    let link = linked(|number, call| {
        assert_eq!((call.member.as_str(), call.signature.as_str()), ("StopUnit", "ss"));
        match number {
            1 => vec![removed("/job/1", "done"), answer(number, Ok("/job/1"))],
            2 => vec![answer(number, Ok("/job/2")), removed("/job/1", "done"), removed("/job/2", "failed")],
            _ => vec![answer(number, Err("org.freedesktop.systemd1.NoSuchUnit"))],
        }
    })
    .await;
    stop(&link).await.unwrap();
    let failed = stop(&link).await.unwrap_err();
    assert!(matches!(&failed, SystemdError::Job { result, .. } if result == "failed"), "{failed:?}");
    let unknown = stop(&link).await.unwrap_err();
    assert!(unknown.is_unknown_unit(), "{unknown:?}");
    assert!(!link.is_closed());
}

#[tokio::test]
async fn a_manager_that_goes_away_ends_what_waits_for_it() {
    let link = linked(|number, _| if number == 1 { vec![answer(1, Ok("/job/1"))] } else { Vec::new() }).await;
    let other = link.clone();
    let waits = tokio::spawn(async move { stop(&other).await.unwrap_err() });
    // The second call is the last that the manager hears.
    let error = loop {
        match stop(&link).await.unwrap_err() {
            SystemdError::Job { result, .. } if result == "disconnected" => {}
            error => break error,
        }
    };
    assert!(matches!(&error, SystemdError::Bus { source: BusError::Closed, .. }), "{error:?}");
    let waited = waits.await.unwrap();
    assert!(matches!(waited, SystemdError::Job { .. } | SystemdError::Bus { .. }), "{waited:?}");
    assert!(link.is_closed());
}

#[tokio::test]
async fn who_is_not_let_in_hears_why() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("bus");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"REJECTED EXTERNAL\r\n").await.unwrap();
        // Until the client has gone.
        let _ = stream.read(&mut [0; 64]).await;
    });
    let error = Link::on(&socket, true).await.unwrap_err();
    assert!(matches!(&error, BusError::Refused(line) if line == "REJECTED EXTERNAL\r\n"), "{error:?}");
    let error = Link::on(&dir.path().join("none"), true).await.unwrap_err();
    assert!(matches!(error, BusError::Connect { .. }), "{error:?}");
}

/// Ended with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn dbus_daemon_takes_the_handshake_the_rule_and_the_call() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("bus");
    let address = format!("--address=unix:path={}", socket.display());
    let mut command = Command::new("dbus-daemon");
    command
        .args(["--session", "--nofork", "--nopidfile", &address])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let Ok(daemon) = command.spawn() else { return need::skip(need::Need::System, "no dbus-daemon") };
    let _daemon = Daemon(daemon);
    let begin = Instant::now();
    let link = loop {
        match Link::on(&socket, true).await {
            Err(BusError::Connect { .. }) if begin.elapsed() < SOON => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            link => break link.unwrap(),
        }
    };
    // Nobody has systemd's name on this bus, and nobody can be started for it.
    let error = stop(&link).await.unwrap_err();
    let SystemdError::Bus { source: BusError::Method { name, .. }, .. } = &error else { panic!("{error:?}") };
    assert!(name.starts_with("org.freedesktop.DBus.Error."), "{error:?}");
    assert!(!link.is_closed());
}
