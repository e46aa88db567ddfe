//! What the types of the settings cannot say: ranges, absolute paths, settings that must agree.

use super::sections::{Config, MetricsAddress};
use crate::logging;
use std::ops::RangeInclusive;
use std::path::{Component, Path};

/// A setting whose value cannot be used.
#[derive(Debug)]
pub(super) struct Invalid {
    pub(super) key: String,
    pub(super) reason: String,
}

impl From<engine::SettingError> for Invalid {
    fn from(error: engine::SettingError) -> Self {
        Self { key: error.key, reason: error.problem }
    }
}

type Check = Result<(), Invalid>;

/// The longest path that a socket's address takes (`sun_path` less its final NUL).
const SOCKET_PATH_MAX: usize = 107;

/// Checks every setting.
pub(super) fn check(config: &Config) -> Check {
    socket("socket", &config.socket)?;
    directory("state_dir", &config.state_dir)?;
    directory("data_dir", &config.data_dir)?;
    if config.state_dir.starts_with(&config.data_dir) || config.data_dir.starts_with(&config.state_dir) {
        return refuse("data_dir", "lies within state_dir, or around it".to_owned());
    }
    range("daemon.workers", config.daemon.workers, 0..=256)?;
    range("daemon.drain_seconds", config.daemon.drain_seconds, 0..=3600)?;
    range("daemon.max_request_bytes", config.daemon.max_request_bytes, 1 << 20..=64 << 20)?;
    if let Err(error) = logging::levels(&config.log.level) {
        return refuse("log.level", error.to_string());
    }
    if let MetricsAddress::Unix(path) = &config.metrics.address {
        socket("metrics.address", path)?;
        if *path == config.socket {
            return refuse("metrics.address", "is the CRI's own socket".to_owned());
        }
    }
    images(&config.images)?;
    network(&config.network)?;
    runtime(&config.runtime)?;
    config.engine().check()?;
    stream(&config.stream)
}

fn images(settings: &image::ImageConfig) -> Check {
    directory("images.root", &settings.root)?;
    directory("images.certs_dir", &settings.certs_dir)?;
    range("images.parallel_layers", settings.parallel_layers, 0..=256)?;
    range("images.dial_timeout_seconds", settings.dial_timeout_seconds, 1..=3600)?;
    range("images.progress_timeout_seconds", settings.progress_timeout_seconds, 1..=86_400)?;
    range("images.max_layer_bytes", settings.max_layer_bytes, 1 << 20..=1 << 50)?;
    range("images.max_layer_entries", settings.max_layer_entries, 1..=1 << 32)?;
    range("images.keep_unfinished_seconds", settings.keep_unfinished_seconds, 0..=30 * 86_400)?;
    range("images.max_pulls", settings.max_pulls, 0..=4096)?;
    range("images.registry_qps", settings.registry_qps, 0..=100_000)?;
    range("images.registry_burst", settings.registry_burst, 1..=100_000)
}

fn network(settings: &net::NetworkSettings) -> Check {
    directory("network.conf_dir", &settings.conf_dir)?;
    for directory in &settings.bin_dirs {
        absolute("network.bin_dirs", directory)?;
    }
    if settings.mtu != 0 {
        range("network.mtu", settings.mtu, 68..=65_535)?;
    }
    range("network.plugin_timeout_seconds", settings.plugin_timeout_seconds, 1..=3600)?;
    range("network.status_interval_seconds", settings.status_interval_seconds, 1..=3600)?;
    range("network.max_executing_plugins", settings.max_executing_plugins, 1..=4096)
}

fn runtime(settings: &engine::Settings) -> Check {
    optional_path("runtime.shim", &settings.shim)?;
    optional_path("runtime.pause", &settings.pause)?;
    directory("runtime.netns_dir", &settings.netns_dir)?;
    cgroup_parent(settings)?;
    range("runtime.shm_size", settings.shm_size, 64 << 10..=1 << 40)?;
    range("runtime.exec_output_limit", settings.exec_output_limit, 1 << 10..=7 << 20)?;
    range("runtime.exec_drain_ms", settings.exec_drain_ms, 0..=60_000)?;
    range("runtime.layer_usage_seconds", settings.layer_usage_seconds, 1..=3600)?;
    range("runtime.kill_timeout_seconds", settings.kill_timeout_seconds, 1..=600)
}

fn stream(settings: &stream::Settings) -> Check {
    optional_path("stream.tls_cert_file", &settings.tls_cert_file)?;
    optional_path("stream.tls_key_file", &settings.tls_key_file)?;
    if settings.tls_cert_file.as_os_str().is_empty() != settings.tls_key_file.as_os_str().is_empty() {
        return refuse("stream.tls_cert_file", "goes with stream.tls_key_file: both or neither".to_owned());
    }
    range("stream.idle_timeout_seconds", settings.idle_timeout_seconds, 1..=7 * 86_400)
}

/// With `auto` both drivers' names are right somewhere.
fn cgroup_parent(settings: &engine::Settings) -> Check {
    use engine::CgroupDriver::{Auto, Cgroupfs, Systemd};
    let key = "runtime.cgroup_parent";
    let parent = Path::new(&settings.cgroup_parent);
    let is_slice = parent.extension().is_some_and(|extension| extension == "slice");
    match (settings.cgroup_driver, is_slice) {
        _ if settings.cgroup_parent.is_empty() => Ok(()),
        (Cgroupfs, true) => refuse(key, "names a systemd slice, and `cgroup_driver` is cgroupfs".to_owned()),
        (Systemd, false) => refuse(key, "names no slice, and `cgroup_driver` is systemd".to_owned()),
        (Auto | Systemd, true) => Ok(()),
        (Auto | Cgroupfs, false) => absolute(key, parent),
    }
}

fn refuse(key: &'static str, reason: String) -> Check {
    Err(Invalid { key: key.to_owned(), reason })
}

fn range<T: Copy + PartialOrd + std::fmt::Display>(
    key: &'static str,
    value: T,
    range: RangeInclusive<T>,
) -> Check {
    if range.contains(&value) {
        return Ok(());
    }
    refuse(key, format!("{value} is not within {} to {}", range.start(), range.end()))
}

fn absolute(key: &'static str, path: &Path) -> Check {
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && plain {
        return Ok(());
    }
    refuse(key, format!("`{}` is no absolute path without `..`", path.display()))
}

fn directory(key: &'static str, path: &Path) -> Check {
    absolute(key, path)?;
    if path.parent().is_none() {
        return refuse(key, "is the root directory".to_owned());
    }
    Ok(())
}

fn optional_path(key: &'static str, path: &Path) -> Check {
    if path.as_os_str().is_empty() { Ok(()) } else { absolute(key, path) }
}

fn socket(key: &'static str, path: &Path) -> Check {
    directory(key, path)?;
    let length = path.as_os_str().len();
    if length > SOCKET_PATH_MAX {
        return refuse(key, format!("{length} bytes are too long for a socket, {SOCKET_PATH_MAX} is most"));
    }
    Ok(())
}
