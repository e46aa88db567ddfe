//! Plugins that the `cni` crate implements, called without a process.

use crate::host::Host;
use crate::{NetError, Result};
use cni::UnknownField;
use cni::types::{CniError, CniResult, Invocation, PluginConfig};
use std::sync::Arc;
use tokio::task::JoinError;

/// Why the library cannot stand in for a plugin's binary.
pub(crate) enum Beyond {
    /// It has no plugin of that type.
    OtherPlugin,
    /// A delegated IPAM plugin of another kind would run outside of our deadlines.
    Ipam(String),
    /// It does not do all that the configuration asks.
    Field(UnknownField),
}

/// Whether the library can stand in for the plugin's binary: it knows the type and does all that the configuration asks.
pub(crate) fn supports(conf: &PluginConfig) -> bool {
    beyond(conf).is_none()
}

/// What it cannot stand in for.
pub(crate) fn beyond(conf: &PluginConfig) -> Option<Beyond> {
    match cni::understands(conf) {
        Err(unknown) if unknown.field == "type" => return Some(Beyond::OtherPlugin),
        Err(unknown) => return Some(Beyond::Field(unknown)),
        Ok(()) => {}
    }
    let ipam = conf.get("ipam").and_then(|ipam| ipam.get("type")).and_then(serde_json::Value::as_str);
    ipam.filter(|ipam| !matches!(*ipam, "" | "host-local")).map(|ipam| Beyond::Ipam(ipam.to_owned()))
}

/// Calls a plugin, on a blocking thread where there is something to do. Only ADD has a result.
///
/// # Errors
/// When the plugin fails or panics.
pub(crate) async fn call(host: Arc<dyn Host>, invocation: Invocation) -> Result<Option<CniResult>> {
    if cni::passes_on(&invocation) {
        let failed = |source| NetError::Plugin {
            plugin: invocation.conf.plugin_type().to_owned(),
            command: invocation.command,
            source,
        };
        return host.run(&invocation).map_err(failed);
    }
    run(invocation, move |call| host.run(call)).await
}

async fn run(
    invocation: Invocation,
    work: impl FnOnce(&Invocation) -> std::result::Result<Option<CniResult>, CniError> + Send + 'static,
) -> Result<Option<CniResult>> {
    let (plugin, command) = (invocation.conf.plugin_type().to_owned(), invocation.command);
    match tokio::task::spawn_blocking(move || work(&invocation)).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(source)) => Err(NetError::Plugin { plugin, command, source }),
        Err(error) => Err(NetError::Panicked { plugin, command, message: panic_text(error) }),
    }
}

fn panic_text(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => panic.downcast_ref::<&str>().map_or("unknown", |text| text).to_owned(),
        },
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use cni::types::Command;

    fn invocation() -> Invocation {
        Invocation {
            command: Command::Add,
            container_id: "c1".to_owned(),
            ifname: "eth0".to_owned(),
            netns: None,
            args: Vec::new(),
            path: Vec::new(),
            conf: PluginConfig::parse(br#"{"type": "bridge"}"#).unwrap(),
            skip_link_delete: false,
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let error = run(invocation(), |_| panic!("index {} is out", 7)).await.unwrap_err();
        assert_eq!(error.to_string(), "cni ADD bridge: panicked: index 7 is out");
        let error = run(invocation(), |_| panic!("plain")).await.unwrap_err();
        assert_eq!(error.to_string(), "cni ADD bridge: panicked: plain");
    }

    #[test]
    fn only_an_add_without_ports_passes_on() {
        let table = [
            (Command::Add, r#"{"type": "portmap"}"#, true),
            (Command::Add, r#"{"type": "portmap", "runtimeConfig": {"portMappings": []}}"#, true),
            (
                Command::Add,
                r#"{"type": "portmap", "runtimeConfig": {"portMappings": [{"hostPort": 1}]}}"#,
                false,
            ),
            (Command::Add, r#"{"type": "portmap", "runtimeConfig": {"portMappings": "odd"}}"#, false),
            (Command::Del, r#"{"type": "portmap"}"#, false),
            (Command::Add, r#"{"type": "bridge"}"#, false),
        ];
        for (command, text, expected) in table {
            let conf = PluginConfig::parse(text.as_bytes()).unwrap();
            let call = Invocation { command, conf, ..invocation() };
            assert_eq!(cni::passes_on(&call), expected, "{text}");
        }
    }

    #[test]
    fn what_the_library_stands_in_for() {
        let table = [
            (r#"{"type": "bridge", "bridge": "b0", "ipam": {"type": "host-local"}}"#, true),
            (r#"{"type": "bridge", "bridge": "b0", "ipam": {"type": "dhcp"}}"#, false),
            (r#"{"type": "bridge", "unheard-of": true}"#, false),
            (r#"{"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}"#, true),
            (r#"{"type": "ptp"}"#, false),
        ];
        for (text, expected) in table {
            assert_eq!(supports(&PluginConfig::parse(text.as_bytes()).unwrap()), expected, "{text}");
        }
    }
}
