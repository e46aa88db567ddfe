//! What nobody else is to read: values of settings that look like secrets, and the environment of containers.

use serde_json::Value;

/// Words in the name of a setting whose value is a secret.
const SECRET: [&str; 8] =
    ["token", "password", "passwd", "secret", "auth", "credential", "private_key", "cookie"];
/// What stands in its place.
const REMOVED: &str = "(removed)";
/// Keys of records whose values are the pods' own business.
const OF_PODS: [&str; 4] = ["envs", "env", "annotations", "args"];

/// A text of lines `name = value` or `name: value`, as TOML, YAML and headers have them.
pub(super) fn text(text: &str) -> String {
    text.lines().map(|line| redact_line(line) + "\n").collect()
}

fn redact_line(line: &str) -> String {
    let Some(at) = line.find(['=', ':']) else { return line.to_owned() };
    let (name, rest) = line.split_at(at);
    if is_secret(name) {
        return format!("{name}{} {REMOVED}", &rest[..1]);
    }
    // Inline tables hold further ones.
    let lower = rest.to_ascii_lowercase();
    if lower.contains('{') && SECRET.iter().any(|word| lower.contains(word)) {
        return format!("{name}{} {REMOVED}", &rest[..1]);
    }
    line.to_owned()
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    // Names of files are none.
    let is_place = name.trim_end().ends_with("_file") || name.trim_end().ends_with("_dir");
    !is_place && SECRET.iter().any(|word| name.contains(word))
}

/// A JSON document; what is none is left out.
pub(super) fn json(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    redact(&mut value);
    serde_json::to_vec_pretty(&value).map_err(|error| error.to_string())
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                if OF_PODS.contains(&key.as_str()) || is_secret(key) {
                    *value = Value::from(REMOVED);
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_removed_and_the_rest_stays() {
        let toml = "server = \"https://a\"\n[host.header]\nAuthorization = \"Bearer x1\"\nbearer_token_file = \"/etc/t\"\n\
                    header = { authorization = \"x2\" }\n";
        let said = text(toml);
        assert!(!said.contains("x1") && !said.contains("x2"), "{said}");
        assert!(said.contains("server = \"https://a\"") && said.contains("\"/etc/t\""), "{said}");
        let record = br#"{"config": {"envs": [{"key": "A", "value": "x3"}], "labels": {"app": "web"}}, "password": "x4"}"#;
        let said = String::from_utf8(json(record).unwrap()).unwrap();
        assert!(!said.contains("x3") && !said.contains("x4") && said.contains("web"), "{said}");
        assert!(json(b"damaged").is_err());
    }
}
