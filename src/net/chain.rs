//! The plugins of a network one after the other: ADD and CHECK in the list's order, DEL in reverse.

use crate::attachment::{Verbatim, merge_dns};
use crate::call::Caller;
use crate::conf::Loaded;
use crate::metrics::Mode;
use crate::{Attachment, NetError, Result, stand_in};
use cni::types::{
    CniError, CniResult, Command, Dns, Invocation, NetnsRef, NetworkConfigList, PluginConfig,
    ValidAttachment, Version,
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// How an attachment is to be deleted.
pub(crate) struct Removal<'a> {
    pub(crate) attachment: &'a Attachment,
    /// The namespace, while it is there.
    pub(crate) netns: Option<NetnsRef>,
    /// The configuration in force, by which a plugin that fails is asked again.
    pub(crate) in_force: Option<&'a Loaded>,
    pub(crate) reached: Reached,
    /// It has been tried before: failures are told by whoever tries.
    pub(crate) again: bool,
}

impl<'a> Removal<'a> {
    /// Of a whole attachment whose namespace is gone.
    pub(crate) fn of(attachment: &'a Attachment) -> Self {
        let reached = Reached { ran: attachment.config.plugins.len(), refused: None };
        Self { attachment, netns: None, in_force: None, reached, again: false }
    }
}

/// How far the ADD of an attachment came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached {
    /// So many plugins ran; the others have left nothing, whatever they say.
    ran: usize,
    /// The plugin that refused ADD for what it is, before anything was done: nothing is lost where it refuses DEL, too.
    refused: Option<usize>,
}

impl Reached {
    /// A plugin's ADD is over.
    fn note(&mut self, index: usize, failure: Option<&NetError>) {
        if !matches!(failure, Some(NetError::PluginNotFound { .. })) {
            self.ran = index + 1;
        }
        self.refused = failure.is_some_and(NetError::is_final).then_some(index);
    }

    /// So many plugins may have left something.
    fn count(&self) -> usize {
        self.refused.map_or(self.ran, |refused| self.ran.min(refused))
    }
}

/// The key under which GC is told what to keep.
const VALID_ATTACHMENTS: &str = "cni.dev/valid-attachments";

impl Caller {
    /// Attaches: each plugin gets the result of the one before. When one fails, every plugin is asked to
    /// delete, best effort.
    ///
    /// # Errors
    /// What the failing plugin said; [`NetError::Residue`] when deleting failed too: the attachment is then that of the
    /// plugins which may have left something.
    pub(crate) async fn add(&self, attachment: &mut Attachment, netns: NetnsRef) -> Result<()> {
        let mut reached = Reached { ran: 0, refused: None };
        let Err(error) = self.add_all(attachment, &netns, &mut reached).await else { return Ok(()) };
        let removal = Removal { netns: Some(netns), reached, ..Removal::of(attachment) };
        let undone = self.del(&removal).await;
        failpoint::pass!("net.add.undone");
        let Err(cleanup) = undone else { return Err(error) };
        attachment.keep_first(reached.count());
        Err(NetError::Residue { attach: Box::new(error), cleanup: Box::new(cleanup) })
    }

    async fn add_all(
        &self,
        attachment: &mut Attachment,
        netns: &NetnsRef,
        reached: &mut Reached,
    ) -> Result<()> {
        let (mut dns, mut last) = (Dns::default(), None);
        for (index, plugin) in attachment.config.plugins.iter().enumerate() {
            let conf = inject(attachment, plugin, last.as_ref());
            let invocation = invocation(attachment, Command::Add, conf, Some(netns.clone()));
            let outcome = self.call(invocation, mode(attachment, index)).await;
            reached.note(index, outcome.as_ref().err());
            let outcome = outcome?;
            failpoint::reach!("net.add.called")?;
            if let Some(value) = outcome {
                let result = CniResult::from_value(value.clone(), attachment.config.cni_version)?;
                merge_dns(&mut dns, result.dns);
                // For the DEL of a list that fails further on.
                attachment.result = Some(Verbatim::from(&value));
                last = Some(value);
            }
        }
        attachment.finish(last.unwrap_or_else(|| json!({})), dns)
    }

    /// Detaches. A plugin that fails is asked again by its configuration in force, and does not keep the others from
    /// deleting.
    ///
    /// # Errors
    /// The first failure of a plugin that ran; deleting can be tried again.
    pub(crate) async fn del(&self, removal: &Removal<'_>) -> Result<()> {
        let attachment = removal.attachment;
        let prev = attachment.result.as_ref().filter(|_| attachment.config.cni_version >= Version::V0_4_0);
        let prev = prev.map(Verbatim::value);
        let stand_in = self.stand_in(removal).await;
        let mut first = Ok(());
        for (index, plugin) in attachment.config.plugins.iter().enumerate().rev() {
            let conf = inject(attachment, plugin, prev.as_ref());
            let stand_in = stand_in.as_ref().filter(|_| stand_in::is_wanted_by(plugin));
            let called = self.del_by(removal, index, conf, stand_in).await;
            match called.and_then(|_| Ok(failpoint::reach!("net.del.called")?)) {
                Ok(()) => {}
                // By the specification: there is nothing to clean up.
                Err(NetError::Plugin { source, .. }) if source.code == CniError::UNKNOWN_CONTAINER => {}
                Err(_) if self.del_in_force(removal, plugin).await => {}
                Err(error) if removal.reached.refused == Some(index) && error.is_final() => {
                    tracing::debug!(%error, pod = attachment.pod(), "cni DEL refuses what ADD has refused");
                }
                Err(error) if first.is_ok() && index < removal.reached.ran => first = Err(error),
                Err(error) if removal.again => {
                    tracing::debug!(%error, pod = attachment.pod(), "cni DEL fails");
                }
                Err(error) => {
                    let (id, network) = (&attachment.container_id, &attachment.config.name);
                    tracing::warn!(%error, pod = attachment.pod(), id, network, "cni DEL fails");
                }
            }
        }
        first
    }

    /// Has a plugin delete. In what stands in for the pod's namespace it does more, and fails where that is done already.
    async fn del_by(
        &self,
        removal: &Removal<'_>,
        index: usize,
        conf: PluginConfig,
        stand_in: Option<&NetnsRef>,
    ) -> Result<Option<Value>> {
        let mode = mode(removal.attachment, index);
        let call = |netns: Option<&NetnsRef>| {
            let netns = netns.cloned();
            invocation(removal.attachment, Command::Del, conf.clone(), netns)
        };
        if let Some(netns) = stand_in {
            match self.call_once_more(call(Some(netns)), mode, true).await {
                Err(error) => {
                    tracing::debug!(%error, pod = removal.attachment.pod(), "cni DEL fails in what stands in for the pod's namespace");
                }
                done => return done,
            }
        }
        self.call_once_more(call(removal.netns.as_ref()), mode, removal.again).await
    }

    /// Has a plugin delete by its configuration in force, where that is another one than the attachment's. Whether it
    /// did.
    async fn del_in_force(&self, removal: &Removal<'_>, plugin: &PluginConfig) -> bool {
        let attachment = removal.attachment;
        let Some(loaded) = removal.in_force else { return false };
        let (then, now) = (&attachment.config, &loaded.list);
        let named = |other: &&PluginConfig| other.plugin_type() == plugin.plugin_type();
        let Some(successor) = now.plugins.iter().find(named) else { return false };
        if successor == plugin && now.cni_version == then.cni_version {
            return false;
        }
        // What the plugin keeps, it keeps by the network's name.
        let mut config = NetworkConfigList { plugins: Vec::new(), ..(**now).clone() };
        config.name.clone_from(&then.name);
        let result = attachment.cni_result().ok().flatten();
        let prev = result.filter(|_| now.cni_version >= Version::V0_4_0);
        let prev = prev.and_then(|result| result.to_value(now.cni_version).ok());
        let successor_of = Attachment { config: Arc::new(config), ..attachment.clone() };
        let conf = inject(&successor_of, successor, prev.as_ref());
        let call = invocation(attachment, Command::Del, conf, removal.netns.clone());
        self.call_once_more(call, self.mode(successor, loaded.builtin), removal.again).await.is_ok()
    }

    /// The calls of plugins in process that say what an attachment's packet rules are.
    pub(crate) fn rules_of(attachment: &Attachment) -> impl Iterator<Item = Invocation> {
        let result = attachment.result.as_ref().map(Verbatim::value);
        let plugins = attachment.config.plugins.iter().enumerate();
        let own = plugins.filter(|(index, _)| mode(attachment, *index) == Mode::InProcess);
        own.map(move |(_, plugin)| {
            let conf = inject(attachment, plugin, result.as_ref());
            invocation(attachment, Command::Check, conf, None)
        })
    }

    /// Checks an attachment, where its configuration's version has CHECK and does not disable it.
    ///
    /// # Errors
    /// When a plugin finds the attachment broken.
    pub(crate) async fn check(&self, attachment: &Attachment, netns: NetnsRef) -> Result<()> {
        let config = &attachment.config;
        if config.disable_check || config.cni_version < Version::V0_4_0 {
            return Ok(());
        }
        let result = attachment.result.as_ref().map(Verbatim::value);
        for (index, plugin) in config.plugins.iter().enumerate() {
            let conf = inject(attachment, plugin, result.as_ref());
            let invocation = invocation(attachment, Command::Check, conf, Some(netns.clone()));
            self.call(invocation, mode(attachment, index)).await?;
        }
        Ok(())
    }

    /// Asks each plugin whether it could serve an ADD: those in process always, others where the version has STATUS.
    ///
    /// # Errors
    /// The first plugin's that could not.
    pub(crate) async fn status(&self, loaded: &Loaded) -> Result<()> {
        self.ask_status(loaded, loaded.list.cni_version >= Version::V1_1_0).await
    }

    /// As [`Self::status`], of the plugins in process alone.
    ///
    /// # Errors
    /// The first plugin's that could not.
    pub(crate) async fn own_status(&self, loaded: &Loaded) -> Result<()> {
        self.ask_status(loaded, false).await
    }

    async fn ask_status(&self, loaded: &Loaded, executed: bool) -> Result<()> {
        for plugin in &loaded.list.plugins {
            let mode = self.mode(plugin, loaded.builtin);
            if mode == Mode::InProcess || executed {
                let conf = with_network(&loaded.list, plugin);
                self.call(network_invocation(Command::Status, conf), mode).await?;
            }
        }
        Ok(())
    }

    /// Tells each plugin which attachments are valid, where the version has GC and does not disable it.
    ///
    /// # Errors
    /// The first failure; the other plugins have been told nevertheless.
    pub(crate) async fn gc(&self, loaded: &Loaded, valid: &[ValidAttachment]) -> Result<()> {
        if loaded.list.disable_gc || loaded.list.cni_version < Version::V1_1_0 {
            return Ok(());
        }
        let mut first = Ok(());
        for plugin in &loaded.list.plugins {
            let mut conf = with_network(&loaded.list, plugin);
            conf.set(VALID_ATTACHMENTS, json!(valid));
            let mode = self.mode(plugin, loaded.builtin);
            if let Err(error) = self.call(network_invocation(Command::Gc, conf), mode).await
                && first.is_ok()
            {
                first = Err(error);
            }
        }
        first
    }
}

fn mode(attachment: &Attachment, index: usize) -> Mode {
    match attachment.in_process.get(index) {
        Some(true) => Mode::InProcess,
        _ => Mode::Executed,
    }
}

/// A plugin's configuration with what the caller adds for every command.
pub(crate) fn with_network(list: &NetworkConfigList, plugin: &PluginConfig) -> PluginConfig {
    let mut conf = plugin.clone();
    conf.set("name", json!(list.name));
    conf.set("cniVersion", json!(list.cni_version.as_str()));
    conf
}

/// A plugin's configuration with what the caller adds for a container's commands.
fn inject(attachment: &Attachment, plugin: &PluginConfig, prev: Option<&Value>) -> PluginConfig {
    let mut conf = with_network(&attachment.config, plugin);
    let declared = attachment.capability_args.iter().filter(|(name, _)| plugin.has_capability(name));
    let runtime: Map<String, Value> = declared.map(|(name, value)| (name.clone(), value.clone())).collect();
    if !runtime.is_empty() {
        conf.set("runtimeConfig", Value::Object(runtime));
    }
    if let Some(prev) = prev {
        conf.set("prevResult", prev.clone());
    }
    conf
}

fn invocation(
    attachment: &Attachment,
    command: Command,
    conf: PluginConfig,
    netns: Option<NetnsRef>,
) -> Invocation {
    Invocation {
        command,
        container_id: attachment.container_id.clone(),
        ifname: attachment.ifname.clone(),
        netns,
        args: attachment.args.clone(),
        path: Vec::new(),
        conf,
        skip_link_delete: command == Command::Del,
    }
}

pub(crate) fn network_invocation(command: Command, conf: PluginConfig) -> Invocation {
    Invocation {
        command,
        container_id: String::new(),
        ifname: String::new(),
        netns: None,
        args: Vec::new(),
        path: Vec::new(),
        conf,
        skip_link_delete: false,
    }
}
