//! Groups that a file describes, made and kept as it says.

use super::file::{Denied, File, ROOT};
use super::host::{self, Host, Resctrl};
use super::resolve::{Resolved, resolve};
use super::{FIELD, is_name, is_there};
use crate::error::{OciError, OciResult};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};
use sys::sync::lock;

/// A file that nobody has asked for a class of is read once it has been as it is for so long.
const SETTLED: Duration = Duration::from_secs(1);

/// Groups are made by one at a time, also while settings change and two look after them.
static MAKING: Mutex<()> = Mutex::new(());

/// What came of a file of classes of cache.
#[derive(Debug, Default)]
pub struct RdtReport {
    /// Classes whose groups are as the file says.
    pub made: Vec<String>,
    /// What of the file says nothing on this host, and groups that stay although the file has them no more.
    pub notes: Vec<String>,
    /// Classes that the kernel refuses, and why.
    pub refused: Vec<String>,
}

/// A file, and what was made of it.
#[derive(Debug)]
pub(super) struct Described {
    file: PathBuf,
    /// Where is written down which groups are of this making, and so may be removed.
    record: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How the file was when it was last tried; `None` in it: nobody could tell.
    tried: Option<Option<Stamp>>,
    /// The host had no groups then.
    is_without: bool,
    /// How it was when it was right, and what it said.
    taken: Option<(Stamp, Taken)>,
    /// What nobody was told yet.
    news: Option<RdtReport>,
}

#[derive(Debug, Default)]
struct Taken {
    classes: BTreeMap<String, Denied>,
    refused: BTreeMap<String, String>,
}

/// By what a file that has changed is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    place: (u64, u64),
    modified: Option<SystemTime>,
    size: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self { place: (found.dev(), found.ino()), modified: found.modified().ok(), size: found.len() })
    }

    fn is_settled(self) -> bool {
        let age = self.modified.and_then(|modified| modified.elapsed().ok());
        age.is_none_or(|age| age >= SETTLED)
    }
}

/// Reads a file as far as it can be on this host; `None` where that has no groups.
fn read(path: &Path, resctrl: &Resctrl) -> OciResult<(File, Option<Resolved>)> {
    let refuse = |reason| OciError::invalid(path.display().to_string(), reason);
    let file = File::parse(&crate::classes::text(path)?).map_err(refuse)?;
    if !is_there(resctrl) {
        return Ok((file, None));
    }
    let resolved = resolve(&file, &Host::read(resctrl)?).map_err(refuse)?;
    Ok((file, Some(resolved)))
}

impl Described {
    pub(super) fn new(file: &Path, record: &Path) -> Self {
        Self { file: file.to_path_buf(), record: record.to_path_buf(), state: Mutex::default() }
    }

    /// Reads the file, and makes nothing.
    pub(super) fn check(&self, resctrl: &Resctrl) -> OciResult<()> {
        read(&self.file, resctrl).map(drop)
    }

    /// Makes the groups, whatever is known of them.
    pub(super) fn make(&self, resctrl: &Resctrl) -> OciResult<Option<RdtReport>> {
        let mut state = lock(&self.state);
        self.renew(&mut state, resctrl)?;
        Ok(state.news.take())
    }

    /// Makes them where the file has changed. What is told is new, an error too.
    pub(super) fn follow(&self, resctrl: &Resctrl) -> OciResult<Option<RdtReport>> {
        let mut state = lock(&self.state);
        let stamp = Stamp::of(&self.file);
        let is_new = state.tried != Some(stamp) && stamp.is_none_or(Stamp::is_settled);
        if is_new || state.is_without && is_there(resctrl) {
            self.renew(&mut state, resctrl)?;
        }
        Ok(state.news.take())
    }

    /// Before a class is used: what the file says now counts.
    pub(super) fn ask(&self, class: &str, resctrl: &Resctrl) -> OciResult<Option<Denied>> {
        let mut state = lock(&self.state);
        let is_current = |(stamp, taken): &(Stamp, Taken)| {
            let is_made =
                !taken.classes.contains_key(class) || resctrl.root.join(class).join("tasks").exists();
            Stamp::of(&self.file) == Some(*stamp) && is_made && !taken.refused.contains_key(class)
        };
        if !state.taken.as_ref().is_some_and(is_current) {
            self.renew(&mut state, resctrl)?;
        }
        let Some((_, taken)) = &state.taken else { return Ok(None) };
        match taken.refused.get(class) {
            Some(reason) => Err(OciError::invalid(FIELD, format!("{class:?}: {reason}"))),
            None => Ok(taken.classes.get(class).copied()),
        }
    }

    fn renew(&self, state: &mut State, resctrl: &Resctrl) -> OciResult<()> {
        let stamp = Stamp::of(&self.file);
        state.taken = None;
        state.tried = Some(stamp);
        state.is_without = !is_there(resctrl);
        let (file, resolved) = read(&self.file, resctrl)?;
        // It is tried again once the host has groups.
        let Some(resolved) = resolved else { return Ok(()) };
        let mut report = RdtReport::default();
        let refused = self.make_all(&resolved, resctrl, &mut report)?;
        report.notes.extend(resolved.notes);
        let is_made = |name: &&String| !refused.contains_key(*name);
        report.made = resolved.schemata.keys().filter(is_made).cloned().collect();
        report.refused = refused.iter().map(|(name, reason)| format!("{name:?}: {reason}")).collect();
        state.news = Some(report);
        let classes = file.classes().map(|(name, class)| (name.clone(), class.denied)).collect();
        state.taken = stamp.map(|stamp| (stamp, Taken { classes, refused }));
        Ok(())
    }

    /// What the kernel refuses is told by class, and does not keep the others from being made.
    fn make_all(
        &self,
        resolved: &Resolved,
        resctrl: &Resctrl,
        report: &mut RdtReport,
    ) -> OciResult<BTreeMap<String, String>> {
        let _one_at_a_time = lock(&MAKING);
        let mut own = recorded(&self.record)?;
        // Before others are made: the kernel has few.
        let stale: Vec<String> =
            own.iter().filter(|name| !resolved.schemata.contains_key(*name)).cloned().collect();
        for name in stale {
            let why = match remove_group(&resctrl.root.join(&name)) {
                Ok(true) => {
                    own.remove(&name);
                    continue;
                }
                Ok(false) => "it has processes".to_owned(),
                Err(error) => error.to_string(),
            };
            report.notes.push(format!("group {name:?} is of no class any more, and stays: {why}"));
        }
        let mut refused = BTreeMap::new();
        for (name, schemata) in &resolved.schemata {
            if let Err(error) = self.make_one(name, schemata, resctrl, &mut own) {
                refused.insert(name.clone(), error.to_string());
            }
        }
        self.write_down(&own)?;
        Ok(refused)
    }

    fn make_one(
        &self,
        name: &str,
        schemata: &str,
        resctrl: &Resctrl,
        own: &mut BTreeSet<String>,
    ) -> OciResult<()> {
        let mut group = resctrl.root.clone();
        if name != ROOT {
            group.push(name);
            if !group.exists() {
                own.insert(name.to_owned());
                // First, so that whoever dies between the two leaves none that nobody knows.
                self.write_down(own)?;
                if let Err(error) = create(&group) {
                    own.remove(name);
                    return Err(error);
                }
            }
            if !group.is_dir() {
                return Err(OciError::invalid(group.display().to_string(), "is no group"));
            }
        }
        if schemata.is_empty() {
            return Ok(());
        }
        let file = group.join("schemata");
        std::fs::write(&file, schemata).map_err(|error| {
            let status = host::text(&resctrl.root.join("info/last_cmd_status")).unwrap_or_default();
            match status.trim() {
                "" | "ok" => OciError::io("write", &file)(error),
                status => OciError::invalid(file.display().to_string(), format!("{error}: {status}")),
            }
        })
    }

    fn write_down(&self, own: &BTreeSet<String>) -> OciResult<()> {
        if *own == recorded(&self.record)? {
            return Ok(());
        }
        let text = serde_json::Value::from_iter(own.iter().map(String::as_str)).to_string();
        Ok(sys::fs::write_atomic(&self.record, text.as_bytes(), 0o600)?)
    }
}

fn recorded(record: &Path) -> OciResult<BTreeSet<String>> {
    let mut own: BTreeSet<String> = match sys::regular::read_text(record, host::LIMIT) {
        Ok(text) => serde_json::from_str(&text)
            .map_err(|error| OciError::invalid(record.display().to_string(), error.to_string()))?,
        Err(error) if error.kind() == ErrorKind::NotFound => BTreeSet::new(),
        Err(error) => return Err(OciError::io("read", record)(error)),
    };
    // They are removed by these names.
    own.retain(|name| is_name(name));
    Ok(own)
}

/// The groups that are there of those that a record says were made, for whoever takes them away. One that cannot be read
/// names none.
pub fn own_groups(record: &Path, resctrl: &Resctrl) -> Vec<PathBuf> {
    let names = recorded(record).unwrap_or_default();
    names.iter().map(|name| resctrl.root.join(name)).filter(|group| group.exists()).collect()
}

fn create(group: &Path) -> OciResult<()> {
    std::fs::create_dir(group).map_err(|error| match error.kind() {
        ErrorKind::StorageFull => {
            OciError::invalid(group.display().to_string(), "the kernel has no class of service left for it")
        }
        _ => OciError::io("mkdir", group)(error),
    })
}

/// Removes a group. Whether it is gone: one with processes stays.
///
/// # Errors
/// [`OciError::Io`].
pub fn remove_group(group: &Path) -> OciResult<bool> {
    match host::text(&group.join("tasks")) {
        Ok(tasks) if !tasks.trim().is_empty() => return Ok(false),
        Err(OciError::Io { source, .. }) if source.kind() != ErrorKind::NotFound => {
            return Err(OciError::io("read", group.join("tasks"))(source));
        }
        _ => {}
    }
    match std::fs::remove_dir(group) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(OciError::io("rmdir", group)(error)),
        _ => Ok(true),
    }
}
