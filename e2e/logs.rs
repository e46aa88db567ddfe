//! Reads container logs in the CRI format: `RFC3339Nano stdout|stderr P|F text`.

use crate::error::{Context, Error};
use std::fs;
use std::path::Path;

/// A whole line of output, put together from its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The text without the line feed.
    pub text: String,
    /// Of how many parts it was made.
    pub parts: usize,
    /// The longest part, in bytes.
    pub longest_part: usize,
}

/// All lines of a log file.
///
/// # Errors
/// When the file cannot be read, or a line of it is not in the format.
pub fn read(path: &Path) -> Result<Vec<Line>, Error> {
    let bytes = fs::read(path).at("read", path)?;
    let mut open: Vec<Line> = Vec::new();
    let mut lines = Vec::new();
    for (number, raw) in String::from_utf8_lossy(&bytes).lines().enumerate() {
        let malformed = || Error::LogFormat { path: path.into(), line: number + 1, text: raw.to_owned() };
        let (stream, partial, text) = parse(raw).ok_or_else(malformed)?;
        let index = open.iter().position(|line| line.stream == stream).unwrap_or_else(|| {
            let stream = stream.to_owned();
            open.push(Line { stream, text: String::new(), parts: 0, longest_part: 0 });
            open.len() - 1
        });
        let line = &mut open[index];
        line.text.push_str(text);
        line.parts += 1;
        line.longest_part = line.longest_part.max(text.len());
        if !partial {
            lines.push(open.remove(index));
        }
    }
    lines.extend(open);
    Ok(lines)
}

/// Stream, whether it is a partial line, and the text.
fn parse(line: &str) -> Option<(&str, bool, &str)> {
    let mut words = line.splitn(4, ' ');
    let time = words.next()?;
    let stream = words.next().filter(|stream| matches!(*stream, "stdout" | "stderr"))?;
    let tag = words.next().filter(|tag| matches!(*tag, "P" | "F"))?;
    let text = words.next()?;
    is_rfc3339_nano(time).then_some((stream, tag == "P", text))
}

fn is_rfc3339_nano(time: &str) -> bool {
    let pattern = b"dddd-dd-ddTdd:dd:dd";
    let bytes = time.as_bytes();
    let prefix = bytes.len() > pattern.len()
        && bytes.iter().zip(pattern).all(|(byte, kind)| match kind {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        });
    let rest = &time[pattern.len().min(time.len())..];
    let fraction = rest.trim_start_matches('.');
    let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    prefix
        && fraction.len() - zone.len() <= 9
        && (zone == "Z" || (zone.len() == 6 && zone.as_bytes()[3] == b':'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn parts_become_lines_stream_by_stream() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        let text = "2026-11-01T10:00:00.000000001Z stdout P ab\n2026-11-01T10:00:00.1+01:00 stderr F x y\n\
                    2026-11-01T10:00:00.000000003Z stdout F c\n";
        fs::write(&path, text).unwrap();
        let lines = read(&path).unwrap();
        let seen: Vec<_> =
            lines.iter().map(|line| (line.stream.as_str(), line.text.as_str(), line.parts)).collect();
        assert_eq!(seen, [("stderr", "x y", 1), ("stdout", "abc", 2)]);
    }

    #[test]
    fn anything_else_is_refused() {
        for line in
            ["2026-11-01T10:00:00Z stdout X a", "yesterday stdout F a", "2026-11-01T10:00:00Z stdin F a"]
        {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
