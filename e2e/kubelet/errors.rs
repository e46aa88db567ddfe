//! What the kubelet complains of, in a form that two runs can be compared in.

use e2e::Error;
use e2e::error::Context;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What it says of its own clients, whatever the runtime: it closes their connection behind a stream, and its reader may
/// notice that before the client has hung up.
const OF_CLIENTS: [&str; 1] = [r#"conn.go "Error on socket receive""#];

/// What it says when it removes a container.
const REMOVAL: &str = r#"] "RemoveContainer" containerID=""#;
/// And when it finds no status of one, for which it asks first.
const NO_STATUS: &str = r#"] "ContainerStatus from runtime service failed" err="rpc error: code = NotFound "#;

/// Errors of a log, each under its place in the kubelet's source and its message, with one whole line.
pub(crate) fn read(log: &Path) -> Result<BTreeMap<String, String>, Error> {
    Ok(complaints(&fs::read_to_string(log).at("read", log)?))
}

fn complaints(text: &str) -> BTreeMap<String, String> {
    let (mut begun, mut again) = (BTreeSet::new(), BTreeSet::new());
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some((_, id)) = line.split_once(REMOVAL) {
            let id = id.trim_end_matches('"');
            if !begun.insert(id) {
                again.insert(id);
            }
        }
        // Where the containers of a pod are all seen to have ended at once, it removes every one of them for each end, one
        // removal after the other. It asks again about what it has removed itself.
        let own = line.contains(NO_STATUS) && again.iter().any(|id| line.contains(id));
        if let Some(name) = complaint(line).filter(|_| !own) {
            found.insert(name, line.to_owned());
        }
    }
    found
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
    use super::{complaint, complaints};

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

    #[test]
    fn a_status_may_be_missing_when_the_kubelet_removes_a_container_again() {
        let removal =
            |id: &str| format!(r#"I1128 04:58:09.3 31 scope.go:122] "RemoveContainer" containerID="{id}""#);
        let missing = |code: &str| {
            format!(
                r#"E1128 04:58:09.3 31 remote_runtime.go:569] "ContainerStatus from runtime service failed" err="rpc error: code = {code} desc = container \"f00\" not found" containerID="f00""#
            )
        };
        let kinds = |lines: &[String]| complaints(&lines.join("\n")).len();
        let gone = missing("NotFound");
        assert_eq!(kinds(&[removal("f00"), removal("bar"), removal("f00"), gone.clone()]), 0);
        assert_eq!(kinds(&[removal("f00"), gone.clone()]), 1, "it was there to be removed");
        assert_eq!(kinds(&[removal("bar"), removal("bar"), gone]), 1, "another one was removed twice");
        assert_eq!(kinds(&[removal("f00"), removal("f00"), missing("Internal")]), 1);
    }
}
