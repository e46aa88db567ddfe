//! A log in the CRI's format: `TIME STREAM TAGS TEXT` a line, where the tag P says that the line goes on in the next one.

use crate::error::Error;
use crate::print::write;
use crate::time;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes that are gathered before they are printed.
const PIECE: usize = 64 << 10;

/// What of a log is wanted.
pub(crate) struct Wanted {
    /// From this time on, in nanoseconds.
    pub(crate) since: Option<i64>,
    /// Times before lines.
    pub(crate) timestamps: bool,
}

/// An open log.
pub(crate) struct LogFile {
    file: BufReader<File>,
    path: PathBuf,
    /// The beginning of a line whose end is not written yet.
    line: Vec<u8>,
    /// The next piece begins a line.
    begins: bool,
}

/// A line of the file.
struct Line<'a> {
    time: &'a [u8],
    is_error: bool,
    goes_on: bool,
    text: &'a [u8],
}

impl<'a> Line<'a> {
    /// `None` where it is not in the format.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (time, stream, tags) = (parts.next()?, parts.next()?, parts.next()?);
        let is_error = match stream {
            b"stdout" => false,
            b"stderr" => true,
            _ => return None,
        };
        let goes_on = tags.split(|byte| *byte == b':').any(|tag| tag == b"P");
        Some(Self { time, is_error, goes_on, text: parts.next().unwrap_or_default() })
    }

    fn is_since(&self, since: Option<i64>) -> bool {
        let Some(since) = since else { return true };
        let time = std::str::from_utf8(self.time).ok().and_then(time::parse);
        time.is_none_or(|time| time >= since)
    }
}

impl LogFile {
    /// Opens it at its beginning.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::Log { path: path.to_owned(), source })?;
        Ok(Self { file: BufReader::new(file), path: path.to_owned(), line: Vec::new(), begins: true })
    }

    /// Whether another file has its place, or none: it was rotated.
    pub(crate) fn is_replaced(&self, path: &Path) -> bool {
        match (self.file.get_ref().metadata(), std::fs::metadata(path)) {
            (Ok(own), Ok(there)) => (own.dev(), own.ino()) != (there.dev(), there.ino()),
            (_, Err(error)) => error.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// Goes to where the last lines begin.
    pub(crate) fn skip_to_last(&mut self, count: usize, wanted: &Wanted) -> Result<(), Error> {
        let path = self.path.clone();
        self.last(count, wanted).map_err(|source| Error::Log { path, source })
    }

    fn last(&mut self, count: usize, wanted: &Wanted) -> io::Result<()> {
        let (mut starts, mut offset, mut begins, mut line) = (VecDeque::new(), 0, true, Vec::new());
        loop {
            line.clear();
            let length = self.file.read_until(b'\n', &mut line)?;
            if !line.ends_with(b"\n") {
                break;
            }
            let parsed = Line::parse(&line);
            if begins && parsed.as_ref().is_none_or(|line| line.is_since(wanted.since)) {
                starts.push_back(offset);
                if starts.len() > count {
                    starts.pop_front();
                }
            }
            begins = parsed.is_none_or(|line| !line.goes_on);
            offset += length as u64;
        }
        self.file.seek(SeekFrom::Start(starts.front().copied().unwrap_or(offset)))?;
        Ok(())
    }

    /// Prints all that is there: stdout to stdout, stderr to stderr.
    pub(crate) fn print(&mut self, wanted: &Wanted) -> Result<(), Error> {
        let mut out = Vec::new();
        loop {
            let read = self.file.read_until(b'\n', &mut self.line);
            read.map_err(|source| Error::Log { path: self.path.clone(), source })?;
            if !self.line.ends_with(b"\n") {
                break;
            }
            let line = std::mem::take(&mut self.line);
            self.put(&line, wanted, &mut out)?;
            if out.len() >= PIECE {
                write(&out)?;
                out.clear();
            }
        }
        Ok(write(&out)?)
    }

    fn put(&mut self, line: &[u8], wanted: &Wanted, out: &mut Vec<u8>) -> Result<(), Error> {
        let Some(parsed) = Line::parse(line) else {
            out.extend_from_slice(line);
            return Ok(());
        };
        let begins = std::mem::replace(&mut self.begins, !parsed.goes_on);
        if !parsed.is_since(wanted.since) {
            return Ok(());
        }
        let mut text = Vec::with_capacity(line.len());
        if wanted.timestamps && begins {
            text.extend_from_slice(parsed.time);
            text.push(b' ');
        }
        text.extend_from_slice(parsed.text);
        if !parsed.goes_on {
            text.push(b'\n');
        }
        if parsed.is_error {
            // In the order in which they were written, where both are one terminal.
            write(out)?;
            out.clear();
            // Nobody may be listening.
            let _ = io::stderr().write_all(&text);
        } else {
            out.extend_from_slice(&text);
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn log(text: &str) -> (tempfile::TempDir, LogFile) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        std::fs::write(&path, text).unwrap();
        let log = LogFile::open(&path).unwrap();
        (directory, log)
    }

    fn printed(log: &mut LogFile, wanted: &Wanted) -> String {
        let (mut out, mut line) = (Vec::new(), Vec::new());
        while log.file.read_until(b'\n', &mut line).unwrap() > 0 {
            log.put(&std::mem::take(&mut line), wanted, &mut out).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    const TEXT: &str = "2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stdout P two\n\
        2026-01-01T00:00:03Z stdout F , still two\n2026-01-01T00:00:04.5Z stdout F \nno line\n2026-01-01T00:00:05Z std";

    #[test]
    fn lines_are_told_as_they_were_written() {
        let all = Wanted { since: None, timestamps: false };
        let text = TEXT.rsplit_once('\n').unwrap().0.to_owned() + "\n";
        assert_eq!(printed(&mut log(&text).1, &all), "one\ntwo, still two\n\nno line\n");
        let with = Wanted { since: time::parse("2026-01-01T00:00:02Z"), timestamps: true };
        let told = "2026-01-01T00:00:02Z two, still two\n2026-01-01T00:00:04.5Z \nno line\n";
        assert_eq!(printed(&mut log(&text).1, &with), told);
    }

    #[test]
    fn the_last_lines_are_whole_ones() {
        let all = Wanted { since: None, timestamps: false };
        for (count, place) in [
            (0, TEXT.find("2026-01-01T00:00:05Z")),
            (1, TEXT.find("no line")),
            (3, TEXT.find("2026-01-01T00:00:02Z")),
            (9, Some(0)),
        ] {
            let (_directory, mut log) = log(TEXT);
            log.skip_to_last(count, &all).unwrap();
            assert_eq!(log.file.stream_position().unwrap(), place.unwrap() as u64, "{count}");
        }
        let (_directory, mut log) = log(TEXT);
        let young = Wanted { since: time::parse("2026-01-01T00:00:04Z"), timestamps: false };
        log.skip_to_last(9, &young).unwrap();
        assert_eq!(log.file.stream_position().unwrap(), TEXT.find("2026-01-01T00:00:04").unwrap() as u64);
    }

    #[test]
    fn a_log_that_was_renamed_is_not_the_one_of_its_path() {
        let (directory, log) = log(TEXT);
        let path = directory.path().join("0.log");
        assert!(!log.is_replaced(&path));
        std::fs::rename(&path, directory.path().join("0.log.1")).unwrap();
        assert!(log.is_replaced(&path));
        std::fs::write(&path, "").unwrap();
        assert!(log.is_replaced(&path));
    }
}
