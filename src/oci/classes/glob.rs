//! Files by a pattern with `*`, `?` and `[a-z]`, none of which goes across a slash.

use std::path::{Path, PathBuf};

/// The files that there are of a pattern, in order.
pub(super) fn files(pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next: Vec<PathBuf> = Vec::new();
        for dir in &found {
            if part.contains(['*', '?', '[']) {
                next.extend(entries(dir, part));
            } else {
                next.push(dir.join(part));
            }
        }
        found = next;
    }
    found.retain(|path| path.symlink_metadata().is_ok());
    found.sort();
    found
}

fn entries(dir: &Path, part: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| matches(part, name)).map(|name| dir.join(name)).collect()
}

/// Whether a name is of a pattern.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // Where the last star was, and how much of the name it has taken.
    let (mut at, mut seen, mut star) = (0, 0, None);
    while let Some(c) = name.get(seen) {
        match one(pattern.get(at..).unwrap_or_default(), *c) {
            Some(Step::Star) => {
                star = Some((at, seen));
                at += 1;
            }
            Some(Step::Taken(length)) => (at, seen) = (at + length, seen + 1),
            None => match &mut star {
                Some((place, taken)) => {
                    *taken += 1;
                    (at, seen) = (*place + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|c| *c == '*')
}

enum Step {
    Star,
    /// So much of the pattern stood for the character.
    Taken(usize),
}

fn one(pattern: &[char], c: char) -> Option<Step> {
    match pattern.first()? {
        '*' => Some(Step::Star),
        '?' => Some(Step::Taken(1)),
        '[' => {
            let end = pattern.iter().position(|c| *c == ']')?;
            let set = pattern.get(1..end)?;
            let (negated, set) = match set.split_first() {
                Some(('^' | '!', rest)) => (true, rest),
                _ => (false, set),
            };
            (in_set(set, c) != negated).then_some(Step::Taken(end + 1))
        }
        '\\' => (pattern.get(1) == Some(&c)).then_some(Step::Taken(2)),
        known => (*known == c).then_some(Step::Taken(1)),
    }
}

fn in_set(mut set: &[char], c: char) -> bool {
    loop {
        match set {
            [] => return false,
            [first, '-', last, rest @ ..] => {
                if (*first..=*last).contains(&c) {
                    return true;
                }
                set = rest;
            }
            [one, rest @ ..] => {
                if *one == c {
                    return true;
                }
                set = rest;
            }
        }
    }
}
