//! The images of a cluster, made of programs that are here already.

use crate::error::{Context, Error};
use crate::image::{self, Image};
use crate::layer::{Entry, Layer};
use crate::registry::Registry;
use crate::{tools, world};
use serde_json::json;
use std::fs;

/// What Kubernetes' tests run in their pods: busybox with agnhost.
pub const AGNHOST: &str = "registry.k8s.io/e2e-test-images/agnhost:2.63.0";
/// CoreDNS.
pub(crate) const COREDNS: &str = "registry.k8s.io/coredns/coredns:v1.14.1";
/// A container that does nothing.
pub const PAUSE: &str = "registry.k8s.io/pause:3.10.2";

/// Pushes them all.
///
/// # Errors
/// When a program was not built, or the registry refuses.
pub(crate) fn push(registry: &Registry) -> Result<(), Error> {
    let program = |name: &str| {
        let path = tools::go_tool(name, "cluster")?;
        fs::read(&path).at("read", &path)
    };
    let mut agnhost = image::busybox()?;
    agnhost.layers.push(Layer::default().with("agnhost", 0o755, Entry::File(program("agnhost")?)));
    agnhost.config["Entrypoint"] = json!(["/agnhost"]);
    agnhost.config["Cmd"] = json!(["pause"]);
    let layer = Layer::default().with("coredns", 0o755, Entry::File(program("coredns")?));
    let config = json!({"Entrypoint": ["/coredns"], "User": "65532:65532"});
    let coredns = Image { layers: vec![layer], config, ..Image::default() };
    for (name, image) in [(AGNHOST, agnhost), (COREDNS, coredns), (PAUSE, world::pause_image()?)] {
        let (_, path) = name.split_once('/').unwrap_or_default();
        let (repository, tag) = path.split_once(':').unwrap_or_default();
        registry.push(repository, tag, &image)?;
    }
    Ok(())
}
