#![allow(clippy::unwrap_used, clippy::expect_used)]

mod rotation;

use super::*;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("corten-shim-log-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn file(&self) -> Vec<u8> {
        self.0.join("0.log").into_os_string().into_encoded_bytes()
    }

    fn lines(&self) -> Vec<(String, String, String)> {
        let text = std::fs::read_to_string(self.0.join("0.log")).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines()
            .map(|line| {
                let mut parts = line.splitn(4, ' ');
                assert_eq!(parts.next().unwrap().len(), time::STAMP);
                let mut next = || parts.next().unwrap().to_owned();
                (next(), next(), next())
            })
            .collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn line(stream: &str, tag: &str, text: &str) -> (String, String, String) {
    (stream.to_owned(), tag.to_owned(), text.to_owned())
}

#[test]
fn lines_are_put_together_however_they_are_read() {
    let scratch = Scratch::new("split");
    let mut log = Log::open(&scratch.file()).unwrap();
    log.write(Stream::Out, b"one\ntw");
    log.write(Stream::Err, b"problem\n");
    log.write(Stream::Out, b"o\n\nunfinished");
    log.finish(Stream::Out);
    log.finish(Stream::Err);
    let expected = [
        line("stdout", "F", "one"),
        line("stderr", "F", "problem"),
        line("stdout", "F", "two"),
        line("stdout", "F", ""),
        line("stdout", "P", "unfinished"),
    ];
    assert_eq!(scratch.lines(), expected);
    let mode = std::fs::metadata(scratch.0.join("0.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn long_lines_are_cut_and_can_be_put_together_again() {
    for step in [1000, PIECE - 1, PIECE, PIECE + 1, 100_000] {
        for length in [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 5] {
            let scratch = Scratch::new(&format!("long-{step}-{length}"));
            let mut log = Log::open(&scratch.file()).unwrap();
            let mut text: Vec<u8> = (b'a'..=b'z').cycle().take(length).collect();
            text.extend_from_slice(b"\nnext\n");
            for chunk in text.chunks(step) {
                log.write(Stream::Out, chunk);
            }
            let lines = scratch.lines();
            assert!(lines.iter().all(|(_, _, text)| text.len() <= PIECE));
            let pieces = length.div_ceil(PIECE);
            let tags: String = lines.iter().map(|(_, tag, _)| tag.as_str()).collect();
            assert_eq!(tags, format!("{}FF", "P".repeat(pieces - 1)), "{step} {length}");
            let joined: String = lines.iter().take(pieces).map(|(_, _, text)| text.as_str()).collect();
            assert_eq!(joined.as_bytes(), &text[..length]);
        }
    }
}

#[test]
fn reopening_fails_without_a_trace_or_goes_on_in_a_new_file() {
    let scratch = Scratch::new("reopen");
    let mut log = Log::open(&scratch.file()).unwrap();
    log.write(Stream::Out, b"before\n");
    let rotated = scratch.0.join("0.log.1");
    std::fs::rename(scratch.0.join("0.log"), &rotated).unwrap();
    std::fs::create_dir(scratch.0.join("0.log")).unwrap();
    log.reopen().unwrap_err();
    log.write(Stream::Out, b"still the old file\n");
    std::fs::remove_dir(scratch.0.join("0.log")).unwrap();
    log.reopen().unwrap();
    log.write(Stream::Out, b"after\n");
    assert_eq!(scratch.lines(), [line("stdout", "F", "after")]);
    assert_eq!(std::fs::read_to_string(rotated).unwrap().lines().count(), 2);
}

#[test]
fn no_link_below_the_directory_of_logs_is_followed() {
    let scratch = Scratch::new("links");
    let (logs, outside) = (scratch.0.join("logs"), scratch.0.join("outside"));
    let path = |rest: &str| [logs.as_os_str().as_encoded_bytes(), b"/./", rest.as_bytes()].concat();
    std::fs::create_dir(&outside).unwrap();
    // The directory of logs itself may be reached by one.
    std::os::unix::fs::symlink("real", &logs).unwrap();
    std::fs::create_dir(scratch.0.join("real")).unwrap();
    let mut log = Log::open(&path("a/b/0.log")).unwrap();
    log.write(Stream::Out, b"line\n");
    let dir = scratch.0.join("real/a");
    assert!(dir.join("b/0.log").is_file());
    std::fs::rename(dir.join("b"), scratch.0.join("aside")).unwrap();
    log.reopen().unwrap();
    assert!(dir.join("b/0.log").is_file(), "a missing directory is made again");
    std::fs::remove_dir_all(dir.join("b")).unwrap();
    std::os::unix::fs::symlink(&outside, dir.join("b")).unwrap();
    assert_eq!(log.reopen().unwrap_err().errno, errno::ENOTDIR);
    assert_eq!(Log::open(&path("a/b/0.log")).unwrap_err().errno, errno::ENOTDIR);
    assert_eq!(Log::open(&path("a/b/c/0.log")).unwrap_err().errno, errno::ENOTDIR);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_second_name_of_another_file_is_not_written_to() {
    let scratch = Scratch::new("hard-links");
    let (other, log_file) = (scratch.0.join("shadow"), scratch.0.join("0.log"));
    std::fs::write(&other, "the host's\n").unwrap();
    std::fs::hard_link(&other, &log_file).unwrap();
    let mut log = Log::open(&scratch.file()).unwrap();
    log.write(Stream::Out, b"first\n");
    assert_eq!(scratch.lines(), [line("stdout", "F", "first")]);
    std::fs::remove_file(&log_file).unwrap();
    std::fs::hard_link(&other, &log_file).unwrap();
    log.reopen().unwrap();
    log.write(Stream::Out, b"second\n");
    assert_eq!(scratch.lines(), [line("stdout", "F", "second")]);
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "the host's\n");
    // A log of its own goes on, as before.
    let mut log = Log::open(&scratch.file()).unwrap();
    log.write(Stream::Out, b"third\n");
    assert_eq!(scratch.lines(), [line("stdout", "F", "second"), line("stdout", "F", "third")]);
}

#[test]
fn a_full_disk_loses_whole_lines_and_counts_them() {
    let mut log = Log {
        path: Vec::new(),
        file: Some(File::options().write(true).open("/dev/full").unwrap()),
        ..Log::default()
    };
    log.write(Stream::Out, b"12345\n123");
    assert_eq!(log.lost(), 6);
    log.finish(Stream::Out);
    assert_eq!(log.lost(), 9);
}
