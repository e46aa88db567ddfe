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

/// The longest path that a socket's address takes (`sun_path` less its final NUL).
const SOCKET_PATH_MAX: usize = 107;

/// Checks every setting. Those that are refused already have their defaults, which are not held against others.
pub(super) fn check(config: &Config, refused: &[String]) -> Vec<Invalid> {
    let mut findings = Findings { refused, found: Vec::new() };
    findings.daemon(config);
    findings.images(&config.images);
    findings.network(&config.network);
    findings.runtime(&config.runtime);
    findings.engine(&config.engine());
    findings.stream(&config.stream);
    findings.nri(config);
    findings.found
}

struct Findings<'a> {
    refused: &'a [String],
    found: Vec<Invalid>,
}

impl Findings<'_> {
    fn daemon(&mut self, config: &Config) {
        self.socket("socket", &config.socket);
        self.directory("state_dir", &config.state_dir);
        self.directory("data_dir", &config.data_dir);
        let within = |one: &Path, other: &Path| one.starts_with(other) || other.starts_with(one);
        if self.are_right(&["state_dir", "data_dir"]) && within(&config.state_dir, &config.data_dir) {
            self.refuse("data_dir", "lies within state_dir, or around it".to_owned());
        }
        // Left out, it follows data_dir.
        let images = &config.images.root;
        if self.are_right(&["data_dir"]) || !images.starts_with(&config.data_dir) {
            self.directory("images.root", images);
        }
        self.range("daemon.workers", config.daemon.workers, 0..=256);
        self.range("daemon.drain_seconds", config.daemon.drain_seconds, 0..=3600);
        self.range("daemon.max_request_bytes", config.daemon.max_request_bytes, 1 << 20..=64 << 20);
        if let Err(error) = logging::levels(&config.log.level) {
            self.refuse("log.level", error.to_string());
        }
        if let MetricsAddress::Unix(path) = &config.metrics.address {
            self.socket("metrics.address", path);
            if *path == config.socket && self.are_right(&["socket", "metrics.address"]) {
                self.refuse("metrics.address", "is the CRI's own socket".to_owned());
            }
        }
        self.tls(
            ["metrics.tls_cert_file", "metrics.tls_key_file"],
            [&config.metrics.tls_cert_file, &config.metrics.tls_key_file],
        );
        self.optional_path("metrics.token_file", &config.metrics.token_file);
        self.cadvisor(config);
        self.tracing(&config.tracing);
    }

    fn tracing(&mut self, tracing: &otlp::Settings) {
        if let (false, Err(error)) = (tracing.endpoint.is_empty(), otlp::parse(&tracing.endpoint)) {
            self.refuse("tracing.endpoint", error.to_string());
        }
        if !tracing.ca_file.as_os_str().is_empty() {
            self.absolute("tracing.ca_file", &tracing.ca_file);
        }
        self.range("tracing.samples_per_million", tracing.samples_per_million, 0..=1_000_000);
    }

    fn cadvisor(&mut self, config: &Config) {
        let (key, path) = ("kubelet.cadvisor_socket", &config.kubelet.cadvisor_socket);
        if path.as_os_str().is_empty() {
            return;
        }
        self.socket(key, path);
        if *path == config.socket && self.are_right(&["socket", key]) {
            self.refuse(key, "is the CRI's own socket".to_owned());
        }
        let is_metrics = matches!(&config.metrics.address, MetricsAddress::Unix(other) if other == path);
        if is_metrics && self.are_right(&["metrics.address", key]) {
            self.refuse(key, "is that of the metrics".to_owned());
        }
    }

    fn images(&mut self, settings: &image::ImageConfig) {
        for directory in settings.certs_dir.paths() {
            self.directory("images.certs_dir", directory);
        }
        if settings.certs_dir.paths().is_empty() {
            self.refuse("images.certs_dir", "names no directory".to_owned());
        }
        self.range("images.parallel_layers", settings.parallel_layers, 0..=256);
        self.range("images.dial_timeout_seconds", settings.dial_timeout_seconds, 1..=3600);
        self.range("images.progress_timeout_seconds", settings.progress_timeout_seconds, 1..=86_400);
        self.range("images.max_layer_bytes", settings.max_layer_bytes, 1 << 20..=1 << 50);
        self.range("images.max_layer_entries", settings.max_layer_entries, 1..=1 << 32);
        self.range("images.keep_unfinished_seconds", settings.keep_unfinished_seconds, 0..=30 * 86_400);
        self.range("images.max_pulls", settings.max_pulls, 0..=4096);
        self.range("images.registry_qps", settings.registry_qps, 0..=100_000);
        self.range("images.registry_burst", settings.registry_burst, 1..=100_000);
        for image::ImageSettingProblem { key, problem } in settings.check() {
            self.refuse(key, problem);
        }
    }

    fn network(&mut self, settings: &net::NetworkSettings) {
        self.directory("network.conf_dir", &settings.conf_dir);
        for directory in &settings.bin_dirs {
            self.absolute("network.bin_dirs", directory);
        }
        for problem in settings.check_subnets() {
            self.refuse("network.subnets", problem);
        }
        if settings.mtu != 0 {
            self.range("network.mtu", settings.mtu, 68..=65_535);
        }
        self.range("network.plugin_timeout_seconds", settings.plugin_timeout_seconds, 1..=3600);
        self.range("network.status_interval_seconds", settings.status_interval_seconds, 1..=3600);
        self.range("network.max_executing_plugins", settings.max_executing_plugins, 1..=4096);
        self.range("network.warm_namespaces", settings.warm_namespaces.into(), 0..=64);
    }

    fn runtime(&mut self, settings: &engine::Settings) {
        self.optional_path("runtime.shim", &settings.shim);
        self.optional_path("runtime.pause", &settings.pause);
        self.optional_path("runtime.blockio_config_file", &settings.blockio_config_file);
        self.optional_path("runtime.rdt_config_file", &settings.rdt_config_file);
        for directory in &settings.cdi_spec_dirs {
            self.directory("runtime.cdi_spec_dirs", directory);
        }
        self.directory("runtime.netns_dir", &settings.netns_dir);
        self.cgroup_parent(settings);
        self.range("runtime.shm_size", settings.shm_size, 64 << 10..=1 << 40);
        self.range("runtime.exec_output_limit", settings.exec_output_limit, 1 << 10..=7 << 20);
        self.range("runtime.exec_drain_ms", settings.exec_drain_ms, 0..=60_000);
        self.range("runtime.layer_usage_seconds", settings.layer_usage_seconds, 1..=3600);
        self.range("runtime.warm_supervisors", settings.warm_supervisors.into(), 0..=64);
        self.range("runtime.kill_timeout_seconds", settings.kill_timeout_seconds, 1..=600);
    }

    fn engine(&mut self, settings: &engine::Settings) {
        for engine::SettingError { key, problem } in settings.check() {
            // Which handlers there are is known only where all their sections are read.
            let rests_on_handlers = key == "runtime.default_handler";
            if !rests_on_handlers || self.are_right(&["handlers"]) {
                self.refuse(&key, problem);
            }
        }
    }

    fn stream(&mut self, settings: &stream::Settings) {
        self.tls(
            ["stream.tls_cert_file", "stream.tls_key_file"],
            [&settings.tls_cert_file, &settings.tls_key_file],
        );
        self.range("stream.idle_timeout_seconds", settings.idle_timeout_seconds, 1..=7 * 86_400);
    }

    fn nri(&mut self, config: &Config) {
        let settings = &config.nri;
        self.socket("nri.socket_path", &settings.socket_path);
        if settings.socket_path == config.socket && self.are_right(&["socket", "nri.socket_path"]) {
            self.refuse("nri.socket_path", "is the CRI's own socket".to_owned());
        }
        let judge = &settings.default_validator;
        if !settings.enable && judge.enable && !judge.required_plugins.is_empty() {
            let reason = "cannot be there, as plugins are not served: `nri.enable` is false";
            self.refuse("nri.default_validator.required_plugins", reason.to_owned());
        }
        for name in judge.required_plugins.iter().filter(|name| !engine::may_be_nri_plugin(name)) {
            let reason = format!(
                "{name:?} is no name of a plugin: letters, digits or any of -_.+, with or without its index"
            );
            self.refuse("nri.default_validator.required_plugins", reason);
        }
        let key = &judge.tolerate_missing_plugins_annotation;
        if !key.is_empty() && !engine::may_be_annotation(key) {
            let reason = format!(
                "{key:?} is no key of an annotation, expected one such as `tolerate-missing-plugins.example.com`"
            );
            self.refuse("nri.default_validator.tolerate_missing_plugins_annotation", reason);
        }
        self.directory("nri.plugin_path", &settings.plugin_path);
        self.directory("nri.plugin_config_path", &settings.plugin_config_path);
        for (key, millis) in [
            ("nri.plugin_registration_timeout_ms", settings.plugin_registration_timeout_ms),
            ("nri.plugin_request_timeout_ms", settings.plugin_request_timeout_ms),
        ] {
            self.range(key, millis, 10..=600_000);
        }
    }

    /// A certificate and its key.
    fn tls(&mut self, [certificate, key]: [&'static str; 2], files: [&Path; 2]) {
        self.optional_path(certificate, files[0]);
        self.optional_path(key, files[1]);
        let is_one_alone = files[0].as_os_str().is_empty() != files[1].as_os_str().is_empty();
        if is_one_alone && self.are_right(&[certificate, key]) {
            self.refuse(certificate, format!("goes with {key}: both or neither"));
        }
    }

    /// With `auto` both drivers' names are right somewhere.
    fn cgroup_parent(&mut self, settings: &engine::Settings) {
        use engine::CgroupDriver::{Auto, Cgroupfs, Systemd};
        let key = "runtime.cgroup_parent";
        let parent = Path::new(&settings.cgroup_parent);
        let is_slice = parent.extension().is_some_and(|extension| extension == "slice");
        if settings.cgroup_parent.is_empty() || !self.are_right(&["runtime.cgroup_driver"]) {
            return;
        }
        match (settings.cgroup_driver, is_slice) {
            (Cgroupfs, true) => {
                self.refuse(key, "names a systemd slice, and `cgroup_driver` is cgroupfs".to_owned());
            }
            (Systemd, false) => self.refuse(key, "names no slice, and `cgroup_driver` is systemd".to_owned()),
            (Auto | Systemd, true) => {}
            (Auto | Cgroupfs, false) => self.absolute(key, parent),
        }
    }

    fn refuse(&mut self, key: &str, reason: String) {
        self.found.push(Invalid { key: key.to_owned(), reason });
    }

    /// Nothing is known against these settings, or what is in them.
    fn are_right(&self, keys: &[&str]) -> bool {
        let found = self.found.iter().map(|invalid| &invalid.key);
        let is_in = |wrong: &str, key: &str| {
            wrong.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        !self.refused.iter().chain(found).any(|wrong| keys.iter().any(|key| is_in(wrong, key)))
    }

    fn range<T: Copy + PartialOrd + std::fmt::Display>(
        &mut self,
        key: &'static str,
        value: T,
        range: RangeInclusive<T>,
    ) {
        if !range.contains(&value) {
            self.refuse(key, format!("{value} is not within {} to {}", range.start(), range.end()));
        }
    }

    fn absolute(&mut self, key: &'static str, path: &Path) {
        let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !path.is_absolute() || !plain {
            self.refuse(key, format!("`{}` is no absolute path without `..`", path.display()));
        }
    }

    fn directory(&mut self, key: &'static str, path: &Path) {
        self.absolute(key, path);
        if path.is_absolute() && path.parent().is_none() {
            self.refuse(key, "is the root directory".to_owned());
        }
    }

    fn optional_path(&mut self, key: &'static str, path: &Path) {
        if !path.as_os_str().is_empty() {
            self.absolute(key, path);
        }
    }

    fn socket(&mut self, key: &'static str, path: &Path) {
        self.directory(key, path);
        let length = path.as_os_str().len();
        if length > SOCKET_PATH_MAX {
            self.refuse(key, format!("{length} bytes are too long for a socket, {SOCKET_PATH_MAX} is most"));
        }
    }
}
