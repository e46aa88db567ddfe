//! Entry points for the fuzz targets of `e2e/fuzz`; compiled for them only.

use crate::log::{Log, Stream};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Output in pieces as a container may write them, into a log in memory: read back, each stream's text must be what
/// was written, whole lines `F` and cut ones `P`. The first byte of a piece is its length and its stream.
///
/// # Panics
/// When the log holds anything else.
pub fn log(bytes: &[u8]) {
    let path = format!("/dev/shm/corten-fuzz-{}.log", std::process::id());
    let path = Path::new(&path);
    let _ = std::fs::remove_file(path);
    let Ok(mut log) = Log::open(path.as_os_str().as_bytes()) else { return };
    let mut written = [Vec::new(), Vec::new()];
    let mut rest = bytes;
    while let Some((head, tail)) = rest.split_first() {
        let (piece, behind) = tail.split_at(usize::from(head >> 1).min(tail.len()));
        // Long lines come of few bytes of input.
        let piece = if *head > 250 { piece.repeat(900) } else { piece.to_vec() };
        let [out, err] = &mut written;
        let (stream, text) = if head & 1 == 0 { (Stream::Out, out) } else { (Stream::Err, err) };
        log.write(stream, &piece);
        text.extend_from_slice(&piece);
        rest = behind;
    }
    log.finish(Stream::Out);
    log.finish(Stream::Err);
    let file = std::fs::read(path).unwrap_or_default();
    let _ = std::fs::remove_file(path);
    let mut read = [Vec::new(), Vec::new()];
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        let mut parts = line.splitn(4, |byte| *byte == b' ').skip(1);
        let [out, err] = &mut read;
        let text = match parts.next() {
            Some(b"stdout") => out,
            Some(b"stderr") => err,
            other => panic!("no stream: {other:?}"),
        };
        let tag = parts.next();
        let body = parts.next().and_then(|body| body.strip_suffix(b"\n"));
        let body = body.unwrap_or_else(|| panic!("a torn line: {line:?}"));
        assert!(body.len() <= 16 << 10 && !body.contains(&b'\n'));
        text.extend_from_slice(body);
        match tag {
            Some(b"F") => text.push(b'\n'),
            Some(b"P") => {}
            other => panic!("no tag: {other:?}"),
        }
    }
    assert!(read == written, "the log does not hold what was written");
}
