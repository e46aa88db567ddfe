//! The content of a `hosts.toml`: everything that it says, or everything that is wrong with it.

mod value;

use super::{Host, HostsError, Pem, bare, default_host, header, stands_in, users};
use reqwest::Url;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, de};
use value::{Entry, Key, duration, line_at, nearest};

/// The keys of a host, at the top level (for the server) or in a `[host."…"]` table.
const KEYS: [&str; 7] =
    ["capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout"];
/// Those of the top level alone.
const TOP: [&str; 2] = ["server", "host"];

/// Reads the text: the `[host."…"]` tables in the order of the file, and then the server.
pub(super) fn hosts(path: &Path, text: &str, registry: &str) -> Result<Vec<Host>, HostsError> {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut file = File { path, text, registry, mistakes: Vec::new() };
    // What the rest of such a file says is anybody's guess.
    if !errors.is_empty() {
        file.syntax(&errors);
        return Err(file.refused());
    }
    let hosts = file.hosts(root.get_ref())?;
    if file.mistakes.is_empty() { Ok(hosts) } else { Err(file.refused()) }
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
    registry: &'a str,
    /// With their lines.
    mistakes: Vec<(usize, HostsError)>,
}

impl File<'_> {
    /// Everything that is wrong, in the order of the file.
    fn refused(mut self) -> HostsError {
        self.mistakes.sort_by_key(|(line, _)| *line);
        let mistakes = self.mistakes.into_iter().map(|(_, mistake)| mistake).collect();
        HostsError::all(mistakes).unwrap_or_else(|| HostsError::Address(self.registry.to_owned()))
    }

    /// One mistake a line: what follows from one stands in the same.
    fn syntax(&mut self, errors: &[de::Error]) {
        for error in errors {
            let line = line_at(self.text, error.span().map_or(0, |span| span.start));
            let problem = error.message().lines().map(str::trim).collect::<Vec<_>>().join(", ");
            if self.mistakes.iter().all(|(told, _)| *told != line) {
                let mistake = HostsError::Syntax { path: self.path.to_owned(), line, problem };
                self.mistakes.push((line, mistake));
            }
        }
    }

    /// Notes that a value is none for its key.
    fn refuse(&mut self, entry: &Entry<'_>, expected: &'static str) {
        let (path, line) = (self.path.to_owned(), line_at(self.text, entry.at));
        let mistake = HostsError::Value { path, line, key: users::key(&entry.key.to_string()), expected };
        self.mistakes.push((line, mistake));
    }

    /// What a value is, where it is that.
    fn take<T>(&mut self, entry: &Entry<'_>, value: Option<T>, expected: &'static str) -> Option<T> {
        if value.is_none() {
            self.refuse(entry, expected);
        }
        value
    }

    /// Refuses keys that neither every host has nor this table alone.
    fn known_keys(&mut self, table: &DeTable<'_>, at: &Key<'_>, more: &[&'static str]) {
        let known: Vec<&'static str> = KEYS.iter().chain(more).copied().collect();
        for (key, _) in table {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let (path, line) = (self.path.to_owned(), line_at(self.text, key.span().start));
            let (key, meant) = (users::key(&at.child(name).to_string()), nearest(name, &known));
            self.mistakes.push((line, HostsError::UnknownKey { path, line, key, meant }));
        }
    }

    fn hosts(&mut self, root: &DeTable<'_>) -> Result<Vec<Host>, HostsError> {
        let top = Key::default();
        self.known_keys(root, &top, &TOP);
        let mut hosts = Vec::new();
        if let Some(entry) = Entry::find(root, "host", &top) {
            let tables = self.take(&entry, entry.value.as_table(), "must be tables [host.\"URL\"]");
            for (name, value) in tables.into_iter().flatten() {
                let at = name.span().start;
                let entry = Entry { key: entry.key.child(name.get_ref()), at, value: value.get_ref() };
                let Some(table) = self.take(&entry, entry.value.as_table(), "must be a table") else {
                    continue;
                };
                self.known_keys(table, &entry.key, &[]);
                let override_path = self.flag(table, "override_path", &entry.key);
                if let Some(address) = self.address(&entry, name.get_ref(), override_path) {
                    hosts.push(self.host(bare(address, self.registry), table, &entry.key));
                }
            }
        }
        let override_path = self.flag(root, "override_path", &top);
        let server = Entry::find(root, "server", &top);
        let named = server.and_then(|entry| {
            let server = self.take(&entry, entry.value.as_str(), "must be a string")?;
            (!server.is_empty()).then_some((entry, server))
        });
        let host = match &named {
            None => Some(default_host(self.registry)?),
            Some((entry, server)) => {
                self.address(entry, server, override_path).map(|address| bare(address, self.registry))
            }
        };
        if let Some(host) = host {
            let host = self.host(host, root, &top);
            hosts.push(Host { configured: named.is_some(), ..host });
        }
        Ok(hosts)
    }

    /// A host as its table has it.
    fn host(&mut self, mut host: Host, table: &DeTable<'_>, at: &Key<'_>) -> Host {
        host.configured = true;
        self.path.clone_into(&mut host.file);
        host.skip_verify = self.flag(table, "skip_verify", at);
        if let Some(entry) = Entry::find(table, "capabilities", at) {
            (host.pull, host.resolve) = self.capabilities(&entry);
        }
        if let Some(entry) = Entry::find(table, "ca", at) {
            host.ca = self.paths(&entry);
        }
        if let Some(entry) = Entry::find(table, "client", at) {
            host.client = self.client(&entry);
        }
        if let Some(entry) = Entry::find(table, "header", at) {
            self.headers(&entry, &mut host);
        }
        if let Some(entry) = Entry::find(table, "dial_timeout", at) {
            let timeout = entry.value.as_str().and_then(duration);
            host.dial_timeout = self.take(&entry, timeout, "must be a time such as \"3s\"");
        }
        host.namespace = stands_in(&host.base, self.registry).then(|| self.registry.to_owned());
        host
    }

    fn flag(&mut self, table: &DeTable<'_>, name: &'static str, at: &Key<'_>) -> bool {
        let Some(entry) = Entry::find(table, name, at) else { return false };
        self.take(&entry, entry.value.as_bool(), "must be true or false").unwrap_or_default()
    }

    fn address(&mut self, entry: &Entry<'_>, text: &str, override_path: bool) -> Option<Url> {
        self.take(entry, address(text, override_path), "must be an http:// or https:// URL")
    }

    /// `(pull, resolve)`; `push` is taken and means nothing here.
    fn capabilities(&mut self, entry: &Entry<'_>) -> (bool, bool) {
        let expected = "must be a list of \"pull\", \"resolve\" and \"push\"";
        let list = self.take(entry, entry.value.as_array(), expected);
        let (mut pull, mut resolve) = (false, false);
        for item in list.into_iter().flatten() {
            match item.get_ref().as_str() {
                Some("pull") => pull = true,
                Some("resolve") => resolve = true,
                Some("push") => {}
                _ => self.refuse(&entry.item(item), expected),
            }
        }
        (pull, resolve)
    }

    /// Relative paths start at the file's directory.
    fn pem(&self, path: &str, at: usize) -> Pem {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        Pem { path: directory.join(PathBuf::from(path)), line: Some(line_at(self.text, at)) }
    }

    /// One path or a list.
    fn paths(&mut self, entry: &Entry<'_>) -> Vec<Pem> {
        let expected = "must be a path or a list of paths";
        match entry.value {
            DeValue::String(path) => vec![self.pem(path, entry.at)],
            DeValue::Array(paths) => {
                let items = paths.iter().map(|item| entry.item(item));
                let pems = items.map(|item| {
                    let path = self.take(&item, item.value.as_str(), expected)?;
                    Some(self.pem(path, item.at))
                });
                pems.collect::<Vec<_>>().into_iter().flatten().collect()
            }
            _ => {
                self.refuse(entry, expected);
                Vec::new()
            }
        }
    }

    /// A path (certificate and key in one), a list of such paths, or a list of `[certificate, key]` pairs.
    fn client(&mut self, entry: &Entry<'_>) -> Vec<(Pem, Option<Pem>)> {
        let expected = "must be a path, a list of paths, or a list of [certificate, key] pairs";
        let items: Vec<Entry<'_>> = match entry.value {
            DeValue::Array(list) => list.iter().map(|item| entry.item(item)).collect(),
            _ => vec![entry.clone()],
        };
        let pairs = items.iter().map(|item| {
            let pair = self.pair(item);
            self.take(item, pair, expected)
        });
        pairs.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    fn pair(&self, item: &Entry<'_>) -> Option<(Pem, Option<Pem>)> {
        let text = |value: &Spanned<DeValue<'_>>| {
            value.get_ref().as_str().map(|path| (path.to_owned(), value.span().start))
        };
        match item.value {
            DeValue::String(path) => Some((self.pem(path, item.at), None)),
            DeValue::Array(pair) => match pair.iter().map(text).collect::<Option<Vec<_>>>()?.as_slice() {
                [(both, at)] => Some((self.pem(both, *at), None)),
                [(certificate, at), (private, _)] if private.is_empty() => {
                    Some((self.pem(certificate, *at), None))
                }
                [(certificate, at), (private, other)] => {
                    Some((self.pem(certificate, *at), Some(self.pem(private, *other))))
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn headers(&mut self, entry: &Entry<'_>, host: &mut Host) {
        let expected = "must be a string or a list of strings";
        let table = self.take(entry, entry.value.as_table(), "must be a table");
        for (name, value) in table.into_iter().flatten() {
            let at = name.span().start;
            let entry = Entry { key: entry.key.child(name.get_ref()), at, value: value.get_ref() };
            let values: Option<Vec<&str>> = match entry.value {
                DeValue::String(text) => Some(vec![text]),
                DeValue::Array(list) => list.iter().map(|item| item.get_ref().as_str()).collect(),
                _ => None,
            };
            for text in self.take(&entry, values, expected).into_iter().flatten() {
                let valid = header(name.get_ref(), text);
                if let Some((name, value)) = self.take(&entry, valid, "is not a valid header") {
                    host.headers.append(name, value);
                }
            }
        }
    }
}

/// The path gets `/v2` at its end unless the file says that it is complete.
fn address(address: &str, override_path: bool) -> Option<Url> {
    let with_scheme = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
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
