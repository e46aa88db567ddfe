//! CNI configurations that scenarios use, and writing them.

use crate::error::{Context, Error};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// Where a runtime gets its pod network from.
#[derive(Debug, Clone)]
pub enum Network {
    /// What the runtime does without any configuration (Corten only).
    BuiltIn,
    /// A configuration list; types that the runtime has built in may run in process.
    List(Value),
    /// A configuration list whose plugins are executed from a directory.
    Executed {
        /// The list.
        list: Value,
        /// Where the plugins are.
        plugins: PathBuf,
    },
    /// A configuration directory with nothing in it, and nothing built in.
    None,
}

impl Network {
    /// The directory that the runtime is told to read, with the configuration written into it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), Error> {
        fs::create_dir_all(directory).at("create", directory)?;
        if let Self::List(list) | Self::Executed { list, .. } = self {
            let path = directory.join("10-test.conflist");
            fs::write(&path, format!("{list:#}")).at("write", &path)?;
        }
        Ok(())
    }
}

/// A bridge of a name with host-local addresses and host ports, in the version that a test needs; IPAM files go below
/// `data`.
pub fn bridge(version: &str, name: &str, subnet: &str, data: &Path) -> Value {
    json!({
        "cniVersion": version, "name": "test",
        "plugins": [
            {
                "type": "bridge", "bridge": name, "isGateway": true, "ipMasq": true, "hairpinMode": true,
                "ipam": {
                    "type": "host-local", "dataDir": data.join("networks"),
                    "ranges": [[{"subnet": subnet}]], "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}
