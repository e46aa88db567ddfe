//! The mark before what is to be taken away.

const MARK: char = '-';

/// What is to be taken away; `None`: the name has no mark.
pub fn marked(name: &str) -> Option<&str> {
    name.strip_prefix(MARK)
}

/// A name with the mark.
pub fn mark(name: &str) -> String {
    format!("{MARK}{name}")
}
