//! `corten config dump`: every setting in force, with where it is set.

use super::{Loaded, live};
use serde::Serialize;
use std::path::PathBuf;
use toml::Value;

/// A setting in force.
#[derive(Debug, Serialize)]
pub(crate) struct Setting {
    /// Its key with its section, as a file may write it.
    key: String,
    value: Value,
    /// Where it is set: `default`, `command line` or `file`.
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

impl Loaded {
    /// Every setting, in the order of its key.
    pub(crate) fn dump(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        let mut path = Vec::new();
        for (key, value) in live::table(&self.config) {
            path.push(key);
            self.gather(&mut path, value, &mut settings);
            path.pop();
        }
        settings
    }

    fn gather(&self, path: &mut Vec<String>, value: Value, settings: &mut Vec<Setting>) {
        match value {
            Value::Table(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    path.push(key);
                    self.gather(path, value, settings);
                    path.pop();
                }
            }
            value => settings.push(self.setting(path, value)),
        }
    }

    fn setting(&self, path: &[String], value: Value) -> Setting {
        let key = path.iter().map(|part| quoted(part)).collect::<Vec<_>>().join(".");
        let place = self.root.at(path).map(|node| node.place.clone());
        let Some(place) = place else {
            return Setting { key, value, source: "default", file: None, line: None };
        };
        if !self.files.iter().any(|file| **file == *place.file) {
            return Setting { key, value, source: "command line", file: None, line: None };
        }
        Setting { key, value, source: "file", file: Some(place.file.to_path_buf()), line: Some(place.line) }
    }
}

/// A part of a key as TOML wants it.
fn quoted(part: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !part.is_empty() && part.chars().all(is_bare) { part.to_owned() } else { format!("{part:?}") }
}

/// The settings as a file may write them, each with where it is from.
pub(crate) fn text(settings: &[Setting]) -> String {
    let line = |setting: &Setting| {
        let Setting { key, value, source, file, line } = setting;
        let place = match (file, line) {
            (Some(file), Some(line)) => format!("{}:{line}", file.display()),
            _ => (*source).to_owned(),
        };
        format!("{key} = {value}  # {place}\n")
    };
    settings.iter().map(line).collect()
}
