//! What nobody else is to read: values of settings that look like secrets, and the environment of containers.

use image::without_users;
use serde_json::Value;

/// Words in the name of a setting whose value is a secret.
const SECRET: [&str; 8] =
    ["token", "password", "passwd", "secret", "auth", "credential", "private_key", "cookie"];
/// What stands in its place.
pub(crate) const REMOVED: &str = "(removed)";
/// Keys of records whose values are the pods' own business; everything with annotations in its name is too.
const OF_PODS: [&str; 4] = ["envs", "env", "command", "args"];

/// A text of lines `name = value` or `name: value`, as TOML, YAML and headers have them.
pub(crate) fn text(text: &str) -> String {
    let mut in_headers = false;
    let redacted = text.lines().map(|line| {
        let trimmed = line.trim_start();
        if trimmed.starts_with('[') && trimmed.ends_with(']') && !trimmed.starts_with("[\"") {
            // What is sent to a mirror may be its credential under any name.
            in_headers = trimmed.to_ascii_lowercase().contains("header");
            return without_users(line) + "\n";
        }
        if in_headers { header(line) + "\n" } else { without_users(&redact_line(line)) + "\n" }
    });
    redacted.collect()
}

/// A line of a table of headers, or one more of a value that goes over several.
fn header(line: &str) -> String {
    match line.find('=') {
        _ if line.trim().is_empty() || line.trim_start().starts_with('#') => line.to_owned(),
        Some(at) => format!("{}= {REMOVED}", &line[..at]),
        None => REMOVED.to_owned(),
    }
}

fn redact_line(line: &str) -> String {
    let Some(at) = line.find(['=', ':']) else { return line.to_owned() };
    let (name, rest) = line.split_at(at);
    if is_secret(name) || name.to_ascii_lowercase().contains("header") {
        return format!("{name}{} {REMOVED}", &rest[..1]);
    }
    // Inline tables hold further ones.
    let lower = rest.to_ascii_lowercase();
    if lower.contains('{') && (lower.contains("header") || SECRET.iter().any(|word| lower.contains(word))) {
        return format!("{name}{} {REMOVED}", &rest[..1]);
    }
    line.to_owned()
}

/// As [`text`], of prose: of it only users and passwords in URLs are removed.
pub(crate) fn urls(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(|line| without_users(line) + "\n").collect::<String>().into_bytes()
}

/// The value of a setting of another runtime's, for people.
pub(crate) fn setting(path: &[String], value: &toml::Value) -> String {
    let named = path.iter().any(|name| is_secret(name) || name.to_ascii_lowercase().contains("header"));
    let is_environment = path.last().is_some_and(|name| name.ends_with("env"));
    match value {
        // A switch, and nothing at all, tells nothing.
        toml::Value::Boolean(yes) => yes.to_string(),
        toml::Value::String(text) if text.is_empty() => String::new(),
        toml::Value::Array(items) if items.is_empty() => "[]".to_owned(),
        _ if named || is_environment => REMOVED.to_owned(),
        toml::Value::String(text) => without_users(text),
        other => {
            let mut other = other.clone();
            hide(&mut other);
            other.to_string()
        }
    }
}

fn hide(value: &mut toml::Value) {
    match value {
        toml::Value::String(text) => *text = without_users(text),
        toml::Value::Array(items) => items.iter_mut().for_each(hide),
        toml::Value::Table(entries) => {
            for (name, value) in entries.iter_mut() {
                if is_secret(name) || name.to_ascii_lowercase().contains("header") {
                    *value = toml::Value::String(REMOVED.to_owned());
                } else {
                    hide(value);
                }
            }
        }
        _ => {}
    }
}

/// Whether a setting of this name, or below it, is a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    // Names of files are none.
    let is_place = name.trim_end().ends_with("_file") || name.trim_end().ends_with("_dir");
    !is_place && SECRET.iter().any(|word| name.contains(word))
}

/// A JSON document; what is none is left out.
pub(crate) fn json(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    redact(&mut value);
    serde_json::to_vec_pretty(&value).map_err(|error| error.to_string())
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                if OF_PODS.contains(&key.as_str()) || key.contains("annotations") || is_secret(key) {
                    *value = Value::from(REMOVED);
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::String(text) if text.contains("://") => *text = without_users(text),
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_removed_and_the_rest_stays() {
        let toml = "server = \"https://a\"\nbearer_token_file = \"/etc/t\"\n[host.header]\nAuthorization = \"Bearer x1\"\n\
                    header = { authorization = \"x2\" }\n";
        let said = text(toml);
        assert!(!said.contains("x1") && !said.contains("x2"), "{said}");
        assert!(said.contains("server = \"https://a\"") && said.contains("\"/etc/t\""), "{said}");
        let record = br#"{"config": {"envs": [{"key": "A", "value": "x3"}], "labels": {"app": "web"}}, "password": "x4"}"#;
        let said = String::from_utf8(json(record).unwrap()).unwrap();
        assert!(!said.contains("x3") && !said.contains("x4") && said.contains("web"), "{said}");
        assert!(json(b"damaged").is_err());
    }

    #[test]
    fn whatever_a_mirror_is_sent_is_removed() {
        let said = text(
            "[host.\"https://mirror\".header]\n  Authorization = \"x1\"\n  X-Thing = [\n    \"x2\",\n  ]\n# why\n\
             [host.\"https://other\"]\nca = \"/etc/ca\"\nheader = { X-Key = \"x3\" }\n",
        );
        assert!(!["x1", "x2", "x3"].iter().any(|secret| said.contains(secret)), "{said}");
        assert!(said.contains("ca = \"/etc/ca\"") && said.contains("X-Thing = (removed)"), "{said}");
        assert!(said.contains("https://other") && said.contains("# why"), "{said}");
    }

    #[test]
    fn urls_keep_their_hosts_alone() {
        let said =
            text("server = \"https://user:x1@reg.example/v2\"\nproxy = \"http://x2@p http://q/a@b\"\n");
        assert_eq!(
            said,
            "server = \"https://(removed)@reg.example/v2\"\nproxy = \"http://(removed)@p http://q/a@b\"\n"
        );
        let said = json(br#"{"server": "https://u:x3@reg.example"}"#).unwrap();
        assert!(!String::from_utf8(said).unwrap().contains("x3"));
    }

    #[test]
    fn commands_and_annotations_of_pods_are_removed_wherever_they_stand() {
        let record = br#"{"command": ["sh", "-c", "x1"], "capability_args":
            {"io.kubernetes.cri.pod-annotations": {"a": "x2"}, "portMappings": [80]}}"#;
        let said = String::from_utf8(json(record).unwrap()).unwrap();
        assert!(!said.contains("x1") && !said.contains("x2") && said.contains("portMappings"), "{said}");
    }
}
