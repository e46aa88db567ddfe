//! Network configurations: `.conflist` files, and the older `.conf` and `.json` of a single plugin.

use crate::types::{CniResult, TypesError, Version};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A network: plugins that run one after the other, each on the result of the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkConfigList {
    /// The network's name; unique on the node.
    pub name: String,
    /// The version in which the plugins are spoken to: the newest known of `cniVersion` and `cniVersions`.
    pub cni_version: Version,
    /// The `cniVersions` that the file lists, as far as they are known.
    #[serde(default)]
    pub cni_versions: Vec<Version>,
    /// CHECK is not to be called.
    #[serde(default)]
    pub disable_check: bool,
    /// GC is not to be called.
    #[serde(default, rename = "disableGC")]
    pub disable_gc: bool,
    /// Plugins in the directory `<network name>/` beside the file are not to be added.
    #[serde(default)]
    pub load_only_inlined_plugins: bool,
    /// The plugins in the order of ADD.
    pub plugins: Vec<PluginConfig>,
}

impl NetworkConfigList {
    /// Reads a list, or a single plugin's configuration, which becomes a list of one.
    ///
    /// A list without plugins is returned as such when it may load them from its directory;
    /// [`Self::validate`] refuses one that has none in the end.
    ///
    /// # Errors
    /// When the text is not JSON, a field has the wrong type, the name or a plugin's type is malformed, or
    /// the version is not supported.
    pub fn parse(text: &[u8]) -> Result<Self, TypesError> {
        let raw: Map<String, Value> = serde_json::from_slice(text)
            .map_err(|source| TypesError::Json { what: "network configuration", source })?;
        let name = required_str(&raw, "name")?.to_owned();
        let (cni_version, cni_versions) = versions(&raw)?;
        let load_only_inlined_plugins = flag(&raw, "loadOnlyInlinedPlugins")?;
        let is_list = raw.contains_key("plugins") || !raw.contains_key("type");
        let list = Self {
            name,
            cni_version,
            cni_versions,
            disable_check: flag(&raw, "disableCheck")?,
            disable_gc: flag(&raw, "disableGC")?,
            load_only_inlined_plugins: load_only_inlined_plugins || !is_list,
            plugins: if is_list { plugins(&raw)? } else { vec![PluginConfig::from_map(raw)?] },
        };
        if !valid_name(&list.name) {
            return Err(TypesError::Name { name: list.name });
        }
        if list.plugins.is_empty() && list.load_only_inlined_plugins {
            return Err(TypesError::NoPlugins);
        }
        Ok(list)
    }

    /// Whether the list can be used: a valid name and at least one plugin.
    ///
    /// # Errors
    /// When it cannot.
    pub fn validate(&self) -> Result<(), TypesError> {
        if !valid_name(&self.name) {
            return Err(TypesError::Name { name: self.name.clone() });
        }
        if self.plugins.is_empty() {
            return Err(TypesError::NoPlugins);
        }
        Ok(())
    }
}

/// The configuration of one plugin: a JSON object with a valid `type`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct PluginConfig(Map<String, Value>);

impl PluginConfig {
    /// Reads one plugin's configuration, such as a plugin's standard input.
    ///
    /// # Errors
    /// When the text is not a JSON object, or `type` or `ipam.type` is missing or malformed.
    pub fn parse(text: &[u8]) -> Result<Self, TypesError> {
        let raw = serde_json::from_slice(text)
            .map_err(|source| TypesError::Json { what: "plugin configuration", source })?;
        Self::from_map(raw)
    }

    /// Takes a JSON object.
    ///
    /// # Errors
    /// When `type` is missing, or it or `ipam.type` is not a plain file name.
    pub fn from_map(raw: Map<String, Value>) -> Result<Self, TypesError> {
        let plugin = required_str(&raw, "type")?;
        if !is_file_name(plugin) {
            return Err(TypesError::PluginType { field: "type", plugin: plugin.to_owned() });
        }
        match raw.get("ipam").and_then(|ipam| ipam.get("type")) {
            None => {}
            Some(Value::String(ipam)) if ipam.is_empty() || is_file_name(ipam) => {}
            Some(other) => {
                let plugin = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
                return Err(TypesError::PluginType { field: "ipam.type", plugin });
            }
        }
        Ok(Self(raw))
    }

    /// `type`: the file name of the plugin.
    pub fn plugin_type(&self) -> &str {
        self.0.get("type").and_then(Value::as_str).unwrap_or_default()
    }

    /// A field.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Sets a field.
    pub fn set(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }

    /// Takes a field away.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key)
    }

    /// The whole object.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// `cniVersion`, once the caller has put it in.
    ///
    /// # Errors
    /// When it is not a version that this crate speaks.
    pub fn version(&self) -> Result<Version, TypesError> {
        match self.0.get("cniVersion") {
            None => Ok(Version::V0_1_0),
            Some(Value::String(text)) => Version::parse(text),
            Some(_) => Err(TypesError::Field { field: "cniVersion", problem: "not a string" }),
        }
    }

    /// `name`: the network, once the caller has put it in.
    pub fn network(&self) -> &str {
        self.0.get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether the plugin declares a capability (`capabilities.<name>: true`).
    pub fn has_capability(&self, name: &str) -> bool {
        self.0.get("capabilities").and_then(|all| all.get(name)).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A value of `runtimeConfig`.
    pub fn runtime(&self, name: &str) -> Option<&Value> {
        self.0.get("runtimeConfig").and_then(|all| all.get(name))
    }

    /// `prevResult`, of whatever version it says it is, else the configuration's.
    ///
    /// # Errors
    /// When it is not a result.
    pub fn prev_result(&self) -> Result<Option<CniResult>, TypesError> {
        match self.0.get("prevResult") {
            None | Some(Value::Null) => Ok(None),
            Some(value) => CniResult::from_value(value.clone(), self.version()?).map(Some),
        }
    }
}

impl TryFrom<Value> for PluginConfig {
    type Error = TypesError;

    fn try_from(value: Value) -> Result<Self, TypesError> {
        match value {
            Value::Object(map) => Self::from_map(map),
            _ => Err(TypesError::Field { field: "plugins", problem: "an entry is not an object" }),
        }
    }
}

impl From<PluginConfig> for Value {
    fn from(conf: PluginConfig) -> Self {
        Self::Object(conf.0)
    }
}

/// Whether a text can name a network or a container: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`.
pub fn valid_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// Whether a text can name an interface: 1 to 15 bytes, not `.` or `..`, without `/`, `:` and white space.
pub fn valid_interface_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.chars().any(|c| matches!(c, '/' | ':' | '\0') || c.is_whitespace())
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

fn required_str<'a>(raw: &'a Map<String, Value>, field: &'static str) -> Result<&'a str, TypesError> {
    match raw.get(field) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        None | Some(Value::String(_)) => Err(TypesError::Field { field, problem: "missing" }),
        Some(_) => Err(TypesError::Field { field, problem: "not a string" }),
    }
}

/// A boolean; libcni also takes the words as text.
fn flag(raw: &Map<String, Value>, field: &'static str) -> Result<bool, TypesError> {
    match raw.get(field) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(TypesError::Field { field, problem: "not a boolean" }),
    }
}

fn plugins(raw: &Map<String, Value>) -> Result<Vec<PluginConfig>, TypesError> {
    match raw.get("plugins") {
        None => Ok(Vec::new()),
        Some(Value::Array(entries)) if entries.is_empty() => Err(TypesError::NoPlugins),
        Some(Value::Array(entries)) => entries.iter().cloned().map(PluginConfig::try_from).collect(),
        Some(_) => Err(TypesError::Field { field: "plugins", problem: "not an array" }),
    }
}

/// The version to speak and the known ones of `cniVersions`. A `cniVersion` newer than this crate is an error
/// only when `cniVersions` offers no known one, as the specification wants.
fn versions(raw: &Map<String, Value>) -> Result<(Version, Vec<Version>), TypesError> {
    let single = match raw.get("cniVersion") {
        None => None,
        Some(Value::String(text)) => Some(text.as_str()),
        Some(_) => return Err(TypesError::Field { field: "cniVersion", problem: "not a string" }),
    };
    let mut known = Vec::new();
    match raw.get("cniVersions") {
        None => {}
        Some(Value::Array(entries)) => {
            for entry in entries {
                let Value::String(text) = entry else {
                    return Err(TypesError::Field {
                        field: "cniVersions",
                        problem: "an entry is not a string",
                    });
                };
                known.extend(Version::parse(text).ok());
            }
        }
        Some(_) => return Err(TypesError::Field { field: "cniVersions", problem: "not an array" }),
    }
    let offered = known.iter().copied().max();
    let version = match (single.map(Version::parse), offered) {
        (None, None) => Version::V0_1_0,
        (None | Some(Err(_)), Some(offered)) => offered,
        (Some(Ok(single)), Some(offered)) => single.max(offered),
        (Some(single), None) => single?,
    };
    Ok((version, known))
}
