//! The plugins of a network one after the other: ADD and CHECK in the list's order, DEL in reverse.

use crate::attachment::merge_dns;
use crate::call::Caller;
use crate::conf::Loaded;
use crate::metrics::Mode;
use crate::{Attachment, NetError, Result};
use cni::types::{
    CniError, CniResult, Command, Dns, Invocation, NetnsRef, NetworkConfigList, PluginConfig,
    ValidAttachment, Version,
};
use serde_json::{Map, Value, json};

/// The key under which GC is told what to keep.
const VALID_ATTACHMENTS: &str = "cni.dev/valid-attachments";

impl Caller {
    /// Attaches: each plugin gets the result of the one before. When one fails, every plugin is asked to
    /// delete, best effort.
    ///
    /// # Errors
    /// What the failing plugin said; [`NetError::Residue`] when deleting failed too.
    pub(crate) async fn add(&self, attachment: &mut Attachment, netns: NetnsRef) -> Result<()> {
        let mut ran = 0;
        let Err(error) = self.add_all(attachment, &netns, &mut ran).await else { return Ok(()) };
        match self.del_after(attachment, Some(netns), ran).await {
            Ok(()) => Err(error),
            Err(cleanup) => Err(NetError::Residue { attach: Box::new(error), cleanup: Box::new(cleanup) }),
        }
    }

    async fn add_all(&self, attachment: &mut Attachment, netns: &NetnsRef, ran: &mut usize) -> Result<()> {
        let mut dns = Dns::default();
        for (index, plugin) in attachment.config.plugins.iter().enumerate() {
            let conf = inject(attachment, plugin, attachment.result.as_ref());
            let invocation = invocation(attachment, Command::Add, conf, Some(netns.clone()));
            let outcome = self.call(invocation, mode(attachment, index)).await;
            if !matches!(outcome, Err(NetError::PluginNotFound { .. })) {
                *ran = index + 1;
            }
            if let Some(value) = outcome? {
                let result = CniResult::from_value(value.clone(), attachment.config.cni_version)?;
                merge_dns(&mut dns, result.dns);
                attachment.result = Some(value);
            }
        }
        let result = attachment.result.clone().unwrap_or_else(|| json!({}));
        attachment.finish(result, dns)
    }

    /// Detaches. A plugin that fails does not keep the others from deleting.
    ///
    /// # Errors
    /// The first failure; deleting can be tried again.
    pub(crate) async fn del(&self, attachment: &Attachment, netns: Option<NetnsRef>) -> Result<()> {
        self.del_after(attachment, netns, attachment.config.plugins.len()).await
    }

    /// Detaches after an ADD of which only so many plugins ran. All are asked to delete, but those that did
    /// not run have left nothing, whatever they say.
    async fn del_after(&self, attachment: &Attachment, netns: Option<NetnsRef>, ran: usize) -> Result<()> {
        let prev = attachment.result.as_ref().filter(|_| attachment.config.cni_version >= Version::V0_4_0);
        let mut first = Ok(());
        for (index, plugin) in attachment.config.plugins.iter().enumerate().rev() {
            let conf = inject(attachment, plugin, prev);
            let invocation = invocation(attachment, Command::Del, conf, netns.clone());
            match self.call(invocation, mode(attachment, index)).await {
                Ok(_) => {}
                // By the specification: there is nothing to clean up.
                Err(NetError::Plugin { source, .. }) if source.code == CniError::UNKNOWN_CONTAINER => {}
                Err(error) if first.is_ok() && index < ran => first = Err(error),
                Err(error) => tracing::warn!(%error, id = attachment.container_id, "cni DEL fails"),
            }
        }
        first
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
        for (index, plugin) in config.plugins.iter().enumerate() {
            let conf = inject(attachment, plugin, attachment.result.as_ref());
            let invocation = invocation(attachment, Command::Check, conf, Some(netns.clone()));
            self.call(invocation, mode(attachment, index)).await?;
        }
        Ok(())
    }

    /// Asks each plugin whether it could serve an ADD, where the version has STATUS.
    ///
    /// # Errors
    /// The first plugin's that could not.
    pub(crate) async fn status(&self, loaded: &Loaded) -> Result<()> {
        if loaded.list.cni_version < Version::V1_1_0 {
            return Ok(());
        }
        for plugin in &loaded.list.plugins {
            let conf = with_network(&loaded.list, plugin);
            self.call(network_invocation(Command::Status, conf), self.mode(plugin, loaded.builtin)).await?;
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
fn with_network(list: &NetworkConfigList, plugin: &PluginConfig) -> PluginConfig {
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

fn network_invocation(command: Command, conf: PluginConfig) -> Invocation {
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
