//! RuntimeConfig: the cgroup driver that the kubelet has to follow.

use super::Runtime;
use crate::proto::{CgroupDriver, LinuxRuntimeConfiguration, RuntimeConfigRequest, RuntimeConfigResponse};
use tonic::Status;

pub(super) async fn answer(
    runtime: &Runtime,
    _: RuntimeConfigRequest,
) -> Result<RuntimeConfigResponse, Status> {
    let driver = if runtime.engine.uses_systemd() { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs };
    let cgroup_driver = driver.into();
    Ok(RuntimeConfigResponse { linux: Some(LinuxRuntimeConfiguration { cgroup_driver }) })
}
