//! How containerd is set up to stand beside Corten: the same directories, network, mirrors and cgroups.

use crate::error::{Context, Error};
use crate::place::Place;
use crate::tools;
use std::fs;
use std::path::{Path, PathBuf};

/// The pause image that the peer pulls; the registry must have it under this name.
pub const PAUSE_REPOSITORY: &str = "pause";
/// Its tag.
pub const PAUSE_TAG: &str = "3.10.2";

/// Writes the configuration; its path.
///
/// # Errors
/// When a program is missing or the file cannot be written.
pub fn write_config(place: &Place, plugins: &Path) -> Result<PathBuf, Error> {
    let runc = oci_runtime()?;
    let root = &place.root;
    let text = format!(
        r#"version = 4
root = "{data}"
state = "{state}"
# What a scenario adds.
imports = ["{root}/conf.d/*.toml"]
# Neither loads without a recent mkfs.erofs, and with them goes the whole CRI plugin.
disabled_plugins = ["io.containerd.differ.v1.erofs", "io.containerd.snapshotter.v1.erofs"]

[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".registry]
config_path = "{certs}"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "registry.k8s.io/{PAUSE_REPOSITORY}:{PAUSE_TAG}"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{plugins}"]
conf_dir = "{cni}"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
runtime_path = "{shim}"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{runc}"
Root = "{state}/runc"

[plugins."io.containerd.nri.v1.nri"]
plugin_path = "{data}/nri/plugins"
plugin_config_path = "{data}/nri/conf.d"
[plugins."io.containerd.internal.v1.opt"]
path = "{data}/opt"
[plugins."io.containerd.server.v1.grpc"]
address = "{socket}"
[plugins."io.containerd.server.v1.ttrpc"]
address = "{socket}.ttrpc"
[plugins."io.containerd.shim.v1.manager"]
socket_dir = "{state}/shims"
[plugins."io.containerd.service.v1.diff-service"]
default = ["walking"]
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
platform = "linux/{architecture}"
snapshotter = "overlayfs"
differ = "walking"
"#,
        root = root.display(),
        data = place.data.display(),
        state = place.state.display(),
        certs = place.certs.display(),
        cni = place.cni.display(),
        plugins = plugins.display(),
        shim = tools::go_tool("containerd-shim-runc-v2", "bench")?.display(),
        runc = runc.display(),
        socket = place.socket.display(),
        architecture = crate::image::architecture(),
    );
    let path = root.join("containerd.toml");
    fs::write(&path, text).at("write", &path)?;
    Ok(path)
}

/// What containerd runs containers with: runc, or what the environment asks for: `OCI_RUNTIME=corten-oci`, else the path of
/// another program with runc's command line.
fn oci_runtime() -> Result<PathBuf, Error> {
    match std::env::var("OCI_RUNTIME").as_deref() {
        Ok("corten-oci") => tools::corten("corten-oci"),
        Ok(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => tools::go_tool("runc", "bench"),
    }
}
