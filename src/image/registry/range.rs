//! Parts of a blob: how one is asked for, and which one an answer brings.

use reqwest::header::{CONTENT_RANGE, HeaderValue};
use reqwest::{Response, StatusCode};

/// Bytes of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first.
    pub from: u64,
    /// The one behind the last; `None` for all there are.
    pub until: Option<u64>,
}

impl Span {
    pub(crate) const WHOLE: Self = Self { from: 0, until: None };

    /// `None` for the whole blob, which any server has.
    pub(super) fn header(self) -> Option<HeaderValue> {
        let text = match (self.from, self.until) {
            (0, None) => return None,
            (from, None) => format!("bytes={from}-"),
            (from, Some(until)) => format!("bytes={from}-{}", until.saturating_sub(1)),
        };
        HeaderValue::from_str(&text).ok()
    }
}

/// What an answer of a part says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Given {
    pub span: Span,
    /// Bytes of the blob.
    pub total: Option<u64>,
}

impl Given {
    /// `None` where it is no part, or does not say where it begins.
    pub(super) fn of(response: &Response) -> Option<Self> {
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return None;
        }
        parse(response.headers().get(CONTENT_RANGE)?.to_str().ok()?)
    }

    /// Whether it is what was asked for of a blob of this size, to the byte.
    pub(super) fn is_exactly(&self, asked: Span, size: u64) -> bool {
        self.span == asked && self.total == Some(size)
    }
}

/// `bytes 0-99/1000`, or a star for what is not known (RFC 9110, 14.4).
fn parse(text: &str) -> Option<Given> {
    let text = text.trim().strip_prefix("bytes")?;
    let (span, total) = text.split_once('/').map_or((text, None), |(span, total)| (span, Some(total)));
    let (from, last) = span.split_once('-')?;
    let until = last.trim().parse::<u64>().ok().and_then(|last| last.checked_add(1));
    let total = total.and_then(|total| total.trim().parse().ok());
    Some(Given { span: Span { from: from.trim().parse().ok()?, until }, total })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_asked_for_by_its_first_and_last_byte() {
        for (from, until, expected) in [
            (0, None, None),
            (5, None, Some("bytes=5-")),
            (0, Some(10), Some("bytes=0-9")),
            (10, Some(11), Some("bytes=10-10")),
        ] {
            let header = Span { from, until }.header();
            assert_eq!(header.as_ref().map(|header| header.to_str().unwrap()), expected);
        }
    }

    #[test]
    fn what_an_answer_says_of_itself() {
        let given = |from, until, total| Some(Given { span: Span { from, until }, total });
        for (text, expected) in [
            ("bytes 0-99/1000", given(0, Some(100), Some(1000))),
            (" bytes  5-5/6 ", given(5, Some(6), Some(6))),
            ("bytes 0-99/*", given(0, Some(100), None)),
            ("bytes 7-", given(7, None, None)),
            ("bytes 0-18446744073709551615/1", given(0, None, Some(1))),
            ("bytes */1000", None),
            ("items 0-99/1000", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        let asked = Span { from: 0, until: Some(100) };
        let exact = |text| parse(text).unwrap().is_exactly(asked, 1000);
        assert!(exact("bytes 0-99/1000"));
        for other in ["bytes 0-98/1000", "bytes 1-99/1000", "bytes 0-99/1001", "bytes 0-99/*"] {
            assert!(!exact(other), "{other}");
        }
    }
}
