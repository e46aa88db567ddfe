//! Names of the Container Device Interface.

/// Whether the text is the qualified name of a device: `vendor/class=device`. Vendor and class begin with a letter,
/// the device's name with a letter or digit, all end with one, and between there are `_`, `-` and `.` too (in a
/// device's name also `:`).
pub fn is_qualified(name: &str) -> bool {
    let Some((kind, device)) = name.split_once('=') else { return false };
    is_kind(kind) && is_device(device)
}

/// Whether the text is `vendor/class`.
pub fn is_kind(kind: &str) -> bool {
    let Some((vendor, class)) = kind.split_once('/') else { return false };
    [vendor, class]
        .iter()
        .all(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()) && is_word(word, ""))
}

/// Whether the text is the name of a device within its kind.
pub fn is_device(name: &str) -> bool {
    is_word(name, ":")
}

fn is_word(word: &str, more: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric();
    word.starts_with(plain)
        && word.ends_with(plain)
        && word.chars().all(|c| plain(c) || matches!(c, '_' | '-' | '.') || more.contains(c))
}

#[cfg(test)]
mod tests {
    use super::is_qualified;

    #[test]
    fn names_are_those_of_the_specification() {
        for name in ["vendor.com/net=eth0", "v/c=0", "nvidia.com/gpu=all", "a-b/c_d=GPU-1:0"] {
            assert!(is_qualified(name), "{name}");
        }
        for name in [
            "",
            "net=eth0",
            "/net=a",
            "vendor.com/=a",
            "v/c=",
            "1v/c=a",
            "v/c=-a",
            "v/c=a-",
            "v/c:d=a",
            "v/c/d=a",
        ] {
            assert!(!is_qualified(name), "{name}");
        }
    }
}
