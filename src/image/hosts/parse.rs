//! The content of a `hosts.toml`.

use super::{Host, HostsError, bare, default_host, header, stands_in};
use reqwest::Url;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// The keys of a host, at the top level (for the server) or in a `[host."…"]` table.
const KEYS: [&str; 7] =
    ["capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout"];

/// Reads the text: the `[host."…"]` tables in the order of the file, and then the server.
pub(super) fn hosts(path: &Path, text: &str, registry: &str) -> Result<Vec<Host>, HostsError> {
    let root: Table = toml::from_str(text).map_err(|error| syntax(path, text, &error))?;
    let file = File { path, text, registry };
    let top = Key(Vec::new());
    file.known_keys(&root, &top, &["server", "host"])?;
    let mut hosts = Vec::new();
    if let Some(tables) = root.get("host") {
        let key = top.child("host");
        let tables = tables.as_table().ok_or_else(|| file.value(&key, "must be tables [host.\"URL\"]"))?;
        for (name, table) in tables {
            let key = key.child(name);
            let table = table.as_table().ok_or_else(|| file.value(&key, "must be a table"))?;
            file.known_keys(table, &key, &[])?;
            hosts.push(file.host(Some(name), table, &key)?);
        }
    }
    let server = match root.get("server") {
        None => None,
        Some(server) => {
            Some(server.as_str().ok_or_else(|| file.value(&top.child("server"), "must be a string"))?)
        }
    };
    hosts.push(file.host(server.filter(|server| !server.is_empty()), &root, &top)?);
    Ok(hosts)
}

fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> HostsError {
    let line = line_at(text, error.span().map_or(0, |span| span.start));
    let problem = error.message().lines().map(str::trim).collect::<Vec<_>>().join(", ");
    HostsError::Syntax { path: path.to_owned(), line, problem }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.get(..offset).unwrap_or_default().matches('\n').count() + 1
}

/// A key with the tables that it is in.
#[derive(Clone)]
struct Key<'a>(Vec<&'a str>);

impl<'a> Key<'a> {
    fn child(&self, name: &'a str) -> Self {
        Self(self.0.iter().copied().chain([name]).collect())
    }

    /// Where it stands; the nearest table that has it where it is in none.
    fn line(&self, text: &str) -> usize {
        let Ok(root) = DeTable::parse(text) else { return 1 };
        let (mut table, mut line) = (root.get_ref(), 1);
        for part in &self.0 {
            let Some((key, value)) = table.get_key_value(*part) else { break };
            line = line_at(text, key.span().start);
            let DeValue::Table(next) = value.get_ref() else { break };
            table = next;
        }
        line
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.0.iter().enumerate() {
            let dot = if number == 0 { "" } else { "." };
            match part.contains(['.', ':', '/']) {
                true => write!(f, "{dot}{part:?}")?,
                false => write!(f, "{dot}{part}")?,
            }
        }
        Ok(())
    }
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
    registry: &'a str,
}

impl File<'_> {
    fn value(&self, key: &Key<'_>, expected: &'static str) -> HostsError {
        let (path, line) = (self.path.to_owned(), key.line(self.text));
        HostsError::Value { path, line, key: key.to_string(), expected }
    }

    /// Refuses keys that neither every host has nor this table alone.
    fn known_keys(&self, table: &Table, at: &Key<'_>, more: &[&str]) -> Result<(), HostsError> {
        let is_known = |key: &str| KEYS.contains(&key) || more.contains(&key);
        let Some(name) = table.keys().find(|key| !is_known(key)) else { return Ok(()) };
        let (path, key) = (self.path.to_owned(), at.child(name));
        Err(HostsError::UnknownKey { path, line: key.line(self.text), key: key.to_string() })
    }

    /// One host; no address means the registry's own.
    fn host(&self, address: Option<&str>, table: &Table, at: &Key<'_>) -> Result<Host, HostsError> {
        let flag = |name| match table.get(name) {
            None => Ok(false),
            Some(value) => {
                value.as_bool().ok_or_else(|| self.value(&at.child(name), "must be true or false"))
            }
        };
        let override_path = flag("override_path")?;
        let mut host = match address {
            None => default_host(self.registry)?,
            Some(address) => {
                let key = if at.0.is_empty() { at.child("server") } else { at.clone() };
                let base = self.address(address, override_path);
                let base = base.ok_or_else(|| self.value(&key, "must be an http:// or https:// URL"))?;
                bare(base, self.registry)
            }
        };
        host.configured = address.is_some();
        host.skip_verify = flag("skip_verify")?;
        if let Some(value) = table.get("capabilities") {
            (host.pull, host.resolve) = self.capabilities(value, &at.child("capabilities"))?;
        }
        if let Some(value) = table.get("ca") {
            host.ca = self.paths(value, &at.child("ca"))?;
        }
        if let Some(value) = table.get("client") {
            host.client = self.client(value, &at.child("client"))?;
        }
        if let Some(value) = table.get("header") {
            self.headers(value, &at.child("header"), &mut host)?;
        }
        if let Some(value) = table.get("dial_timeout") {
            let key = at.child("dial_timeout");
            let timeout = value.as_str().and_then(duration);
            host.dial_timeout =
                Some(timeout.ok_or_else(|| self.value(&key, "must be a time such as \"3s\""))?);
        }
        host.namespace = stands_in(&host.base, self.registry).then(|| self.registry.to_owned());
        Ok(host)
    }

    /// The path gets `/v2` at its end unless the file says that it is complete.
    fn address(&self, address: &str, override_path: bool) -> Option<Url> {
        let with_scheme =
            if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
        let mut url = Url::parse(&with_scheme).ok()?;
        let usable = matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !usable {
            return None;
        }
        let path = url.path().trim_end_matches('/').to_owned();
        let path = if override_path || path.ends_with("/v2") { path } else { format!("{path}/v2") };
        url.set_path(&path);
        Some(url)
    }

    /// `(pull, resolve)`; `push` is taken and means nothing here.
    fn capabilities(&self, value: &Value, key: &Key<'_>) -> Result<(bool, bool), HostsError> {
        let expected = "must be a list of \"pull\", \"resolve\" and \"push\"";
        let list = value.as_array().ok_or_else(|| self.value(key, expected))?;
        let (mut pull, mut resolve) = (false, false);
        for capability in list {
            match capability.as_str() {
                Some("pull") => pull = true,
                Some("resolve") => resolve = true,
                Some("push") => {}
                _ => return Err(self.value(key, expected)),
            }
        }
        Ok((pull, resolve))
    }

    fn path_of(&self, text: &str) -> PathBuf {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        directory.join(text)
    }

    /// One path or a list; relative ones start at the file's directory.
    fn paths(&self, value: &Value, key: &Key<'_>) -> Result<Vec<PathBuf>, HostsError> {
        let expected = "must be a path or a list of paths";
        match value {
            Value::String(path) => Ok(vec![self.path_of(path)]),
            Value::Array(paths) => paths
                .iter()
                .map(|path| path.as_str().map(|path| self.path_of(path)))
                .collect::<Option<_>>()
                .ok_or_else(|| self.value(key, expected)),
            _ => Err(self.value(key, expected)),
        }
    }

    /// A path (certificate and key in one), a list of such paths, or a list of `[certificate, key]` pairs.
    fn client(&self, value: &Value, key: &Key<'_>) -> Result<Vec<(PathBuf, Option<PathBuf>)>, HostsError> {
        let expected = "must be a path, a list of paths, or a list of [certificate, key] pairs";
        let one = |value: &Value| match value {
            Value::String(path) => Some((self.path_of(path), None)),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(both)] => Some((self.path_of(both), None)),
                [Value::String(certificate), Value::String(private)] if private.is_empty() => {
                    Some((self.path_of(certificate), None))
                }
                [Value::String(certificate), Value::String(private)] => {
                    Some((self.path_of(certificate), Some(self.path_of(private))))
                }
                _ => None,
            },
            _ => None,
        };
        let pairs = match value {
            Value::String(_) => one(value).map(|pair| vec![pair]),
            Value::Array(list) => list.iter().map(one).collect(),
            _ => None,
        };
        pairs.ok_or_else(|| self.value(key, expected))
    }

    fn headers(&self, value: &Value, key: &Key<'_>, host: &mut Host) -> Result<(), HostsError> {
        let table = value.as_table().ok_or_else(|| self.value(key, "must be a table"))?;
        for (name, value) in table {
            let key = key.child(name);
            let values = match value {
                Value::String(text) => vec![text.as_str()],
                Value::Array(list) => list
                    .iter()
                    .map(Value::as_str)
                    .collect::<Option<_>>()
                    .ok_or_else(|| self.value(&key, "must be a string or a list of strings"))?,
                _ => return Err(self.value(&key, "must be a string or a list of strings")),
            };
            for text in values {
                let (name, value) =
                    header(name, text).ok_or_else(|| self.value(&key, "is not a valid header"))?;
                host.headers.append(name, value);
            }
        }
        Ok(())
    }
}

/// A duration in Go's notation: `30s`, `1m30s`, `500ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = after;
    }
    (total > Duration::ZERO && total < Duration::from_secs(86_400)).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("3s", Some(3_000)),
            ("1m30s", Some(90_000)),
            ("500ms", Some(500)),
            ("1.5s", Some(1_500)),
            ("", None),
            ("3", None),
            ("s", None),
            ("-3s", None),
            ("0s", None),
            ("1e9s", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(duration(text).map(|time| time.as_millis()), expected, "{text}");
        }
    }
}
