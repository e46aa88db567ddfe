//! A container on its way from a request to a record.

use super::create::stopping;
use crate::error::EngineError;
use crate::in_memory::Pod;
use crate::live::Live;
use crate::nri::Changers;
use crate::strangers::Blocked;
use image::Image;
use model::{ContainerConfig, ContainerId, SandboxConfig};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// A container that is to be made.
pub(crate) struct Draft {
    pub(crate) id: ContainerId,
    pub(crate) pod: Arc<Pod>,
    pub(super) config: Arc<ContainerConfig>,
    pub(super) image: Arc<Image>,
    pub(super) run: oci::spec::ImageConfig,
    /// The settings that it is made by, from beginning to end.
    pub(crate) live: Arc<Live>,
    /// What plugins have been asked about, if there are any.
    pub(crate) asked: OnceLock<nri::api::Container>,
    /// The plugins that changed something.
    pub(crate) changed_by: OnceLock<Changers>,
    /// What validators have not said yet of a container that plugins change nothing of.
    pub(crate) verdict: Mutex<nri::Verdict>,
    /// The mount at whose path of the host the work is.
    at: AtomicUsize,
}

impl Draft {
    pub(super) fn new(
        id: &ContainerId,
        pod: &Arc<Pod>,
        config: Arc<ContainerConfig>,
        image: Arc<Image>,
        live: Arc<Live>,
    ) -> Arc<Self> {
        let run = run_config(&image);
        let at = AtomicUsize::new(0);
        Arc::new(Self {
            id: id.clone(),
            pod: pod.clone(),
            config,
            image,
            run,
            live,
            asked: OnceLock::new(),
            changed_by: OnceLock::new(),
            verdict: Mutex::default(),
            at,
        })
    }

    pub(super) fn log_path(&self) -> String {
        log_path(&self.pod.config(), &self.config)
    }

    /// Looks once at every path that is to be mounted, so that one that does not answer is known.
    pub(super) fn look(&self) {
        let paths = self.config.mounts.iter().map(|mount| mount.host_path.as_ref()).enumerate();
        for (index, path) in paths.filter_map(|(index, path)| Some((index, path?))) {
            self.at.store(index, Ordering::Relaxed);
            // What is there and how, the planner decides.
            let _ = fs::metadata(path);
        }
        self.at.store(usize::MAX, Ordering::Relaxed);
    }

    pub(super) fn blocked(&self, why: &Blocked) -> EngineError {
        let seconds = match why {
            Blocked::Stopping => return stopping(&self.pod),
            Blocked::Died => return EngineError::TaskDied("CreateContainer"),
            Blocked::Unanswered { seconds } => *seconds,
        };
        let at = self.at.load(Ordering::Relaxed);
        let (field, path) = match self.config.mounts.get(at).and_then(|mount| mount.host_path.as_ref()) {
            Some(path) => (format!("config.mounts[{at}].host_path"), path.as_path().to_path_buf()),
            None => ("config.mounts or config.log_path".to_owned(), PathBuf::from(self.log_path())),
        };
        EngineError::Unanswered { field, path, seconds }
    }
}

/// The part of the image that decides how it runs.
fn run_config(image: &Image) -> oci::spec::ImageConfig {
    let config = &image.config;
    oci::spec::ImageConfig {
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        user: config.user.clone(),
        working_dir: config.working_dir.clone(),
        stop_signal: config.stop_signal.clone().unwrap_or_default(),
    }
}

/// Absolute; empty where the pod or the container names none.
fn log_path(sandbox: &SandboxConfig, config: &ContainerConfig) -> String {
    match &sandbox.log_directory {
        Some(directory) if !config.log_path.is_empty() => {
            directory.as_path().join(&config.log_path).to_string_lossy().into_owned()
        }
        _ => String::new(),
    }
}
