//! containerd keeps its containers in namespaces of its own kind; the kubelet's are in one of them.

use tonic::Status;
use tonic::metadata::MetadataMap;

/// Where a request says which one it is for.
const KEY: &str = "containerd-namespace";
/// The only one in which there is anything.
const OURS: &str = "k8s.io";

/// Refuses requests for others.
pub(super) fn check(metadata: &MetadataMap) -> Result<(), Status> {
    match metadata.get(KEY).map(|value| value.to_str()) {
        Some(Ok(OURS)) => Ok(()),
        Some(Ok(other)) => {
            Err(Status::not_found(format!("nothing is in namespace {other:?}, only in {OURS:?}")))
        }
        Some(Err(_)) => Err(Status::not_found(format!("nothing is in any namespace but {OURS:?}"))),
        None => Err(Status::failed_precondition(format!("no {KEY} in the request's metadata"))),
    }
}
