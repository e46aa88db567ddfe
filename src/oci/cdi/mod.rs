//! The Container Device Interface: vendors describe in files what a device needs in a container, and a request asks
//! for devices by name.
//!
//! The directories are looked at when a container asks for a device, and a file is read again when it has changed: no
//! notification can come too late. A file that is damaged hides no other.

mod document;
mod edits;
#[cfg(test)]
mod tests;

use crate::adjust::{Adjuster, Subject};
use crate::error::{OciError, OciResult};
use document::{Device, Document};
use edits::Gathered;
use oci_spec::runtime::Spec;
use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// No file of a vendor is larger.
const SIZE_LIMIT: u64 = 10 << 20;

/// The field that errors name.
const FIELD: &str = "CDI_devices";

/// What tells a changed file: device, inode, size, and time of the last change in nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);
type Parsed = Result<Arc<Document>, String>;

/// The devices that vendors describe.
#[derive(Debug, Default)]
pub struct Registry {
    dirs: Vec<PathBuf>,
    read: Mutex<HashMap<PathBuf, (Stamp, Parsed)>>,
}

/// A file with its place in the order of precedence.
struct Found {
    path: PathBuf,
    priority: usize,
    document: Parsed,
}

impl Adjuster for Registry {
    fn name(&self) -> &'static str {
        "CDI"
    }

    fn adjust(&self, spec: &mut Spec, subject: &Subject<'_>) -> OciResult<()> {
        self.inject(spec, &subject.container.cdi_devices)
    }
}

impl Registry {
    /// The files `*.json` and `*.yaml` of these directories; a device of a later directory replaces that of an earlier
    /// one. Without directories there are no devices.
    pub fn new(dirs: Vec<PathBuf>) -> Self {
        Self { dirs, read: Mutex::default() }
    }

    /// Gives the container of a spec these devices, by their qualified names.
    ///
    /// # Errors
    /// [`OciError::Invalid`] for a device that nobody describes or two files do, and for what its description asks for
    /// and this runtime does not do.
    pub fn inject(&self, spec: &mut Spec, names: &[String]) -> OciResult<()> {
        if names.is_empty() {
            return Ok(());
        }
        let found = self.scan();
        let index = index(&found);
        let chosen: Vec<(&Found, &Document, &Device)> =
            names.iter().map(|name| choose(&found, &index, name, &self.dirs)).collect::<OciResult<_>>()?;
        let mut general: HashSet<&Path> = HashSet::new();
        let mut edits = Gathered::default();
        // What a file says for all of its devices comes before what is said for one.
        for (file, document, _) in &chosen {
            if general.insert(&file.path) {
                document.container_edits.check(&document.kind)?;
                edits.add(&document.kind, &document.container_edits)?;
            }
        }
        for (name, (.., device)) in names.iter().zip(&chosen) {
            device.container_edits.check(name)?;
            edits.add(name, &device.container_edits)?;
        }
        edits.apply(spec);
        Ok(())
    }

    /// Every file that there is now.
    fn scan(&self) -> Vec<Found> {
        let mut read = sys::sync::lock(&self.read);
        let mut found = Vec::new();
        for (priority, dir) in self.dirs.iter().enumerate() {
            let Ok(entries) = std::fs::read_dir(dir) else { continue };
            for path in entries.flatten().map(|entry| entry.path()) {
                let ending = path.extension().and_then(|ending| ending.to_str());
                if !matches!(ending, Some("json" | "yaml")) {
                    continue;
                }
                let Some(stamp) = stamp(&path) else { continue };
                let document = match read.get(&path) {
                    Some((known, document)) if *known == stamp => document.clone(),
                    _ => load(&path, stamp.2),
                };
                found.push((stamp, Found { path, priority, document }));
            }
        }
        *read =
            found.iter().map(|(stamp, file)| (file.path.clone(), (*stamp, file.document.clone()))).collect();
        found.into_iter().map(|(_, file)| file).collect()
    }
}

/// The spec with each device of a file in turn, where its edits are taken.
#[cfg(any(test, fuzzing))]
pub(crate) fn each(bytes: &[u8], spec: &Spec) -> Vec<Spec> {
    let Ok(document) = document::parse(bytes) else { return Vec::new() };
    let with = |device: &Device| {
        document.container_edits.check(&document.kind)?;
        device.container_edits.check(&device.name)?;
        let (mut spec, mut edits) = (spec.clone(), Gathered::default());
        edits.add(&document.kind, &document.container_edits)?;
        edits.add(&device.name, &device.container_edits)?;
        edits.apply(&mut spec);
        Ok(spec)
    };
    document.devices.iter().filter_map(|device| OciResult::ok(with(device))).collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some((found.dev(), found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
}

fn load(path: &Path, size: u64) -> Parsed {
    if size > SIZE_LIMIT {
        return Err("is larger than 10 MiB".to_owned());
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    document::parse(&bytes).map(Arc::new)
}

/// Where the files describe each device, by kind and name.
type Index<'a> = HashMap<(&'a str, &'a str), Vec<(&'a Found, &'a Document, &'a Device)>>;

fn index(found: &[Found]) -> Index<'_> {
    let mut index = Index::new();
    for file in found {
        let Ok(document) = &file.document else { continue };
        for device in &document.devices {
            index.entry((&document.kind, &device.name)).or_default().push((file, document, device));
        }
    }
    index
}

/// The device of the last directory that has it.
fn choose<'a>(
    found: &[Found],
    index: &Index<'a>,
    name: &str,
    dirs: &[PathBuf],
) -> OciResult<(&'a Found, &'a Document, &'a Device)> {
    let mut best: Option<(&Found, &Document, &Device)> = None;
    let described = name.split_once('=').and_then(|device| index.get(&device));
    for (file, document, device) in described.into_iter().flatten().copied() {
        match best {
            Some((other, ..)) if other.priority > file.priority => {}
            Some((other, ..)) if other.priority == file.priority => {
                let (one, two) = (other.path.display(), file.path.display());
                return Err(OciError::invalid(FIELD, format!("{name}: {one} and {two} both describe it")));
            }
            _ => best = Some((file, document, device)),
        }
    }
    best.ok_or_else(|| {
        let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        let mut reason = match dirs.is_empty() {
            true => format!("no specification of {name}: no directory is set for them"),
            false => format!("no specification of {name} in {}", dirs.join(", ")),
        };
        for (path, error) in found.iter().filter_map(|file| Some((&file.path, file.document.as_ref().err()?)))
        {
            reason.push_str(&format!("; {} {error}", path.display()));
        }
        OciError::invalid(FIELD, reason)
    })
}
