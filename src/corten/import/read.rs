//! Reads another runtime's files: every key with its value and its line, later files over earlier ones.

use super::ImportError;
use crate::redact;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use toml::Value;
use toml::de::{DeTable, DeValue};

/// The longest file that is read.
const LONGEST: u64 = 4 << 20;

/// A key and what it is set to.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) file: PathBuf,
    pub(super) line: usize,
    pub(super) path: Vec<String>,
    pub(super) value: Value,
}

impl Leaf {
    /// The key as it would be written in one line.
    pub(super) fn key(&self) -> String {
        let bare = |part: &String| part.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        let parts = self.path.iter().map(|part| if bare(part) { part.clone() } else { format!("{part:?}") });
        parts.collect::<Vec<_>>().join(".")
    }

    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.file.display(), self.line)
    }

    /// The value as others may read it.
    pub(super) fn shown(&self) -> String {
        redact::setting(&self.path, &self.value)
    }

    pub(super) fn text(&self) -> Option<&str> {
        self.value.as_str()
    }

    /// Whether it is how nothing is written: empty, zero or off.
    pub(super) fn is_off(&self) -> bool {
        match &self.value {
            Value::String(text) => matches!(text.as_str(), "" | "0" | "0s"),
            Value::Integer(number) => *number == 0,
            Value::Boolean(yes) => !yes,
            Value::Array(items) => items.is_empty(),
            Value::Table(items) => items.is_empty(),
            Value::Float(_) | Value::Datetime(_) => false,
        }
    }
}

/// Every key by its path.
pub(super) type Leaves = BTreeMap<Vec<String>, Leaf>;

/// containerd's file, or that of its directory, and the files that it and they import.
pub(super) fn containerd(file: &Path) -> Result<Leaves, ImportError> {
    let mut leaves = Leaves::new();
    let file = if file.is_dir() { file.join("config.toml") } else { file.to_owned() };
    let (mut waiting, mut seen) = (vec![file], Vec::new());
    while !waiting.is_empty() {
        let file = waiting.remove(0);
        if seen.contains(&file) {
            continue;
        }
        let found = one(&file)?;
        let imports = found.iter().find(|leaf| leaf.path == ["imports"]).cloned();
        leaves.extend(found.into_iter().map(|leaf| (leaf.path.clone(), leaf)));
        let patterns = imports.iter().flat_map(|leaf| leaf.value.as_array().into_iter().flatten());
        for pattern in patterns.filter_map(Value::as_str) {
            let pattern = file.parent().unwrap_or(Path::new("")).join(pattern);
            waiting.extend(matching(&pattern));
        }
        seen.push(file);
    }
    Ok(leaves)
}

/// CRI-O's file, which a package need not have, and the drop-ins beside it; or both by their directory.
pub(super) fn crio(file: &Path) -> Result<Leaves, ImportError> {
    let is_of_drop_ins = file.is_dir() && file.extension() == Some(OsStr::new("d"));
    let main = if file.is_dir() { file.join("crio.conf") } else { file.to_owned() };
    let mut directory = main.as_os_str().to_owned();
    directory.push(".d");
    let directory = if is_of_drop_ins { file.to_owned() } else { PathBuf::from(directory) };
    let drop_ins = matching(&directory.join("*"));
    let mut files = drop_ins.clone();
    if !is_of_drop_ins && (drop_ins.is_empty() || main.exists()) {
        files.insert(0, main);
    }
    let mut leaves = Leaves::new();
    for file in files {
        leaves.extend(one(&file)?.into_iter().map(|leaf| (leaf.path.clone(), leaf)));
    }
    Ok(leaves)
}

/// Files of a pattern whose last part may have a `*`, by name.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((begin, end)) = name.split_once('*') else { return vec![pattern.to_owned()] };
    let entries = pattern.parent().and_then(|directory| fs::read_dir(directory).ok());
    let paths = entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let fits = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.len() >= begin.len() + end.len()
            && name.starts_with(begin)
            && name.ends_with(end)
            && path.is_file()
    };
    let mut paths: Vec<PathBuf> = paths.filter(fits).collect();
    paths.sort();
    paths
}

fn one(file: &Path) -> Result<Vec<Leaf>, ImportError> {
    let failed = |source| ImportError::Read { path: file.to_owned(), source };
    let text = sys::regular::read_text(file, LONGEST).map_err(failed)?;
    let wrong = |error: toml::de::Error| syntax(file, &text, &error);
    let table = DeTable::parse(&text).map_err(wrong)?;
    let values: toml::Table = toml::from_str(&text).map_err(wrong)?;
    let mut leaves = Vec::new();
    collect(&mut leaves, (file, &text), table.get_ref(), &values, &[]);
    leaves.sort_by_key(|leaf| leaf.line);
    Ok(leaves)
}

fn syntax(file: &Path, text: &str, error: &toml::de::Error) -> ImportError {
    let line = line_of(text, error.span().map_or(0, |span| span.start));
    let is_key =
        |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.\"'".contains(c));
    let (key, value) = text.lines().nth(line - 1).and_then(|line| line.split_once('=')).unwrap_or_default();
    // The end of a secret in base64 is none.
    let key = Some(key.trim()).filter(|key| is_key(key) && !value.trim().trim_matches('=').is_empty());
    let (path, reason) = (file.to_owned(), error.message().to_owned());
    ImportError::Syntax { path, line, key: key.map(str::to_owned), reason }
}

/// The line, from 1, that has a byte.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

fn collect(
    leaves: &mut Vec<Leaf>,
    source: (&Path, &str),
    table: &DeTable<'_>,
    values: &toml::Table,
    above: &[String],
) {
    for (key, value) in table {
        let name = key.get_ref().to_string();
        let Some(known) = values.get(&name) else { continue };
        let path: Vec<String> = above.iter().cloned().chain([name]).collect();
        if let (DeValue::Table(below), Value::Table(known)) = (value.get_ref(), known)
            && !known.is_empty()
        {
            collect(leaves, source, below, known, &path);
            continue;
        }
        let line = line_of(source.1, key.span().start);
        leaves.push(Leaf { file: source.0.to_owned(), line, path, value: known.clone() });
    }
}
