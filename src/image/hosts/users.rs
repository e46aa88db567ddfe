//! Addresses as others may read them: a user and a password in one are nobody's business.

/// What stands in place of a user and a password.
const REMOVED: &str = "(removed)";

/// A text whose URLs name no user and no password.
#[must_use]
pub fn without_users(text: &str) -> String {
    let Some((before, after)) = text.split_once("://") else { return text.to_owned() };
    let end = after.find(|c: char| matches!(c, '/' | '"' | '\'' | '?' | '#' | '`') || c.is_whitespace());
    let (authority, rest) = after.split_at(end.unwrap_or(after.len()));
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{REMOVED}@{host}"),
        None => authority.to_owned(),
    };
    format!("{before}://{authority}{}", without_users(rest))
}

/// A key of `hosts.toml`, in which an address may lack its scheme.
pub(super) fn key(key: &str) -> String {
    match (key.contains("://"), key.rfind('@')) {
        (false, Some(at)) => {
            let begin = key[..at].find('"').map_or(0, |quote| quote + 1);
            format!("{}{REMOVED}{}", &key[..begin], &key[at..])
        }
        _ => without_users(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_texts_tell_hosts_and_no_users() {
        assert_eq!(without_users("`https://u:x1@m.example` no"), "`https://(removed)@m.example` no");
        assert_eq!(key("host.\"ftp://u:x1@m.example\".ca"), "host.\"ftp://(removed)@m.example\".ca");
        assert_eq!(key("host.\"u:x1@m.example\""), "host.\"(removed)@m.example\"");
        assert_eq!(key("host.\"m.example\""), "host.\"m.example\"");
    }
}
