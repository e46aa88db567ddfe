//! A parsed configuration: plain values, each with the line where it stands.

use super::error::{ConfigError, Place};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The line of its key, or of the value itself in an array.
    pub(super) place: Place,
    /// The value.
    pub(super) value: Value,
    /// A mistake of it is known: whoever reads the settings goes on without it.
    pub(super) refused: bool,
}

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Table(BTreeMap<String, Node>),
    Array(Vec<Node>),
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
}

impl Node {
    /// A configuration that sets nothing.
    pub(super) fn empty() -> Self {
        let place = Place { file: Arc::from(Path::new("")), line: 0 };
        Self::new(place, Value::Table(BTreeMap::new()))
    }

    fn new(place: Place, value: Value) -> Self {
        Self { place, value, refused: false }
    }

    /// Parses one file: what can be read of it, and why not all of it can. One mistake a line; a number that does not fit
    /// and a date, of which no setting has use, are mistakes too.
    pub(super) fn parse(path: &Path, text: &str) -> (Self, Vec<ConfigError>) {
        let source = Source { file: Arc::from(path), text };
        let (table, errors) = DeTable::parse_recoverable(text);
        let errors = errors.iter().map(|error| {
            let at = error.span().map_or(0, |span| span.start);
            (source.place(at), source.explain(at, error.message()))
        });
        let mut errors: Vec<_> = errors.collect();
        // What follows from a mistake stands in the same line.
        errors.sort_by_key(|(place, _)| place.line);
        errors.dedup_by_key(|(place, _)| place.line);
        let refuse = |(place, reason)| ConfigError::Syntax { place, reason };
        let mut mistakes: Vec<_> = errors.into_iter().map(refuse).collect();
        if mistakes.is_empty() {
            mistakes.extend(source.refuse_foreign(table.get_ref()).err());
        }
        match source.table(table.get_ref()) {
            Ok(value) => (Self::new(source.place(0), value), mistakes),
            Err(error) => {
                mistakes.push(error);
                (Self::empty(), mistakes)
            }
        }
    }

    /// Lays another configuration over this one: tables are merged key by key, all else is replaced.
    pub(super) fn merge(&mut self, over: Self) {
        match (&mut self.value, over.value) {
            (Value::Table(below), Value::Table(above)) => {
                for (key, node) in above {
                    match below.get_mut(&key) {
                        Some(existing) => existing.merge(node),
                        None => {
                            below.insert(key, node);
                        }
                    }
                }
            }
            (_, value) => *self = Self::new(over.place, value),
        }
    }

    /// Where a dotted key is set; `None` when it is left to its default.
    pub(super) fn place_of(&self, key: &str) -> Option<Place> {
        let mut found = None;
        let mut node = self;
        for part in key.split('.') {
            let Value::Table(entries) = &node.value else { break };
            let next = entries.get(part)?;
            found = Some(next.place.clone());
            node = next;
        }
        found
    }
}

impl Node {
    /// Goes on without the value at this path; `false` where there is none.
    pub(super) fn refuse(&mut self, path: &[String]) -> bool {
        let Some((first, rest)) = path.split_first() else {
            return !std::mem::replace(&mut self.refused, true);
        };
        let next = match &mut self.value {
            Value::Table(entries) => entries.get_mut(first),
            Value::Array(items) => first.parse().ok().and_then(|index: usize| items.get_mut(index)),
            _ => None,
        };
        next.is_some_and(|next| next.refuse(rest))
    }

    /// The text that it is, where it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// What is at this path.
    pub(super) fn at(&self, path: &[String]) -> Option<&Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        let next = match &self.value {
            Value::Table(entries) => entries.get(first),
            Value::Array(items) => items.get(first.parse::<usize>().ok()?),
            _ => None,
        };
        next?.at(rest)
    }

    /// Where a dotted key is set or, for one of a handler, the section that lacks it. Names of handlers may have dots.
    pub(super) fn nearest_place(&self, key: &str) -> Option<Place> {
        let Some(rest) = key.strip_prefix("handlers.") else { return self.place_of(key) };
        let Value::Table(entries) = &self.value else { return None };
        let Value::Table(handlers) = &entries.get("handlers")?.value else { return None };
        let named =
            |name: &str| rest == name || rest.strip_prefix(name).is_some_and(|end| end.starts_with('.'));
        let (name, section) =
            handlers.iter().filter(|(name, _)| named(name)).max_by_key(|(name, _)| name.len())?;
        let setting = rest[name.len()..].strip_prefix('.').and_then(|setting| section.place_of(setting));
        Some(setting.unwrap_or_else(|| section.place.clone()))
    }
}

struct Source<'a> {
    file: Arc<Path>,
    text: &'a str,
}

impl Source<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = self.text.as_bytes().iter().take(offset);
        Place { file: self.file.clone(), line: 1 + before.filter(|byte| **byte == b'\n').count() }
    }

    /// What the parser says, with what it takes to mend the two mistakes that people make most.
    fn explain(&self, offset: usize, said: &str) -> String {
        let before = &self.text[..offset.min(self.text.len())];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[start..].lines().next().unwrap_or_default().trim();
        let value = line.split_once('=').map(|(_, value)| value.split('#').next().unwrap_or_default().trim());
        if let Some(yes) = value.and_then(|value| truth(value, name_of(line))) {
            return format!("expected true or false: write `{} = {yes}`", name_of(line));
        }
        if let Some(word) = value.filter(|value| is_bare_word(value)) {
            return format!("text needs quotes: write `{} = {word:?}`", name_of(line));
        }
        let name = name_of(line);
        let same = |other: &str| other.trim() == line || (value.is_some() && defines(other, name));
        let first = self.text[..start].lines().position(same);
        match first {
            Some(first) => format!("`{name}` stands here a second time, the first is in line {}", first + 1),
            None => said.to_owned(),
        }
    }

    /// Recognises the files of the runtimes that people come from.
    fn refuse_foreign(&self, table: &DeTable<'_>) -> Result<(), ConfigError> {
        let containerd = ("containerd's config.toml", "docs/from-containerd.md");
        let marks = [
            ("plugins", containerd),
            ("disabled_plugins", containerd),
            ("crio", ("CRI-O's crio.conf", "docs/from-cri-o.md")),
        ];
        for (mark, (whose, guide)) in marks {
            if let Some((key, _)) = table.iter().find(|(key, _)| key.get_ref() == mark) {
                return Err(ConfigError::Foreign { place: self.place(key.span().start), whose, guide });
            }
        }
        Ok(())
    }

    fn table(&self, table: &DeTable<'_>) -> Result<Value, ConfigError> {
        let mut entries = BTreeMap::new();
        for (key, value) in table {
            let node = self.node(self.place(key.span().start), value.get_ref())?;
            entries.insert(key.get_ref().to_string(), node);
        }
        Ok(Value::Table(entries))
    }

    fn node(&self, place: Place, value: &DeValue<'_>) -> Result<Node, ConfigError> {
        let refuse = |reason: String| Err(ConfigError::Syntax { place: place.clone(), reason });
        let value = match value {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(yes) => Value::Boolean(*yes),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => return refuse(format!("the number {number} does not fit 64 bits")),
            },
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => Value::Float(number),
                Err(_) => return refuse(format!("`{number}` is no number")),
            },
            DeValue::Datetime(date) => return refuse(format!("no setting is a date, and {date} is one")),
            DeValue::Table(table) => self.table(table)?,
            DeValue::Array(array) => {
                let nodes = array.iter().map(|item| self.node(self.place(item.span().start), item.get_ref()));
                Value::Array(nodes.collect::<Result<_, _>>()?)
            }
        };
        Ok(Node::new(place, value))
    }
}

/// The key or the section that a line begins.
fn name_of(line: &str) -> &str {
    line.trim_matches(['[', ']']).split('=').next().unwrap_or_default().trim()
}

/// Whether a line sets the key.
fn defines(line: &str, key: &str) -> bool {
    line.split_once('=').is_some_and(|(name, _)| name.trim() == key)
}

/// What a word that TOML does not know means as the value of a setting that is true or false.
fn truth(word: &str, name: &str) -> Option<bool> {
    let word = word.to_ascii_lowercase();
    match word.as_str() {
        "true" => Some(true),
        "false" => Some(false),
        "yes" | "on" if super::live::is_switch(name) => Some(true),
        "no" | "off" if super::live::is_switch(name) => Some(false),
        _ => None,
    }
}

/// Whether a value is a word without quotes, and none of those that TOML knows.
fn is_bare_word(value: &str) -> bool {
    value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && !matches!(value, "true" | "false" | "inf" | "nan")
}
