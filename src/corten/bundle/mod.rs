//! `corten debug bundle`: what a report needs, in one archive. Each part is bounded in size and time; one that cannot be had is
//! noted in `notes.txt` and ends nothing. Works without a daemon.

mod parts;

use crate::config::{self, Config};
use crate::error::Error;
use client::print;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long one part may take, and all of them.
const OF_A_PART: Duration = Duration::from_secs(20);
const OF_ALL: Duration = Duration::from_secs(120);
/// The most bytes of one part, and of all of them.
const MOST_OF_A_PART: usize = 4 << 20;
const MOST_OF_ALL: usize = 64 << 20;

/// What is gathered under a name: its bytes, or why there are none.
type Part = (String, Result<Vec<u8>, String>);

/// Where the parts come from.
#[derive(Debug, Clone)]
struct Sources {
    config: Config,
    file: Option<PathBuf>,
}

/// Writes the archive.
///
/// # Errors
/// It cannot be written.
pub(crate) fn run(output: Option<PathBuf>, file: Option<&Path>) -> Result<(), Error> {
    let path = output.unwrap_or_else(default_name);
    let mut notes = String::new();
    let config = match config::load(file) {
        Ok(loaded) => loaded.config,
        Err(mistakes) => {
            mistakes.lines().iter().for_each(|line| notes += &format!("configuration: {line}\n"));
            // Where the daemon is, as far as the files say.
            let state_dir = config::state_dir(file).unwrap_or_else(|_| Config::default().state_dir);
            notes += &format!(
                "configuration: so the daemon is looked for in {}, and the rest where the defaults have it\n",
                state_dir.display()
            );
            Config { state_dir, ..Config::default() }
        }
    };
    let sources = Sources { config, file: file.map(Path::to_owned) };
    let failed = |source| Error::Output { path: path.clone(), source };
    // It holds much of the node: it is root's.
    let mut options = OpenOptions::new();
    let archive = options.write(true).create(true).truncate(true).mode(0o600).open(&path).map_err(failed)?;
    let mut archive = tar::Builder::new(GzEncoder::new(archive, Compression::default()));
    write(&mut archive, &sources, &mut notes).map_err(failed)?;
    add(&mut archive, "notes.txt", notes.as_bytes()).map_err(failed)?;
    archive.into_inner().and_then(GzEncoder::finish).and_then(|file| file.sync_all()).map_err(failed)?;
    for line in notes.lines().filter(|line| line.starts_with("configuration: ")) {
        // Nobody may be listening.
        let _ = io::Write::write_all(&mut io::stderr(), format!("corten: {line}\n").as_bytes());
    }
    Ok(print(&format!("{}\n", path.display()))?)
}

fn write(
    archive: &mut tar::Builder<GzEncoder<File>>,
    sources: &Sources,
    notes: &mut String,
) -> io::Result<()> {
    let (begin, mut whole) = (Instant::now(), 0);
    for (name, gather) in parts::ALL {
        let left = OF_ALL.saturating_sub(begin.elapsed()).min(OF_A_PART);
        let gathered = in_time(left, sources.clone(), gather);
        let parts = gathered.unwrap_or_else(|| vec![(name.to_owned(), Err("it took too long".to_owned()))]);
        for (name, part) in parts {
            let bytes = match part {
                Ok(bytes) => bytes,
                Err(problem) => {
                    *notes += &format!("{name}: {problem}\n");
                    continue;
                }
            };
            let most = MOST_OF_A_PART.min(MOST_OF_ALL - whole);
            // The end tells most.
            let kept = &bytes[bytes.len().saturating_sub(most)..];
            if kept.len() < bytes.len() {
                *notes += &format!("{name}: the first {} bytes are left out\n", bytes.len() - kept.len());
            }
            whole += kept.len();
            add(archive, &name, kept)?;
        }
    }
    Ok(())
}

/// Works beside the caller, who gives up after a while; the thread ends with the process.
fn in_time(limit: Duration, sources: Sources, gather: fn(&Sources) -> Vec<Part>) -> Option<Vec<Part>> {
    let (tell, told) = mpsc::channel();
    let work = move || drop(tell.send(gather(&sources)));
    std::thread::Builder::new().name("gather".to_owned()).spawn(work).ok()?;
    told.recv_timeout(limit).ok()
}

fn add(archive: &mut tar::Builder<GzEncoder<File>>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o600);
    header.set_mtime(now());
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, Path::new("corten-debug").join(name), bytes)
}

fn default_name() -> PathBuf {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("corten-debug-{}-{}.tar.gz", host.trim(), now()).into()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
