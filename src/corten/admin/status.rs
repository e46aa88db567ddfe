//! What the daemon knows of itself.

use super::server::{Answer, Refusal, Server, ok};
use crate::config;
use crate::reload::ConfigStatus;
use engine::{Engine, Explanation, OperationView};
use http::StatusCode;
use net::Chosen;
use rustix::fs::statvfs;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The whole of it, as `corten status --json` prints it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StatusView {
    pub(crate) version: String,
    pub(crate) commit: String,
    pub(crate) pid: u32,
    /// Unix time in seconds.
    pub(crate) started_at: u64,
    pub(crate) uptime_seconds: u64,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) config: ConfigStatus,
    /// Settings that are not the defaults.
    pub(crate) settings: Vec<(String, toml::Value)>,
    /// The CNI configuration in force.
    pub(crate) network: Option<Chosen>,
    /// Directories, drivers, user namespaces: as `crictl info` shows them.
    pub(crate) info: std::collections::BTreeMap<String, String>,
    pub(crate) handlers: Vec<Handler>,
    pub(crate) disks: Vec<Disk>,
    /// Bytes that images take.
    pub(crate) image_bytes: u64,
    pub(crate) images: usize,
    pub(crate) pods: Pods,
    pub(crate) containers: Containers,
    /// Records that a reboot would lose.
    pub(crate) records_not_durable: u64,
    /// What was taken over when the daemon started.
    pub(crate) recovery: Option<Recovery>,
    pub(crate) operations: Vec<Operation>,
    /// Plugins of the Node Resource Interface, in the order in which they are asked.
    #[serde(default)]
    pub(crate) plugins: Vec<Plugin>,
    /// Where plugins connect, and which are required.
    #[serde(default)]
    pub(crate) nri: Nri,
}

/// The Node Resource Interface as such.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Nri {
    /// Whether plugins are served.
    #[serde(default)]
    pub(crate) enabled: bool,
    /// Where plugins may connect.
    pub(crate) socket: Option<PathBuf>,
    /// Why none can.
    pub(crate) problem: Option<String>,
    /// Plugins without which no container is created and that are not connected.
    pub(crate) missing: Vec<String>,
}

impl Nri {
    fn of(engine: &Engine, enabled: bool) -> Self {
        let (socket, problem) = match engine.plugin_socket() {
            Some(engine::NriListenStatus { socket, problem }) => (Some(socket), problem),
            None => (None, None),
        };
        Self { enabled, socket, problem, missing: engine.missing_plugins().unwrap_or_default() }
    }
}

/// A plugin.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plugin {
    /// Index and name.
    pub(crate) name: String,
    /// Whether the daemon started it, or it came by itself.
    pub(crate) started_here: bool,
    /// It lies beside those that are started here, and is not.
    #[serde(default)]
    pub(crate) unfit: bool,
    pub(crate) pid: Option<u32>,
    pub(crate) connected: bool,
    /// Unix time in seconds: since when.
    pub(crate) since: u64,
    /// Where it is not there: how it went, or why it has not come.
    #[serde(default)]
    pub(crate) why: Option<String>,
    /// When it is started again.
    #[serde(default)]
    pub(crate) again_in_seconds: Option<f64>,
    pub(crate) restarts: u64,
    /// How its process ended last.
    #[serde(default)]
    pub(crate) last_end: Option<String>,
    pub(crate) requests: u64,
    pub(crate) adjustments: u64,
    pub(crate) failures: u64,
    /// What it is asked at this moment.
    pub(crate) waits_for: Option<Stage>,
}

impl From<engine::NriPluginStatus> for Plugin {
    fn from(plugin: engine::NriPluginStatus) -> Self {
        let (why, again_at) = plugin.absence.map(|absence| (absence.why, absence.again_at)).unzip();
        let again_in = again_at.flatten().map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
        let sum = |count: fn(&engine::NriCalls) -> u64| plugin.calls.iter().map(count).sum();
        Self {
            requests: sum(|calls| calls.total),
            adjustments: sum(|calls| calls.adjusted),
            failures: sum(|calls| calls.refused + calls.rejected + calls.unanswered),
            name: plugin.name,
            started_here: plugin.origin == engine::NriOrigin::Installed,
            unfit: plugin.origin == engine::NriOrigin::Unfit,
            pid: plugin.pid,
            connected: plugin.connected,
            since: plugin.since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            why,
            again_in_seconds: again_in.map(|wait| wait.as_secs_f64()),
            restarts: plugin.restarts,
            last_end: plugin.last_end,
            waits_for: plugin
                .pending
                .map(|(request, age)| Stage { stage: request.to_owned(), age_seconds: age.as_secs_f64() }),
        }
    }
}

/// A condition of CRI Status.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Condition {
    pub(crate) name: String,
    pub(crate) status: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// A way of running containers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Handler {
    /// Empty: the default one.
    pub(crate) name: String,
    pub(crate) recursive_read_only: bool,
    pub(crate) user_namespaces: bool,
}

/// A filesystem.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Disk {
    /// What lies there.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) size_bytes: u64,
    pub(crate) available_bytes: u64,
    pub(crate) reserved_bytes: u64,
}

/// Pods by state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pods {
    pub(crate) ready: u64,
    pub(crate) not_ready: u64,
}

/// Containers by state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Containers {
    pub(crate) created: u64,
    pub(crate) running: u64,
    pub(crate) exited: u64,
}

/// A recovery.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Recovery {
    pub(crate) pods: usize,
    pub(crate) seconds: f64,
}

/// An operation under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Operation {
    pub(crate) method: String,
    pub(crate) subject: String,
    pub(crate) age_seconds: f64,
    pub(crate) stages: Vec<Stage>,
}

/// A stage that an operation is in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stage {
    pub(crate) stage: String,
    pub(crate) age_seconds: f64,
}

impl From<OperationView> for Operation {
    fn from(view: OperationView) -> Self {
        let stage = |(name, age): (&str, std::time::Duration)| Stage {
            stage: name.to_owned(),
            age_seconds: age.as_secs_f64(),
        };
        Self {
            method: view.verb.to_owned(),
            subject: view.subject,
            age_seconds: view.age.as_secs_f64(),
            stages: view.stages.into_iter().map(stage).collect(),
        }
    }
}

/// What to explain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ExplainRequest {
    pub(crate) container: bool,
    pub(crate) id: String,
}

impl Server {
    /// Looks at disks and at a file of /proc for each pod.
    pub(super) fn status(&self) -> StatusView {
        let config = self.reloader.config();
        let status = self.engine.status();
        let gauges = self.engine.gauges();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let disks =
            [("state", &config.state_dir), ("data", &config.data_dir), ("images", &config.images.root)];
        let handler = |info: &engine::HandlerInfo| Handler {
            name: info.name.clone(),
            recursive_read_only: info.recursive_read_only,
            user_namespaces: info.user_namespaces,
        };
        StatusView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("CORTEN_COMMIT").unwrap_or("unknown").to_owned(),
            pid: std::process::id(),
            started_at: self.started_at,
            uptime_seconds: now.saturating_sub(self.started_at),
            conditions: conditions(&status),
            plugins: self.engine.plugins().into_iter().map(Into::into).collect(),
            nri: Nri::of(&self.engine, config.nri.enable),
            config: self.reloader.status(),
            settings: config::differing(&config),
            network: self.network.in_force(),
            handlers: status.handlers.iter().map(handler).collect(),
            info: status.info,
            disks: disks.into_iter().filter_map(|(name, path)| disk(name, path)).collect(),
            image_bytes: self.images.fs_usage().bytes,
            images: self.images.list().len(),
            pods: Pods { ready: gauges.pods_ready, not_ready: gauges.pods_not_ready },
            containers: Containers {
                created: gauges.containers_created,
                running: gauges.containers_running,
                exited: gauges.containers_exited,
            },
            records_not_durable: self.engine.gauges_of_records().not_durable,
            recovery: recovery(&self.engine),
            operations: self.engine.operations().into_iter().map(Operation::from).collect(),
        }
    }

    pub(super) async fn explain(&self, request: ExplainRequest) -> Answer {
        let engine = self.engine.clone();
        let explain = move || {
            if request.container {
                engine.explain_container(&request.id)
            } else {
                engine.explain_pod(&request.id)
            }
        };
        let explained: Explanation = match tokio::task::spawn_blocking(explain).await {
            Ok(Ok(explained)) => explained,
            Ok(Err(error)) => return Err(Refusal(StatusCode::NOT_FOUND, crate::error::chain(&error))),
            Err(_) => {
                let interrupted = "the work was interrupted".to_owned();
                return Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, interrupted));
            }
        };
        ok(&explained)
    }
}

fn conditions(status: &engine::RuntimeStatus) -> Vec<Condition> {
    let unfit = status.unfit.as_ref();
    vec![
        Condition {
            name: "RuntimeReady".to_owned(),
            status: unfit.is_none(),
            reason: unfit.map(|unfit| unfit.reason().to_owned()).unwrap_or_default(),
            message: unfit.map(ToString::to_string).unwrap_or_default(),
        },
        Condition {
            name: "NetworkReady".to_owned(),
            status: status.network.ready,
            reason: status.network.reason.clone(),
            message: status.network.message.clone(),
        },
    ]
}

fn recovery(engine: &Engine) -> Option<Recovery> {
    engine.recovered().map(|(pods, took)| Recovery { pods, seconds: took.as_secs_f64() })
}

fn disk(name: &str, path: &Path) -> Option<Disk> {
    let found = statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Some(Disk {
        name: name.to_owned(),
        path: path.to_owned(),
        size_bytes: bytes(found.f_blocks),
        available_bytes: bytes(found.f_bavail),
        reserved_bytes: bytes(found.f_bfree.saturating_sub(found.f_bavail)),
    })
}
