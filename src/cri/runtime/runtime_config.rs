//! RuntimeConfig: the cgroup driver that the kubelet has to follow.

use super::Runtime;
use crate::proto::{CgroupDriver, LinuxRuntimeConfiguration, RuntimeConfigRequest, RuntimeConfigResponse};
use tonic::Status;

pub(super) async fn answer(_: &Runtime, _: RuntimeConfigRequest) -> Result<RuntimeConfigResponse, Status> {
    let cgroup_driver = CgroupDriver::Cgroupfs.into();
    Ok(RuntimeConfigResponse { linux: Some(LinuxRuntimeConfiguration { cgroup_driver }) })
}
