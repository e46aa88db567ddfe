//! Patterns in settings: `*` stands for any characters, `?` for one.

/// Whether the pattern fits the whole text. Linear in the product of the lengths at worst, without recursion.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // Where to go on when what follows the last star did not fit.
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, seen));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || text.get(seen) == Some(wanted) => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((after, from)) = star else { return false };
                at = after;
                seen = from + 1;
                star = Some((after, seen));
            }
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("*", "anything", true),
            ("docker.io/*", "docker.io/library/busybox:1", true),
            ("*/pause:*", "registry.k8s.io/pause:3.10", true),
            ("*/pause:3.?", "registry.k8s.io/pause:3.9", true),
            ("*/pause:3.?", "registry.k8s.io/pause:3.10", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("abc", "ab", false),
            ("ab", "abc", false),
            ("*a", "b", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
