//! What is kept of a container: `<root>/<id>/state.json` with what this program needs, `config.json` as it was carried
//! out, and `start.sock` for as long as the container waits to be started.

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use oci::cgroup::{CgroupPath, Host};
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::status::Status;

/// What `state.json` holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// The container.
    pub(crate) id: String,
    /// The version that its configuration names.
    pub(crate) oci_version: String,
    /// The bundle, absolute.
    pub(crate) bundle: PathBuf,
    /// The root, absolute.
    pub(crate) rootfs: PathBuf,
    /// The first process.
    pub(crate) pid: i32,
    /// When it started, in ticks since boot: tells it from a later process with its number.
    pub(crate) start_time: u64,
    /// RFC 3339.
    pub(crate) created: String,
    /// Its cgroup.
    pub(crate) cgroup: String,
    /// The first process is PID 1 of a namespace: the others end with it.
    pub(crate) owns_pids: bool,
    /// From the configuration.
    #[serde(default)]
    pub(crate) annotations: HashMap<String, String>,
}

/// What `state` prints and hooks read.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Told<'a> {
    oci_version: &'a str,
    id: &'a str,
    status: Status,
    #[serde(skip_serializing_if = "is_zero")]
    pid: i32,
    bundle: &'a Path,
    rootfs: &'a Path,
    created: &'a str,
    owner: &'static str,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    annotations: &'a HashMap<String, String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_zero(pid: &i32) -> bool {
    *pid == 0
}

impl Record {
    /// The state in the form of the runtime spec.
    pub(crate) fn told(&self, status: Status) -> Told<'_> {
        Told {
            oci_version: &self.oci_version,
            id: &self.id,
            status,
            pid: if status == Status::Stopped { 0 } else { self.pid },
            bundle: &self.bundle,
            rootfs: &self.rootfs,
            created: &self.created,
            owner: "",
            annotations: &self.annotations,
        }
    }

    /// The same as text.
    pub(crate) fn json(&self, status: Status) -> Result<Vec<u8>> {
        serde_json::to_vec(&self.told(status)).map_err(Error::json("state"))
    }

    /// Its cgroup.
    pub(crate) fn cgroup(&self) -> Result<CgroupPath> {
        Ok(CgroupPath::parse("cgroup", &self.cgroup)?)
    }

    /// A descriptor of the first process, if it is still that one.
    pub(crate) fn pidfd(&self) -> Result<OwnedFd> {
        let pidfd = sys::process::pidfd_open(self.pid).map_err(|_| Error::NotRunning)?;
        // Asked for with the descriptor in hand: the number cannot change hands any more.
        if self.is_alive() { Ok(pidfd) } else { Err(Error::NotRunning) }
    }

    /// The first process has not ended.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(process(self.pid), Some((state, start)) if start == self.start_time && !matches!(state, 'Z' | 'X'))
    }
}

/// A process's state letter and start time; `None` when there is none.
pub(crate) fn process(pid: i32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let rest = text.get(text.rfind(')')? + 2..)?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// A container's directory.
#[derive(Debug)]
pub(crate) struct Dir {
    path: PathBuf,
}

impl Dir {
    /// Takes an id.
    pub(crate) fn make(root: &Path, id: &str) -> Result<Self> {
        check_id(id)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(Error::io("make", root))?;
        let path = root.join(id);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self { path }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Error::Exists(id.to_owned()))
            }
            Err(error) => Err(Error::io("make", &path)(error)),
        }
    }

    /// Finds a container.
    pub(crate) fn open(root: &Path, id: &str) -> Result<(Self, Record)> {
        check_id(id)?;
        let path = root.join(id);
        let file = path.join("state.json");
        let text = match fs::read(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoSuchContainer(id.to_owned()));
            }
            read => read.map_err(Error::io("read", &file))?,
        };
        let record = serde_json::from_slice(&text).map_err(Error::json(&file))?;
        Ok((Self { path }, record))
    }

    /// Gives back an id whose `create` was killed before it had kept a record; one that is not taken is fine.
    pub(crate) fn clear(root: &Path, id: &str) -> Result<()> {
        check_id(id)?;
        Self { path: root.join(id) }.remove()
    }

    /// Keeps the record and the configuration.
    pub(crate) fn write(&self, record: &Record, spec: &Spec) -> Result<()> {
        let file = self.path.join("config.json");
        let text = oci::json::write(spec).map_err(Error::json(&file))?;
        sys::fs::write_atomic(&file, &text, 0o600)?;
        let file = self.path.join("state.json");
        let text = serde_json::to_vec(record).map_err(Error::json(&file))?;
        Ok(sys::fs::write_atomic(&file, &text, 0o600)?)
    }

    /// The configuration as it was carried out.
    pub(crate) fn spec(&self) -> Result<Spec> {
        let file = self.path.join("config.json");
        let text = fs::read(&file).map_err(Error::io("read", &file))?;
        oci::json::read(&text).map_err(Error::json(&file))
    }

    /// Runs something with a short path of the socket by which the container is started: addresses hold 108 bytes.
    pub(crate) fn with_socket<T>(&self, work: impl FnOnce(&Path) -> sys::SysResult<T>) -> Result<T> {
        let held = fs::File::open(&self.path).map_err(Error::io("open", &self.path))?;
        Ok(work(Path::new(&format!("/proc/self/fd/{}/start.sock", held.as_raw_fd())))?)
    }

    /// Where that socket is.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join("start.sock")
    }

    /// Where the container stands.
    pub(crate) fn status(&self, record: &Record, host: Option<&Host>) -> Status {
        if !record.is_alive() {
            return Status::Stopped;
        }
        if self.socket().exists() {
            return Status::Created;
        }
        let frozen = |host: &Host| record.cgroup().is_ok_and(|path| host.is_frozen(&path).unwrap_or(false));
        if host.is_some_and(frozen) { Status::Paused } else { Status::Running }
    }

    /// Gives the id back.
    pub(crate) fn remove(&self) -> Result<()> {
        sys::tree::remove(&self.path).map_err(|error| Error::io("remove", &self.path)(error.into()))
    }
}

/// An id is a file name of plain characters, as runc has it.
fn check_id(id: &str) -> Result<()> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    if id.is_empty() || id.len() > 1024 || id == "." || id == ".." || !id.chars().all(known) {
        return Err(Error::invalid("container id", format!("{id:?} has not the form of one")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_are_plain_file_names() {
        for id in ["a", "k8s.io-1_2+3", "0123"] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "a b", "\n"] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        let own = std::process::id().cast_signed();
        let (state, start) = process(own).unwrap();
        assert!(matches!(state, 'R' | 'S') && start > 0);
        assert!(process(-1).is_none());
    }

    #[test]
    fn an_id_is_taken_once() {
        let root = tempfile::tempdir().unwrap();
        Dir::make(root.path(), "one").unwrap();
        assert!(matches!(Dir::make(root.path(), "one"), Err(Error::Exists(_))));
        assert!(matches!(Dir::open(root.path(), "one"), Err(Error::NoSuchContainer(_))));
        Dir::clear(root.path(), "one").unwrap();
        Dir::clear(root.path(), "one").unwrap();
        Dir::make(root.path(), "one").unwrap().remove().unwrap();
    }
}
