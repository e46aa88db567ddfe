//! Errors of the parts as errors of a plugin.

use crate::types::{CniError, Invocation, NetnsRef, TypesError};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use sys::SysError;
use sys::netns::Netns;

/// A failed system call.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn system(error: SysError) -> CniError {
    CniError::new(CniError::INTERNAL, error.to_string())
}

/// A failed file operation.
pub(crate) fn file(op: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> CniError {
    move |error| system(SysError::io(op, path)(error))
}

/// A previous result or a version that cannot be read.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn decoding(error: TypesError) -> CniError {
    CniError::new(CniError::DECODING_FAILURE, error.to_string())
}

/// A configuration that is well formed, and wrong.
pub(crate) fn config(message: impl Into<String>) -> CniError {
    CniError::new(CniError::INVALID_CONFIG, message)
}

/// The first of several failures, with the others as its details.
pub(crate) fn all_of(failures: impl IntoIterator<Item = CniError>) -> Result<(), CniError> {
    let mut failures = failures.into_iter();
    let Some(first) = failures.next() else { return Ok(()) };
    let more: Vec<String> = failures.map(|failed| failed.msg).collect();
    if more.is_empty() {
        return Err(first);
    }
    let details = [first.details.clone(), format!("and {}", more.join("; "))];
    let details: Vec<String> = details.into_iter().filter(|part| !part.is_empty()).collect();
    Err(first.with_details(details.join("; ")))
}

/// The configuration in the form that a plugin reads.
pub(crate) fn read<T: DeserializeOwned>(call: &Invocation) -> Result<T, CniError> {
    let plugin = call.conf.plugin_type();
    T::deserialize(call.conf.as_map()).map_err(|error| {
        let place = culprit::<T>(Value::Object(call.conf.as_map().clone()), &error.to_string());
        CniError::new(CniError::DECODING_FAILURE, format!("{plugin} configuration: {place}{error}"))
    })
}

/// A larger configuration than people write is not searched.
const MOST_SEARCHED: usize = 64;

/// Where the value is for which a configuration cannot be read, which the parser does not say: the innermost one without
/// which it says something else.
fn culprit<T: DeserializeOwned>(mut conf: Value, error: &str) -> String {
    let (mut pointer, mut place) = (String::new(), String::new());
    while let Some((child, shown)) = children(&conf, &pointer).into_iter().find(|(child, _)| {
        let mut rest = conf.clone();
        remove(&mut rest, &pointer, child);
        T::deserialize(&rest).err().is_none_or(|other| other.to_string() != error)
    }) {
        pointer = format!("{pointer}/{}", child.replace('~', "~0").replace('/', "~1"));
        place.push_str(&shown);
    }
    match conf.pointer_mut(&pointer).map(Value::take) {
        _ if pointer.is_empty() => String::new(),
        None | Some(Value::Object(_) | Value::Array(_)) => format!("{}: ", place.trim_start_matches('.')),
        Some(value) => format!("{} {value}: ", place.trim_start_matches('.')),
    }
}

/// The keys or indices of what is there, and how a path shows each.
fn children(conf: &Value, pointer: &str) -> Vec<(String, String)> {
    match conf.pointer(pointer) {
        Some(Value::Object(map)) if map.len() <= MOST_SEARCHED => {
            map.keys().map(|key| (key.clone(), format!(".{key}"))).collect()
        }
        Some(Value::Array(items)) if items.len() <= MOST_SEARCHED => {
            (0..items.len()).map(|at| (at.to_string(), format!("[{at}]"))).collect()
        }
        _ => Vec::new(),
    }
}

fn remove(conf: &mut Value, pointer: &str, child: &str) {
    match (conf.pointer_mut(pointer), child.parse::<usize>()) {
        (Some(Value::Object(map)), _) => drop(map.remove(child)),
        (Some(Value::Array(items)), Ok(at)) if at < items.len() => drop(items.remove(at)),
        _ => {}
    }
}

/// The container's namespace, opened.
pub(crate) fn open_netns(call: &Invocation) -> Result<Arc<Netns>, CniError> {
    let opened = netns(call)?.open();
    opened.map_err(|error| CniError::new(CniError::INVALID_NETNS, error.to_string()))
}

/// The container's namespace, which ADD and CHECK always have.
pub(crate) fn netns(call: &Invocation) -> Result<&NetnsRef, CniError> {
    let missing = || CniError::new(CniError::INVALID_ENVIRONMENT, "CNI_NETNS is missing");
    call.netns.as_ref().ok_or_else(missing)
}

/// The result of the plugins before, which chained calls and CHECK always have.
pub(crate) fn required_prev_result(call: &Invocation) -> Result<crate::types::CniResult, CniError> {
    let missing = || config(format!("{} needs a prevResult", call.conf.plugin_type()));
    call.conf.prev_result().map_err(decoding)?.ok_or_else(missing)
}
