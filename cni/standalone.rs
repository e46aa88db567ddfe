//! Plugins as binaries: the environment and the standard input make the call, the standard output takes the
//! result or the error, as the CNI specification says.

use crate::Plugins;
use crate::types::{
    CniError, Command, Invocation, NetnsRef, PluginConfig, TypesError, Version, valid_interface_name,
    valid_name,
};
use serde_json::{Map, Value, json};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::ExitCode;

/// Runs the plugin of this name as a process. A call without `CNI_COMMAND` prints what it is.
pub fn main(plugin: &str) -> ExitCode {
    if std::env::var_os("CNI_COMMAND").is_none() {
        eprintln!("CNI plugin {plugin} of Corten {}; CNI 0.1.0 to 1.1.0", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let mut conf = Vec::new();
    let read = std::io::stdin().read_to_end(&mut conf).map_err(|error| {
        CniError::new(CniError::IO_FAILURE, format!("read configuration from standard input: {error}"))
    });
    let environment = |name: &str| std::env::var_os(name);
    let answer = read.and_then(|_| answer(plugin, &environment, &conf));
    let (text, code) = match &answer {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(value)) => (value.to_string(), ExitCode::SUCCESS),
        Err(error) => {
            let version = peek_version(&conf);
            let error = error.clone().with_version(version);
            (serde_json::to_string(&error).unwrap_or_default(), ExitCode::FAILURE)
        }
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What the plugin prints on success.
fn answer(plugin: &str, environment: Environment<'_>, conf: &[u8]) -> Result<Option<Value>, CniError> {
    let command = variable(environment, "CNI_COMMAND")?;
    let command =
        Command::parse(&command).ok_or_else(|| invalid(format!("unknown CNI_COMMAND {command:?}")))?;
    if command == Command::Version {
        return Ok(Some(json!({
            "cniVersion": peek_version(conf),
            "supportedVersions": Version::ALL.map(Version::as_str),
        })));
    }
    let call = call(plugin, command, environment, conf)?;
    let version = call.version().map_err(version_error)?;
    let since = match command {
        Command::Check => Version::V0_4_0,
        Command::Status | Command::Gc => Version::V1_1_0,
        Command::Add | Command::Del | Command::Version => Version::V0_1_0,
    };
    if version < since {
        let message = format!("{command} needs cniVersion {since}, the configuration has {version}");
        return Err(CniError::new(CniError::INCOMPATIBLE_VERSION, message));
    }
    match Plugins::default().run(&call)? {
        None => Ok(None),
        Some(result) => result.to_value(version).map(Some).map_err(crate::failure::decoding),
    }
}

fn call(
    plugin: &str,
    command: Command,
    environment: Environment<'_>,
    conf: &[u8],
) -> Result<Invocation, CniError> {
    let mut map: Map<String, Value> = serde_json::from_slice(conf)
        .map_err(|error| CniError::new(CniError::DECODING_FAILURE, format!("configuration: {error}")))?;
    // An IPAM plugin is handed the configuration of the plugin that called it.
    map.insert("type".to_owned(), json!(plugin));
    let conf = PluginConfig::from_map(map)
        .map_err(|error| CniError::new(CniError::INVALID_CONFIG, error.to_string()))?;
    let attachment = matches!(command, Command::Add | Command::Del | Command::Check);
    let container_id = if attachment { variable(environment, "CNI_CONTAINERID")? } else { String::new() };
    let ifname = if attachment { variable(environment, "CNI_IFNAME")? } else { String::new() };
    if attachment && !valid_name(&container_id) {
        return Err(invalid(format!("invalid CNI_CONTAINERID {container_id:?}")));
    }
    if attachment && !valid_interface_name(&ifname) {
        return Err(invalid(format!("invalid CNI_IFNAME {ifname:?}")));
    }
    if !conf.network().is_empty() && !valid_name(conf.network()) {
        let message = format!("invalid network name {:?}", conf.network());
        return Err(CniError::new(CniError::INVALID_CONFIG, message));
    }
    let netns = environment("CNI_NETNS").filter(|path| !path.is_empty());
    if matches!(command, Command::Add | Command::Check) && netns.is_none() {
        return Err(invalid("CNI_NETNS is missing".to_owned()));
    }
    let path = environment("CNI_PATH").unwrap_or_default();
    Ok(Invocation {
        command,
        container_id,
        ifname,
        netns: netns.map(NetnsRef::new),
        args: args(environment)?,
        path: std::env::split_paths(&path).collect(),
        conf,
        skip_link_delete: false,
    })
}

fn variable(environment: Environment<'_>, name: &str) -> Result<String, CniError> {
    let value = environment(name).and_then(|value| value.into_string().ok()).unwrap_or_default();
    if value.is_empty() { Err(invalid(format!("{name} is missing"))) } else { Ok(value) }
}

fn args(environment: Environment<'_>) -> Result<Vec<(String, String)>, CniError> {
    let text = environment("CNI_ARGS").unwrap_or_default();
    let text = text.to_str().ok_or_else(|| invalid("CNI_ARGS is not UTF-8".to_owned()))?;
    let pairs = text.split(';').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(invalid(format!("CNI_ARGS: {pair:?} is not a key and a value"))),
        })
        .collect()
}

fn invalid(message: String) -> CniError {
    CniError::new(CniError::INVALID_ENVIRONMENT, message)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn version_error(error: TypesError) -> CniError {
    let code = match error {
        TypesError::Version { .. } => CniError::INCOMPATIBLE_VERSION,
        _ => CniError::DECODING_FAILURE,
    };
    CniError::new(code, error.to_string())
}

/// The version that an answer is written in, even where the configuration cannot be read.
fn peek_version(conf: &[u8]) -> String {
    let value: Value = serde_json::from_slice(conf).unwrap_or_default();
    let version = value.get("cniVersion").and_then(Value::as_str).unwrap_or_default();
    let known = Version::parse(version).ok().filter(|_| !version.is_empty());
    known.unwrap_or(Version::LATEST).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ask(variables: &[(&str, &str)], conf: &str) -> Result<Option<Value>, CniError> {
        let environment = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        answer("loopback", &environment, conf.as_bytes())
    }

    #[test]
    fn version_lists_all_in_the_version_asked() {
        let answer = ask(&[("CNI_COMMAND", "VERSION")], r#"{"cniVersion":"0.4.0"}"#).unwrap().unwrap();
        assert_eq!(answer["cniVersion"], "0.4.0");
        assert_eq!(answer["supportedVersions"].as_array().unwrap().len(), 7);
        assert_eq!(answer["supportedVersions"][6], "1.1.0");
        assert_eq!(ask(&[("CNI_COMMAND", "VERSION")], "").unwrap().unwrap()["cniVersion"], "1.1.0");
    }

    #[test]
    fn a_malformed_call_has_the_code_of_the_specification() {
        let conf = r#"{"cniVersion":"1.1.0","name":"n","type":"loopback"}"#;
        let full = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "c"),
            ("CNI_IFNAME", "lo"),
            ("CNI_NETNS", "/nowhere"),
        ];
        let without = |name: &str| -> Vec<_> { full.into_iter().filter(|(key, _)| *key != name).collect() };
        let with = |name, value| {
            let mut variables = without(name);
            variables.push((name, value));
            variables
        };
        let code = |variables: &[(&str, &str)], conf: &str| ask(variables, conf).unwrap_err().code;
        for name in ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_COMMAND"] {
            assert_eq!(code(&without(name), conf), CniError::INVALID_ENVIRONMENT, "{name}");
        }
        assert_eq!(code(&with("CNI_COMMAND", "DO"), conf), CniError::INVALID_ENVIRONMENT);
        assert_eq!(code(&with("CNI_CONTAINERID", "../x"), conf), CniError::INVALID_ENVIRONMENT);
        assert_eq!(code(&with("CNI_IFNAME", "a/b"), conf), CniError::INVALID_ENVIRONMENT);
        assert_eq!(code(&with("CNI_ARGS", "a"), conf), CniError::INVALID_ENVIRONMENT);
        assert_eq!(code(&full, "{"), CniError::DECODING_FAILURE);
        assert_eq!(code(&full, r#"{"cniVersion":"9.0.0","name":"n"}"#), CniError::INCOMPATIBLE_VERSION);
        assert_eq!(code(&full, r#"{"cniVersion":"1.0.0","name":"../n"}"#), CniError::INVALID_CONFIG);
        assert_eq!(code(&full, conf), CniError::INVALID_NETNS);
        let old = r#"{"cniVersion":"1.0.0","name":"n"}"#;
        assert_eq!(code(&[("CNI_COMMAND", "STATUS")], old), CniError::INCOMPATIBLE_VERSION);
        assert_eq!(code(&[("CNI_COMMAND", "GC")], old), CniError::INCOMPATIBLE_VERSION);
        assert_eq!(ask(&[("CNI_COMMAND", "STATUS")], conf), Ok(None));
    }
}
