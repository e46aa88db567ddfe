//! `corten image explain` for people.

use client::table::size;
use image::{ExplainedHost, Explanation};

/// The explanation in words; `source` is where the command line found credentials.
pub(super) fn text(explanation: &Explanation, source: &str) -> String {
    let mut text = format!("{}\n", explanation.reference);
    let mut say = |name: &str, value: &str| text.push_str(&format!("  {name:<13} {value}\n"));
    if let Some(refused) = &explanation.refused {
        say("refused", refused);
    }
    let configuration = explanation.configuration.as_ref();
    let none = "none for this registry: it is asked itself".to_owned();
    say("configuration", &configuration.map_or(none, |path| path.display().to_string()));
    for path in &explanation.passed_over {
        say("not read", &format!("{}: the first directory for a registry says everything", path.display()));
    }
    say("credentials", source);
    say("platform", &explanation.platform);
    for (number, host) in explanation.hosts.iter().enumerate() {
        say(&format!("host {}", number + 1), &line(host));
    }
    match &explanation.image {
        None => say("here", "no"),
        Some(id) => say("here", id),
    }
    for layer in &explanation.layers {
        say("layer", &format!("{} ({})", layer.diff_id, size(layer.bytes)));
    }
    text
}

fn line(host: &ExplainedHost) -> String {
    let mut parts = vec![match (host.resolve, host.pull) {
        (true, true) => "resolves tags, serves content".to_owned(),
        (true, false) => "resolves tags only".to_owned(),
        (false, true) => "serves content only".to_owned(),
        (false, false) => "never asked".to_owned(),
    }];
    parts.push(format!("credentials: {}", host.credentials));
    if let Some(proxy) = &host.proxy {
        parts.push(format!("through proxy {proxy}"));
    }
    for path in &host.ca {
        parts.push(format!("ca {}", path.display()));
    }
    for path in &host.client {
        parts.push(format!("client certificate {}", path.display()));
    }
    if host.skip_verify {
        parts.push("certificate not verified".to_owned());
    }
    if !host.headers.is_empty() {
        parts.push(format!("headers {}", host.headers.join(", ")));
    }
    parts.push(format!("{} s to connect", host.dial_timeout_seconds));
    if let Some(problem) = &host.problem {
        parts.push(format!("cannot be asked: {problem}"));
    }
    format!("{}: {}", host.address, parts.join("; "))
}
