//! One call of one plugin, in process or executed, measured.

use crate::attachment::pod_of;
use crate::chain::Removal;
use crate::conf::Loaded;
use crate::exec::{self, Execution};
use crate::host::Host;
use crate::metrics::{Metrics, Mode};
use crate::obstacle::Exception;
use crate::{NetError, NetworkSettings, Result, in_process, obstacle, stand_in};
use arc_swap::ArcSwap;
use cni::types::{CniError, CniResult, Command, Invocation, NetnsRef, PluginConfig, TypesError};
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;

/// How much of a plugin's output an error quotes, in bytes.
const QUOTE: usize = 512;

/// Calls plugins.
pub(crate) struct Caller {
    settings: Arc<ArcSwap<NetworkSettings>>,
    metrics: Metrics,
    host: Arc<dyn Host>,
    slots: Semaphore,
}

impl Caller {
    pub(crate) fn new(
        settings: Arc<ArcSwap<NetworkSettings>>,
        metrics: Metrics,
        host: Arc<dyn Host>,
    ) -> Self {
        let slots = Semaphore::new(settings.load().max_executing_plugins.clamp(1, Semaphore::MAX_PERMITS));
        Self { settings, metrics, host, slots }
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How a plugin of a configuration is to run.
    pub(crate) fn mode(&self, conf: &PluginConfig, builtin: bool) -> Mode {
        obstacle::mode(&self.settings.load(), conf, builtin)
    }

    /// What makes every ADD of a network fail, as far as that shows without calling a plugin.
    pub(crate) fn obstacle(&self, loaded: &Loaded) -> Option<String> {
        let obstacle = obstacle::obstacle(&self.settings.load(), loaded)?;
        Some(format!("NetworkNotReady: {obstacle}"))
    }

    /// The plugins of a network that are executed though there are built-in ones of their type.
    pub(crate) fn exceptions(&self, loaded: &Loaded) -> Vec<Exception> {
        obstacle::exceptions(&self.settings.load(), loaded)
    }

    /// What a removal has in the place of the pod's namespace that is gone, where a plugin has need of that.
    pub(crate) async fn stand_in(&self, removal: &Removal<'_>) -> Option<NetnsRef> {
        let addresses = stand_in::addresses(removal);
        if addresses.is_empty() {
            return None;
        }
        let (host, ifname) = (Arc::clone(&self.host), removal.attachment.ifname.clone());
        let made = tokio::task::spawn_blocking(move || host.stand_in(&ifname, &addresses)).await.ok()?;
        // The plugin frees what it can without.
        made.inspect_err(|error| tracing::debug!(%error, "no namespace in the place of a pod's that is gone"))
            .ok()
    }

    /// Carries out a call. An ADD returns its result in the version of the configuration; other commands
    /// return nothing.
    ///
    /// # Errors
    /// Those of the plugin, and of running it.
    pub(crate) async fn call(&self, invocation: Invocation, mode: Mode) -> Result<Option<Value>> {
        self.call_once_more(invocation, mode, false).await
    }

    /// As [`Self::call`]; whoever has called `again` what failed before tells of it himself.
    ///
    /// # Errors
    /// Those of [`Self::call`].
    pub(crate) async fn call_once_more(
        &self,
        mut invocation: Invocation,
        mode: Mode,
        again: bool,
    ) -> Result<Option<Value>> {
        invocation.path.clone_from(&self.settings.load().bin_dirs);
        let (command, plugin) = (invocation.command, invocation.conf.plugin_type().to_owned());
        let begin = Instant::now();
        let outcome = match mode {
            Mode::InProcess => self.call_in_process(invocation).await,
            Mode::Executed => self.execute(invocation, again).await,
        };
        self.metrics.observe(command, &plugin, mode, begin.elapsed(), outcome.is_err());
        outcome
    }

    async fn call_in_process(&self, invocation: Invocation) -> Result<Option<Value>> {
        let version = invocation.version()?;
        match in_process::call(Arc::clone(&self.host), invocation).await? {
            Some(result) => Ok(Some(result.to_value(version)?)),
            None => Ok(None),
        }
    }

    async fn execute(&self, invocation: Invocation, again: bool) -> Result<Option<Value>> {
        // Closed never: the semaphore lives as long as this.
        let _slot = self.slots.acquire().await.ok();
        let plugin = invocation.conf.plugin_type();
        let stdin = serde_json::to_vec(invocation.conf.as_map())
            .map_err(|source| TypesError::Json { what: "plugin configuration", source })?;
        let settings = self.settings.load_full();
        let execution = Execution {
            plugin,
            command: invocation.command,
            bin_dirs: &settings.bin_dirs,
            env: environment(&invocation),
            stdin,
            deadline: settings.plugin_timeout(),
        };
        let outcome = execution.run().await?;
        if outcome.status.success() {
            if !outcome.stderr.is_empty() {
                tracing::debug!(plugin, command = %invocation.command, stderr = outcome.stderr, "cni plugin");
            }
            return decode(&invocation, &outcome.stdout);
        }
        let error = failure(&invocation, &outcome);
        let (pod, id) = (pod_of(&invocation.args), &invocation.container_id);
        let (network, stderr) = (invocation.conf.network(), &outcome.stderr);
        // STATUS is asked every few seconds, and its outcome told when it changes.
        if again || invocation.command == Command::Status {
            tracing::debug!(%error, pod, id, network, stderr, "cni plugin failed");
        } else {
            tracing::warn!(%error, pod, id, network, stderr, "cni plugin failed");
        }
        Err(error)
    }
}

fn environment(invocation: &Invocation) -> Vec<(&'static str, String)> {
    let mut env = vec![
        ("CNI_COMMAND", invocation.command.as_str().to_owned()),
        ("CNI_PATH", exec::search_path(&invocation.path)),
    ];
    if !invocation.container_id.is_empty() {
        let args: Vec<_> = invocation.args.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let netns = invocation.netns.as_ref().map(|netns| netns.path.to_string_lossy().into_owned());
        env.push(("CNI_CONTAINERID", invocation.container_id.clone()));
        env.push(("CNI_IFNAME", invocation.ifname.clone()));
        env.push(("CNI_NETNS", netns.unwrap_or_default()));
        env.push(("CNI_ARGS", args.join(";")));
    }
    env
}

/// What an ADD printed. A result in the configuration's own version is passed on verbatim, so that fields
/// unknown here reach the next plugin; others are converted. What other commands print is not looked at: the specification
/// has them print nothing, some plugins do all the same, and their exit code says whether it is done.
fn decode(invocation: &Invocation, stdout: &[u8]) -> Result<Option<Value>> {
    if invocation.command != Command::Add {
        return Ok(None);
    }
    let version = invocation.version()?;
    let read = || -> std::result::Result<Value, TypesError> {
        let mut value: Value =
            serde_json::from_slice(stdout).map_err(|source| TypesError::Json { what: "result", source })?;
        let result = CniResult::from_value(value.clone(), version)?;
        let said = value.get("cniVersion").and_then(Value::as_str).unwrap_or_default();
        if said.is_empty() {
            value["cniVersion"] = version.as_str().into();
        } else if said != version.as_str() {
            value = result.to_value(version)?;
        }
        Ok(value)
    };
    read().map(Some).map_err(|source| NetError::Garbage {
        plugin: invocation.conf.plugin_type().to_owned(),
        command: invocation.command,
        output: quote(stdout),
        source,
    })
}

fn failure(invocation: &Invocation, outcome: &exec::Outcome) -> NetError {
    let (plugin, command) = (invocation.conf.plugin_type().to_owned(), invocation.command);
    match serde_json::from_slice::<CniError>(&outcome.stdout) {
        Ok(source) if source.code != 0 || !source.msg.is_empty() => {
            NetError::Plugin { plugin, command, source }
        }
        _ => {
            let printed = [quote(&outcome.stdout), quote(outcome.stderr.as_bytes())];
            let output = printed.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
            NetError::Exit { plugin, command, status: outcome.status.to_string(), output }
        }
    }
}

fn quote(output: &[u8]) -> String {
    let start = &output[..output.len().min(QUOTE)];
    String::from_utf8_lossy(start).trim().to_owned()
}
