//! Entry points for fuzzing: each takes any bytes, must not panic, and may only use memory in proportion to them.
//!
//! They reach the parsers of what operators and other plugins write: configurations, results and errors.

use crate::types::{
    CniError, CniResult, Command, Invocation, NetworkConfigList, PluginConfig, Version, valid_name,
};
use crate::{understands, validate};

/// A network configuration, with what the built-in plugins think of each plugin's; one that is taken can be kept in a
/// record and read again.
///
/// # Panics
/// When it cannot: that is the finding.
pub fn configuration(bytes: &[u8]) {
    let Ok(list) = NetworkConfigList::parse(bytes) else { return };
    assert!(valid_name(&list.name), "{:?}", list.name);
    let record = serde_json::to_vec(&list).unwrap_or_default();
    let read: Option<NetworkConfigList> = serde_json::from_slice(&record).ok();
    let kept = |list: &NetworkConfigList| (list.name.clone(), list.cni_version, list.plugins.len());
    assert_eq!(read.as_ref().map(kept), Some(kept(&list)), "{list:?}");
    for plugin in list.plugins {
        let _ = understands(&plugin);
        let _ = plugin.prev_result();
        let _ = validate(&call(plugin));
    }
}

/// A result of each version that there is, or an error, as plugins print them; one that is taken reads back as it was
/// when it is printed in the newest version.
///
/// # Panics
/// When it does not: that is the finding.
pub fn result(bytes: &[u8]) {
    let _ = serde_json::from_slice::<CniError>(bytes).map(|error| (error.kind(), error.to_string()));
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    for version in Version::ALL {
        let Ok(result) = CniResult::from_value(value.clone(), version) else { continue };
        let _ = result.addresses_on("eth0");
        for other in Version::ALL {
            let _ = result.to_value(other);
        }
        let printed = result.to_value(Version::LATEST).ok();
        let read = printed.and_then(|printed| CniResult::from_value(printed, Version::LATEST).ok());
        assert_eq!(read.as_ref(), Some(&result));
    }
}

fn call(conf: PluginConfig) -> Invocation {
    Invocation {
        command: Command::Status,
        container_id: String::new(),
        ifname: String::new(),
        netns: None,
        args: Vec::new(),
        path: Vec::new(),
        conf,
        skip_link_delete: false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_entry_points_take_anything() {
        for bytes in [&b""[..], b"{}", b"[]", b"null", br#"{"name": "n", "type": "bridge"}"#, &[0xff; 600]] {
            configuration(bytes);
            result(bytes);
        }
    }

    #[test]
    fn the_seeds_are_what_they_are_to_be() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/fuzz/seeds");
        let read = |target: &str| -> Vec<_> {
            let files = std::fs::read_dir(seeds.join(target)).unwrap().map(|file| file.unwrap().path());
            files.map(|file| (std::fs::read(&file).unwrap(), file)).collect()
        };
        let configurations = read("cni_configuration");
        assert!(configurations.len() > 3);
        for (bytes, file) in configurations {
            NetworkConfigList::parse(&bytes).unwrap_or_else(|error| panic!("{file:?}: {error}"));
            configuration(&bytes);
        }
        let results = read("cni_result");
        assert!(results.len() > 3);
        for (bytes, file) in results {
            let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            let is_error = value.get("code").is_some();
            assert!(is_error || CniResult::from_value(value, Version::LATEST).is_ok(), "{file:?}");
            result(&bytes);
        }
    }
}
