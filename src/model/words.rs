//! Numbers and lists in sentences.

use std::fmt::Display;

/// How many of several are named.
const NAMED: usize = 5;

/// A number of things: "1 pod", "2 pods". The plural is the noun with an "s".
pub fn counted<N: Copy + Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    let end = if number == N::from(1) { "" } else { "s" };
    format!("{number} {noun}{end}")
}

/// The first of several, and how many more there are: however many it are, the sentence stays readable.
pub fn first_of<T: AsRef<str>>(all: impl IntoIterator<Item = T>) -> String {
    let mut all = all.into_iter();
    let mut text = String::new();
    for one in all.by_ref().take(NAMED) {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(one.as_ref());
    }
    match all.count() {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!(
            [0_usize, 1, 2].map(|number| counted(number, "image")),
            ["0 images", "1 image", "2 images"]
        );
        assert_eq!(counted(1_u64, "pod"), "1 pod");
    }

    #[test]
    fn many_are_told_by_the_first() {
        assert_eq!(first_of(["a", "b"]), "a, b");
        let many: Vec<String> = (0..9).map(|number| number.to_string()).collect();
        assert_eq!(first_of(&many), "0, 1, 2, 3, 4 and 4 more");
        assert_eq!(first_of([""; 0]), "");
    }
}
