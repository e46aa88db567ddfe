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
    serde_json::from_value(Value::Object(call.conf.as_map().clone())).map_err(|error| {
        CniError::new(CniError::DECODING_FAILURE, format!("{plugin} configuration: {error}"))
    })
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
