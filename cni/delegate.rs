//! IPAM plugins: the built-in host-local in process, any other as the binary of its name.

use crate::failure::{config, decoding};
use crate::types::{CniError, CniResult, Command, Invocation};
use crate::{Plugins, host_local};
use serde_json::Value;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Command as Process, Stdio};

/// Asks the IPAM plugin for addresses.
pub(crate) fn add(plugins: &Plugins, call: &Invocation, ipam: &str) -> Result<CniResult, CniError> {
    if ipam == host_local::TYPE {
        return host_local::add(&plugins.leases, call);
    }
    let output = execute(call, ipam, Command::Add)?;
    let value: Value = serde_json::from_slice(&output)
        .map_err(|error| CniError::new(CniError::DECODING_FAILURE, format!("result of {ipam}: {error}")))?;
    CniResult::from_value(value, call.version().map_err(decoding)?).map_err(decoding)
}

/// Any command that has no result.
pub(crate) fn run(
    plugins: &Plugins,
    call: &Invocation,
    ipam: &str,
    command: Command,
) -> Result<(), CniError> {
    if ipam != host_local::TYPE {
        return execute(call, ipam, command).map(|_| ());
    }
    match command {
        Command::Del => host_local::del(&plugins.leases, call),
        Command::Check => host_local::check(&plugins.leases, call),
        Command::Status => host_local::status(&plugins.leases, call),
        Command::Gc => host_local::gc(&plugins.leases, call),
        Command::Add | Command::Version => Ok(()),
    }
}

fn find(call: &Invocation, plugin: &str) -> Result<PathBuf, CniError> {
    let found = call.path.iter().map(|dir| dir.join(plugin)).find(|path| path.is_file());
    found.ok_or_else(|| config(format!("no IPAM plugin {plugin:?} in {:?}", call.path)))
}

fn execute(call: &Invocation, plugin: &str, command: Command) -> Result<Vec<u8>, CniError> {
    let failed = |op: &str, error: std::io::Error| {
        CniError::new(CniError::IO_FAILURE, format!("{op} IPAM plugin {plugin}: {error}"))
    };
    let args: Vec<String> = call.args.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let netns = call.netns.as_ref().map(|netns| netns.path.clone()).unwrap_or_default();
    let path = std::env::join_paths(&call.path).map_err(|error| config(format!("CNI_PATH: {error}")))?;
    let mut child = Process::new(find(call, plugin)?)
        .env("CNI_COMMAND", command.as_str())
        .env("CNI_CONTAINERID", &call.container_id)
        .env("CNI_NETNS", netns)
        .env("CNI_IFNAME", &call.ifname)
        .env("CNI_ARGS", args.join(";"))
        .env("CNI_PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| failed("start", error))?;
    if let Some(mut stdin) = child.stdin.take() {
        let conf = serde_json::to_vec(call.conf.as_map())
            .map_err(|error| config(format!("encode configuration: {error}")))?;
        match stdin.write_all(&conf) {
            // It did not want to read: its exit says what it thinks.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(failed("write to", error)),
            _ => {}
        }
    }
    let output = child.wait_with_output().map_err(|error| failed("wait for", error))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let reported: Result<CniError, _> = serde_json::from_slice(&output.stdout);
    Err(reported.ok().filter(|error| error.code != 0).unwrap_or_else(|| {
        CniError::new(CniError::INTERNAL, format!("IPAM plugin {plugin}: {}", output.status))
    }))
}
