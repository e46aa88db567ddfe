//! `corten node install`.

use super::hand::Hand;
use super::host::{Access, Host};
use super::place::{self, Changes};
use super::record::Record;
use super::source::{self, Wanted};
use super::{NodeError, OWN, Outcome, UNIT, kubelet};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub(super) const DATA: &str = "/var/lib/corten";
const PROGRAM: &str = "/usr/local/bin/corten";
const SETTINGS: &str = "/etc/corten";
/// Where packages have what this installation would hide, or be hidden by.
const OTHERS: [&str; 5] = [
    "/usr/bin/corten",
    "/usr/lib/systemd/system/corten.service",
    "/lib/systemd/system/corten.service",
    "/etc/systemd/system/corten.service",
    // Of `make install`: what was enabled there would be disabled when this one goes.
    "/usr/local/lib/systemd/system/corten.service",
];

/// Makes a host one that has Corten, or has this version and these settings of it.
///
/// # Errors
/// The host is refused, and as it was; or the system's.
pub(super) fn install(
    host: &Host,
    hand: &dyn Hand,
    sources: &[PathBuf],
    switch: bool,
) -> Result<Outcome, NodeError> {
    host.look_at_root()?;
    let known = Record::load(host)?;
    let wanted = source::files(sources)?;
    refuse_others(host, known.as_ref())?;
    check(host, hand, &wanted, known.as_ref())?;
    let fresh = known.is_none();
    let mut record = match known {
        Some(record) => record,
        None => begin(host)?,
    };
    record.save(host)?;
    let mut changes = Changes::default();
    let done =
        place::place(host, &mut record, &wanted, &mut changes).and_then(|()| start(hand, changes.any()));
    if let Err(error) = done {
        undo(host, hand, &mut record, &changes, fresh);
        return Err(error);
    }
    changes.confirm(host)?;
    let moved = if switch {
        // What pods need of the host's kernel now, and not only from the next boot on. It may lack some of it.
        let _ = hand.run("systemctl", &["restart", "systemd-modules-load.service", "systemd-sysctl.service"]);
        kubelet::switch(host, hand, &mut record)?
    } else {
        kubelet::back(host, hand, &mut record)?
    };
    Ok(if moved { Outcome::Moved } else { Outcome::Done })
}

/// A record of a host as it is.
fn begin(host: &Host) -> Result<Record, NodeError> {
    let empty = host.empty_directory(Path::new(DATA))?;
    let had_data = empty.is_none() && host.exists(Path::new(DATA));
    Ok(Record { had_data, empty_data: empty, ..Record::default() })
}

/// Reads the unit, and has the daemon run: anew where something has changed. Its pods do not notice.
fn start(hand: &dyn Hand, changed: bool) -> Result<(), NodeError> {
    if changed {
        hand.must("systemctl", &["daemon-reload"])?;
    }
    hand.must("systemctl", &["enable", UNIT])?;
    hand.must("systemctl", &[if changed { "restart" } else { "start" }, UNIT])
}

/// The version before goes on, or nothing is there again. The reason for it is told, not what goes wrong here.
fn undo(host: &Host, hand: &dyn Hand, record: &mut Record, changes: &Changes, fresh: bool) {
    if fresh {
        let _ = hand.run("systemctl", &["disable", "--now", UNIT]);
        let _ = place::restore(host, record);
        let _ = hand.run("systemctl", &["daemon-reload"]);
        return;
    }
    changes.undo(host, record);
    let _ = record.save(host);
    let _ = start(hand, true);
}

fn refuse_others(host: &Host, known: Option<&Record>) -> Result<(), NodeError> {
    let systemctl = ["/usr/bin/systemctl", "/bin/systemctl"].iter().any(|path| host.exists(Path::new(path)));
    if !systemctl || !host.exists(Path::new("/run/systemd/system")) {
        return Err(NodeError::NoSystemd);
    }
    let theirs = |path: &Path| host.exists(path) && !known.is_some_and(|record| record.has(path));
    match OTHERS.iter().map(Path::new).find(|path| theirs(path)) {
        Some(path) => Err(NodeError::Installed(path.to_path_buf())),
        None => Ok(()),
    }
}

/// Whether the host can run pods with these programs and settings: by the programs themselves, from a directory aside.
fn check(
    host: &Host,
    hand: &dyn Hand,
    wanted: &BTreeMap<PathBuf, Wanted>,
    known: Option<&Record>,
) -> Result<(), NodeError> {
    let aside = Path::new(OWN).join("staged");
    let found = stage(host, wanted, known, &aside).and_then(|()| judge(hand, &aside));
    let seen = host.path(if known.is_some() { &aside } else { Path::new(OWN) })?;
    fs::remove_dir_all(&seen).map_err(NodeError::io("remove", &seen))?;
    found
}

fn stage(
    host: &Host,
    wanted: &BTreeMap<PathBuf, Wanted>,
    known: Option<&Record>,
    aside: &Path,
) -> Result<(), NodeError> {
    let seen = host.path(aside)?;
    if seen.exists() {
        fs::remove_dir_all(&seen).map_err(NodeError::io("remove", &seen))?;
    }
    let put = |path: &Path, bytes: &[u8], mode| {
        let target = below(aside, path);
        let parent = host.path(target.parent().unwrap_or(aside))?;
        fs::create_dir_all(&parent).map_err(NodeError::io("make", &parent))?;
        host.write(&target, bytes, Access::of_root(mode))
    };
    put(&Path::new(SETTINGS).join("corten.toml"), b"", 0o600)?;
    for (path, file) in wanted {
        let bytes = fs::read(&file.from).map_err(NodeError::io("read", &file.from))?;
        put(path, &bytes, file.mode)?;
    }
    // What the administrator has set counts with it; what a version before has set does not.
    let theirs = |name: &PathBuf| {
        source::is_kept(name) || !wanted.contains_key(name) && !known.is_some_and(|record| record.has(name))
    };
    for name in settings(host)?.iter().filter(|name| theirs(name)) {
        if let Some(bytes) = host.read(name)? {
            put(name, &bytes, 0o600)?;
        }
    }
    Ok(())
}

/// The files of settings that a host has.
fn settings(host: &Host) -> Result<Vec<PathBuf>, NodeError> {
    let directory = Path::new(SETTINGS).join("conf.d");
    let any = host.path(&directory.join("any"))?;
    let entries = any.parent().and_then(|seen| fs::read_dir(seen).ok()).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries.map(|entry| directory.join(entry.file_name())).collect();
    found.push(Path::new(SETTINGS).join("corten.toml"));
    Ok(found)
}

fn below(directory: &Path, path: &Path) -> PathBuf {
    directory.join(path.strip_prefix("/").unwrap_or(path))
}

/// What `corten check` says of the host.
fn judge(hand: &dyn Hand, aside: &Path) -> Result<(), NodeError> {
    let program = below(aside, Path::new(PROGRAM));
    let settings = below(aside, &Path::new(SETTINGS).join("corten.toml"));
    let line = ["check", "--json", "--quiet", "--no-builtin-network", "--cadvisor", "--config"];
    let settings = settings.to_string_lossy().into_owned();
    let arguments: Vec<&str> = line.into_iter().chain([settings.as_str()]).collect();
    let ended = hand.run(&program.to_string_lossy(), &arguments)?;
    if ended.success {
        return Ok(());
    }
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
    let findings = report["findings"].as_array().into_iter().flatten();
    let errors = findings.filter(|finding| finding["level"] == "error").map(|finding| {
        let text = |key: &str| finding[key].as_str().unwrap_or_default();
        format!("{}: {} (to mend it: {})", text("check"), text("found"), text("mend"))
    });
    let errors: Vec<String> = errors.collect();
    let why = if errors.is_empty() {
        format!("its programs do not run here: {}", ended.stderr.trim())
    } else {
        errors.join("; ")
    };
    // Where the files will be, and not where they were looked at.
    Err(NodeError::Unfit(why.replace(&*aside.to_string_lossy(), "")))
}
