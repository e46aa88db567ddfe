//! What the kubelet complains of, in a form that two runs can be compared in.

use e2e::Error;
use e2e::error::Context;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What it says of its own clients, whatever the runtime: it closes their connection behind a stream, and its reader may
/// notice that before the client has hung up.
const OF_CLIENTS: [&str; 1] = [r#"conn.go "Error on socket receive""#];

/// Errors of a log, each under its place in the kubelet's source and its message, with one whole line.
pub(crate) fn read(log: &Path) -> Result<BTreeMap<String, String>, Error> {
    let text = fs::read_to_string(log).at("read", log)?;
    Ok(text.lines().filter_map(|line| Some((complaint(line)?, line.to_owned()))).collect())
}

/// `E1122 10:47:23.576410   10592 remote_runtime.go:863] "A message" err="…"` → `remote_runtime.go "A message"`.
fn complaint(line: &str) -> Option<String> {
    let mut letters = line.chars();
    let severity = letters.next()?;
    if !matches!(severity, 'E' | 'F') || !letters.next()?.is_ascii_digit() {
        return None;
    }
    let (head, message) = line.split_once("] ")?;
    let file = head.split_whitespace().last()?.split(':').next()?;
    // What follows the message names pods, paths and numbers of one run, and quotes the runtime in its own words.
    let text = match message.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        Some((text, _)) => text.to_owned(),
        None => message.chars().filter(|letter| !letter.is_ascii_digit()).collect(),
    };
    Some(format!("{file} {text:?}")).filter(|name| !OF_CLIENTS.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn an_error_is_known_by_place_and_message() {
        let line = r#"E1122 10:47:23.576410   10592 remote_runtime.go:863] "ListContainerStats failed" err="rpc error""#;
        assert_eq!(complaint(line).as_deref(), Some(r#"remote_runtime.go "ListContainerStats failed""#));
        assert_eq!(complaint("E1122 10:47:23.5 1 a.go:1] took 17 s").as_deref(), Some(r#"a.go "took  s""#));
    }

    #[test]
    fn warnings_continued_lines_and_what_clients_do_are_none() {
        let of_clients =
            r#"E1122 14:36:32.314810   19465 conn.go:353] "Error on socket receive" err="read tcp""#;
        for line in [
            of_clients,
            r#"W1122 10:47:23.576410 1 a.go:1] "x""#,
            "Exactly",
            "",
            "I1122 10:00:00.0 1 a.go:1] x",
        ] {
            assert_eq!(complaint(line), None);
        }
    }
}
