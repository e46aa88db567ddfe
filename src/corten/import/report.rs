//! What an import prints.

use super::Verdict;
use super::rule::Fate;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Every key of another runtime's files, with what becomes of it.
pub(super) struct Import {
    pub(super) whose: &'static str,
    pub(super) file: PathBuf,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) unsaid: Option<Unsaid>,
}

/// A setting that the files leave to a default which is not the same in all versions of the other runtime.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unsaid {
    /// The key there.
    pub(super) key: &'static str,
    /// The setting here.
    pub(super) setting: &'static str,
    pub(super) why: &'static str,
}

#[derive(Serialize)]
struct Row<'a> {
    file: String,
    line: usize,
    key: String,
    value: String,
    /// `mapped`, `lost` or `void`; `unsaid` of a key that is in no file.
    fate: &'static str,
    /// The setting here.
    #[serde(skip_serializing_if = "Option::is_none")]
    setting: Option<&'a str>,
    /// What it costs that there is none, why it says nothing, or a word about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

/// Section and name of a setting; the name may be in quotes.
fn split(key: &str) -> (&str, &str) {
    let quoted = key.strip_suffix('"').and_then(|begin| begin.rfind(".\""));
    match quoted {
        Some(at) => (&key[..at], &key[at + 1..]),
        None => key.rsplit_once('.').unwrap_or(("", key)),
    }
}

impl Import {
    /// A configuration of Corten's; a comment at each value says where it is from.
    pub(super) fn configuration(&self) -> String {
        let mut text = format!(
            "# Made by `corten config import` of {}'s {}. What it does not name has its default.\n",
            self.whose,
            self.file.display()
        );
        if let Some(Unsaid { key, setting, why }) = self.unsaid {
            text.push_str(&format!("# {setting}: {key} is not there: {why}\n"));
        }
        let mut sections: BTreeMap<&str, BTreeMap<&str, (String, String)>> = BTreeMap::new();
        for (leaf, fate) in &self.verdicts {
            let Fate::Mapped(key, value, note) = fate else { continue };
            let (section, name) = split(key);
            let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
            let comment = format!("# {}: {}{note}\n", leaf.place(), leaf.key());
            let (comments, known) = sections.entry(section).or_default().entry(name).or_default();
            comments.push_str(&comment);
            // Lists of several keys are one list here.
            *known = match (known.strip_suffix(']'), value.strip_prefix('[')) {
                (Some(begin), Some(end)) => format!("{begin}, {end}"),
                _ => value.clone(),
            };
        }
        let implied = self.implied();
        for implied in &implied {
            let (section, name) = split(&implied.key);
            let comment = format!("# {}: {} ({})\n", implied.leaf.place(), implied.leaf.key(), implied.note);
            sections.entry(section).or_default().insert(name, (comment, implied.value.to_owned()));
        }
        for (section, lines) in sections {
            if !section.is_empty() {
                text.push_str(&format!("\n[{section}]\n"));
            }
            for (name, (comments, value)) in lines {
                text.push_str(&format!("{comments}{name} = {value}\n"));
            }
        }
        text
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let unsaid = self.unsaid.iter().map(|Unsaid { key, setting, why }| Row {
            file: self.file.display().to_string(),
            line: 0,
            key: (*key).to_owned(),
            value: String::new(),
            fate: "unsaid",
            setting: Some(setting),
            why: Some(why),
        });
        let said = self.verdicts.iter().map(|(leaf, fate)| {
            let (fate, setting, why) = match fate {
                Fate::Mapped(key, _, note) => {
                    ("mapped", Some(key.as_str()), Some(*note).filter(|note| !note.is_empty()))
                }
                Fate::Lost(why) => ("lost", None, Some(why.as_str())),
                Fate::Void(why) => ("void", None, Some(why.as_str())),
            };
            let (file, value) = (leaf.file.display().to_string(), leaf.shown());
            Row { file, line: leaf.line, key: leaf.key(), value, fate, setting, why }
        });
        said.chain(unsaid)
    }

    /// A line a key.
    pub(super) fn json(&self) -> String {
        // These rows have string keys and no number that JSON lacks.
        self.rows().map(|row| serde_json::to_string(&row).unwrap_or_default() + "\n").collect()
    }

    /// What has no counterpart first, then what says nothing here.
    pub(super) fn text(&self) -> String {
        let of = |fate: &'static str| self.rows().filter(move |row| row.fate == fate);
        let line = |row: Row<'_>| {
            let value: String = row.value.chars().take(80).collect();
            let why = row.why.unwrap_or_default();
            format!("  {}:{}: {} = {value}: {why}\n", row.file, row.line, row.key)
        };
        let unsaid = |Unsaid { key, setting, why }: Unsaid| {
            format!(
                "left to you:\n  {}: {key} is not there, which is {setting} here: {why}\n",
                self.file.display()
            )
        };
        let mut text = format!(
            "corten: {}: {} carried over, {} without a counterpart, {} without a meaning here\n",
            engine::counted(self.verdicts.len(), "key"),
            of("mapped").count(),
            of("lost").count(),
            of("void").count()
        );
        text.push_str(&self.unsaid.map(unsaid).unwrap_or_default());
        for (fate, head) in [
            ("lost", "without a counterpart:\n"),
            ("mapped", "carried over, with a word about it:\n"),
            ("void", "without a meaning here:\n"),
        ] {
            let lines: String = of(fate).filter(|row| row.why.is_some()).map(line).collect();
            if !lines.is_empty() {
                text.push_str(head);
                text.push_str(&lines);
            }
        }
        text
    }
}
