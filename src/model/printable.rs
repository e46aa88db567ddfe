//! Text of strangers for terminals and logs.

use std::borrow::Cow;

/// The same text without what moves a cursor, rings, or turns the reading direction: such characters are spelled as JSON
/// escapes them, so that JSON stays what it was. Line feeds and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_acting) {
        return Cow::Borrowed(text);
    }
    let mut told = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if is_acting(letter) {
            told.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            told.push(letter);
        }
    }
    Cow::Owned(told)
}

/// C0 but line feed and tab, DEL and C1; the overrides, embeddings and isolates of Unicode's bidirectional algorithm.
fn is_acting(letter: char) -> bool {
    (letter.is_control() && !matches!(letter, '\n' | '\t'))
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_spelled() {
        assert_eq!(printable("a\tb\nü 語"), "a\tb\nü 語");
        assert_eq!(printable("\u{1b}[31m\r"), "\\u001b[31m\\u000d");
        assert_eq!(printable("x\u{202e}y\u{9b}z\u{7f}"), "x\\u202ey\\u009bz\\u007f");
    }
}
