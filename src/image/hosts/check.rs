//! Every directory of registries at once, as pulls would find them: for whoever asks before the first pull does.

use super::{HostsError, client_config, of_directory};
use crate::config::ImageConfig;
use std::fs;
use std::io;
use std::path::Path;

/// The registry as which `_default` is read: any without settings of its own.
const ANY: &str = "registry.example";

impl ImageConfig {
    /// What pulls will not be able to use of a directory of `certs_dir`.
    pub fn check_registries(certs_dir: &Path) -> Vec<HostsError> {
        problems(certs_dir)
    }
}

/// What cannot be used of the directories of registries; nothing where there is no directory of them.
fn problems(certs_dir: &Path) -> Vec<HostsError> {
    let read = |source| HostsError::Read { path: certs_dir.to_owned(), source };
    let entries = match fs::read_dir(certs_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => return vec![read(error)],
    };
    let mut problems = Vec::new();
    let mut directories = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => directories.push(entry.path()),
            Err(error) => problems.push(read(error)),
        }
    }
    directories.sort();
    for directory in directories {
        match fs::metadata(&directory) {
            Ok(found) if found.is_dir() => problems.extend(of_registry(&directory)),
            Ok(_) => {}
            // A link that leads nowhere.
            Err(source) => problems.push(HostsError::Read { path: directory, source }),
        }
    }
    problems
}

fn of_registry(directory: &Path) -> Vec<HostsError> {
    let name = directory.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    match of_directory(directory, &registry(&name)) {
        Ok(found) => {
            let hosts = found.into_iter().flat_map(|(_, hosts)| hosts);
            hosts.filter_map(|host| client_config(&host).err()).flat_map(HostsError::each).collect()
        }
        Err(error) => error.each(),
    }
}

/// The registry whose directory has this name.
fn registry(directory: &str) -> String {
    if directory == "_default" {
        return ANY.to_owned();
    }
    let port = directory.strip_suffix('_').and_then(|rest| rest.rsplit_once('_'));
    port.map_or_else(|| directory.to_owned(), |(host, port)| format!("{host}:{port}"))
}
