//! Whom a filter asks where its action is to ask somebody: the agent behind a profile's `listenerPath`, and what it is
//! told (runtime spec, "Container Process State").

use crate::error::{OciError, OciResult};
use oci_spec::runtime::Spec;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use wire::plan::SeccompAgent;

/// `sun_path` without its end.
const SOCKET_LIMIT: usize = 107;
/// More than anybody says, and less than a socket's buffer: the message is sent without waiting.
const MESSAGE_LIMIT: usize = 32 << 10;
/// The name that the descriptor has in the message.
const DESCRIPTOR: &str = "seccompFd";
/// What a container is called whose first process hands over its filter, as runc calls it.
const CREATING: &[u8] = b"\"status\":\"creating\",\"pid\":";

/// The agent for a container's first process. `None`: its profile names none, or asks nobody.
///
/// # Errors
/// [`OciError::Profile`] when the agent's socket cannot be reached by any path of that form, or the message is too long.
pub fn agent(spec: &Spec, id: &str, bundle: &Path) -> OciResult<Option<SeccompAgent>> {
    let Some(profile) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else {
        return Ok(None);
    };
    let Some(socket) = profile.listener_path() else { return Ok(None) };
    if super::program(profile)?.flags & super::NEW_LISTENER == 0 {
        return Ok(None);
    }
    let refuse = |reason: String| OciError::Profile { reason };
    let path = socket.as_os_str().as_bytes();
    if !socket.is_absolute() || path.contains(&0) || path.len() > SOCKET_LIMIT {
        return Err(refuse(format!(
            "listenerPath {} is no absolute path of at most {SOCKET_LIMIT} bytes",
            socket.display()
        )));
    }
    let version = quoted(spec.version())?;
    let metadata = match profile.listener_metadata() {
        None => String::new(),
        Some(metadata) => format!(",\"metadata\":{}", quoted(metadata)?),
    };
    let annotations: BTreeMap<_, _> = spec.annotations().iter().flatten().collect();
    let mut between =
        format!("{metadata},\"state\":{{\"ociVersion\":{version},\"id\":{},", quoted(id)?).into_bytes();
    between.extend_from_slice(CREATING);
    let after = format!(
        ",\"bundle\":{},\"annotations\":{}}}}}",
        quoted(&bundle.to_string_lossy())?,
        serde_json::to_string(&annotations)?
    );
    if between.len() + after.len() > MESSAGE_LIMIT {
        return Err(refuse("listenerMetadata and annotations are more than an agent can be told".into()));
    }
    Ok(Some(SeccompAgent {
        socket: path.to_vec(),
        before_pid: format!("{{\"ociVersion\":{version},\"fds\":[\"{DESCRIPTOR}\"],\"pid\":").into_bytes(),
        between_pids: between,
        after_pids: after.into_bytes(),
    }))
}

/// The same for a command beside the first process, which runs as `pid`.
pub fn agent_of_command(agent: &SeccompAgent, pid: i32) -> SeccompAgent {
    let mut rest = agent.between_pids.strip_suffix(CREATING).unwrap_or(&agent.between_pids).to_vec();
    rest.extend(format!("\"status\":\"running\",\"pid\":{pid}").into_bytes());
    rest.extend_from_slice(&agent.after_pids);
    SeccompAgent { between_pids: rest, after_pids: Vec::new(), ..agent.clone() }
}

fn quoted(text: &str) -> OciResult<String> {
    Ok(serde_json::to_string(text)?)
}
