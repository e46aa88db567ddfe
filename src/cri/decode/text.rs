//! Rules for strings that end up in files, paths, environments and system calls.

use super::{DecodeError, Field};
use model::{AbsPath, ValueError};

/// The kernel's HOST_NAME_MAX.
const HOSTNAME_MAX: usize = 64;
/// The longest name that Kubernetes gives an object.
const NAME_MAX: usize = 253;

/// No NUL, which would end the string early in the kernel.
pub(crate) fn no_nul(field: &Field<'_>, text: &str) -> Result<(), DecodeError> {
    if text.contains('\0') { Err(field.value()(ValueError::Nul)) } else { Ok(()) }
}

/// Neither NUL, line breaks nor other control characters.
pub(crate) fn printable(field: &Field<'_>, text: &str) -> Result<(), DecodeError> {
    if text.chars().any(char::is_control) {
        Err(field.invalid("contains a control character"))
    } else {
        Ok(())
    }
}

/// One word of a line in a configuration file.
pub(crate) fn word(field: &Field<'_>, text: &str) -> Result<(), DecodeError> {
    printable(field, text)?;
    if text.is_empty() || text.chars().any(char::is_whitespace) {
        return Err(field.invalid("is empty or contains white space"));
    }
    Ok(())
}

/// The name of an object: required, bounded, printable, and no path.
pub(crate) fn name(field: &Field<'_>, text: &str) -> Result<(), DecodeError> {
    if text.is_empty() {
        return Err(field.missing());
    }
    printable(field, text)?;
    if text.len() > NAME_MAX {
        return Err(field.invalid(format!("is longer than {NAME_MAX} bytes")));
    }
    if text.contains('/') || text == "." || text == ".." {
        return Err(field.invalid("must not be a path"));
    }
    Ok(())
}

/// An identifier: required.
pub(crate) fn id(field: &Field<'_>, text: &str) -> Result<(), DecodeError> {
    if text.is_empty() { Err(field.missing()) } else { Ok(()) }
}

/// A host name as the kernel and resolvers take it; empty is allowed.
pub(crate) fn hostname(field: &Field<'_>, text: &str) -> Result<(), DecodeError> {
    if text.len() > HOSTNAME_MAX {
        return Err(field.invalid(format!("is longer than {HOSTNAME_MAX} bytes")));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if !text.bytes().all(allowed) || text.starts_with(['-', '.']) {
        return Err(
            field.invalid("must consist of letters, digits, `-`, `_` and `.`, and begin with none of `-.`")
        );
    }
    Ok(())
}

/// A path that begins at a root; `..` is not followed. Required.
pub(crate) fn absolute(field: &Field<'_>, path: String) -> Result<AbsPath, DecodeError> {
    id(field, &path)?;
    AbsPath::new(path).map_err(field.value())
}

/// The same; empty is none.
pub(crate) fn absolute_if_any(field: &Field<'_>, path: String) -> Result<Option<AbsPath>, DecodeError> {
    if path.is_empty() { Ok(None) } else { absolute(field, path).map(Some) }
}

/// A path without a way up, and of a length that the kernel takes.
pub(crate) fn inside(field: &Field<'_>, path: &str) -> Result<(), DecodeError> {
    model::path::check_inside(path).map_err(field.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rule = fn(&Field<'_>, &str) -> Result<(), DecodeError>;

    #[test]
    fn rules() {
        let long = "a".repeat(254);
        let absolute = |field: &Field<'_>, path: &str| absolute(field, path.to_owned()).map(drop);
        let table: [(Rule, &str, bool); 25] = [
            (name, "web-0", true),
            (name, "", false),
            (name, "a/b", false),
            (name, "..", false),
            (name, "a\nb", false),
            (name, &long, false),
            (hostname, "", true),
            (hostname, "web-0.example", true),
            (hostname, &long[..64], true),
            (hostname, &long[..65], false),
            (hostname, "a b", false),
            (hostname, "-a", false),
            (hostname, "a\n127.0.0.1 b", false),
            (absolute, "/", true),
            (absolute, "/a..b/c", true),
            (absolute, "", false),
            (absolute, "a", false),
            (absolute, "/a/../b", false),
            (absolute, "/a\0b", false),
            (inside, "a/0.log", true),
            (inside, "../a", false),
            (word, "ndots:5", true),
            (word, "a b", false),
            (word, "", false),
            (no_nul, "a\0", false),
        ];
        for (rule, text, accepted) in table {
            assert_eq!(rule(&Field::root("f"), text).is_ok(), accepted, "{text:?}");
        }
    }
}
