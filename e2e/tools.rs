//! Where the programs are that the harness drives.

use crate::error::Error;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// A Go program that `e2e/setup.sh` built, such as `crictl` or `cni/bridge`.
///
/// # Errors
/// When it is not there.
pub fn go_tool(name: &str, part: &'static str) -> Result<PathBuf, Error> {
    existing(repository().join(".cache/tools").join(name), part)
}

/// The directory of the standard CNI plugins that `e2e/setup.sh` built.
pub fn go_cni_directory() -> PathBuf {
    repository().join(".cache/tools/cni")
}

/// The directory of the plugins of Debian's package containernetworking-plugins.
pub fn debian_cni_directory() -> PathBuf {
    PathBuf::from("/usr/lib/cni")
}

/// The installed Corten: `CORTEN_DIST`, else `target/dist`, which `make build` fills.
pub fn dist() -> PathBuf {
    std::env::var_os("CORTEN_DIST").map_or_else(|| repository().join("target/dist"), PathBuf::from)
}

/// Corten with failpoints, which `e2e/failpoints.sh` builds.
pub fn failpoints() -> PathBuf {
    repository().join("target/failpoints")
}

/// The programs of the release before this one, laid out as in `target/dist`: `CORTEN_PREVIOUS`, else what
/// `e2e/previous.sh` has built; `None` where there is neither.
pub fn previous() -> Option<PathBuf> {
    let built = repository().join(".cache/previous/dist");
    match std::env::var_os("CORTEN_PREVIOUS") {
        Some(named) => Some(PathBuf::from(named)),
        None => built.join("corten").exists().then_some(built),
    }
}

/// A program of Corten.
///
/// # Errors
/// When it was not built.
pub fn corten(name: &str) -> Result<PathBuf, Error> {
    program(&dist(), name)
}

/// A program of Corten in a directory.
///
/// # Errors
/// When it was not built.
pub fn program(directory: &Path, name: &str) -> Result<PathBuf, Error> {
    let path = directory.join(name);
    if path.exists() {
        return Ok(path);
    }
    Err(Error::Missing { what: path.display().to_string(), part: "build && make build" })
}

/// A program of the system, looked up where Debian has them, whatever PATH says.
///
/// # Errors
/// When it is in none of those directories.
pub fn system(name: &str) -> Result<PathBuf, Error> {
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin"]
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.exists())
        .ok_or_else(|| Error::Missing { what: name.to_owned(), part: "run" })
}

fn existing(path: PathBuf, part: &'static str) -> Result<PathBuf, Error> {
    if path.exists() { Ok(path) } else { Err(Error::Missing { what: path.display().to_string(), part }) }
}
