//! The images that critest pulls, made of Debian's packages: their registries cannot be reached from everywhere.
//!
//! What each has to bring was read from the specs that use it (cri-tools v1.37.0, `pkg/validate`). A runtime finds them
//! under the names that the specs have, because its mirror for every registry is the one they are pushed to.

use e2e::error::Context;
use e2e::image::{Entry, Image, Layer, Schema};
use e2e::registry::Registry;
use e2e::rootfs::Rootfs;
use e2e::standins::{GROUPS, USERS, nginx, shell, site};
use e2e::{Error, peer, world};
use serde_json::{Value, json};
use std::path::PathBuf;

/// What most specs run.
pub(crate) const BUSYBOX: &str = "registry.k8s.io/e2e-test-images/busybox:1.29-2";

/// Repository of the suite's own images, below gcr.io.
const OWN: &str = "k8s-staging-cri-tools";
/// Repository of Kubernetes' test images, below registry.k8s.io.
const E2E: &str = "e2e-test-images";
/// Repository of the benchmark's images, below public.ecr.aws.
const LIBRARY: &str = "docker/library/busybox";
/// The port of the web server that runs in the host's network.
const HOST_NETWORK_PORT: u16 = 12_003;

const DEFAULT_USER: &str = "default-user:x:1000:1000::/home:/bin/sh\n";
const DEFAULT_GROUPS: &str = "default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n";

/// Pushes all of them.
///
/// # Errors
/// When a package is missing or the registry refuses.
pub(crate) fn push(registry: &Registry) -> Result<(), Error> {
    let busybox = shell(USERS, GROUPS)?;
    registry.push(&format!("{E2E}/busybox"), "1.29-2", &image(&busybox, json!({"Cmd": ["sh"]})))?;
    push_servers(registry, &busybox)?;
    push_users(registry, &busybox)?;
    let pause = world::pause_image()?;
    for (repository, tags) in [
        ("test-image-latest", &["latest"][..]),
        ("test-image-tag", &["all"]),
        ("test-image-1", &["latest"]),
        ("test-image-2", &["latest"]),
        ("test-image-3", &["latest"]),
    ] {
        for tag in tags {
            registry.push(
                &format!("{OWN}/{repository}"),
                tag,
                &small(&pause, &format!("{repository}:{tag}")),
            )?;
        }
    }
    // A spec mounts it and runs its programs.
    let tagged = Layer::default().with("content", 0o644, Entry::File("test-image-tag:test".into()));
    let tagged = with_layer(&busybox, tagged, json!({"Cmd": ["sh"]}));
    registry.push(&format!("{OWN}/test-image-tag"), "test", &tagged)?;
    for tag in ["1", "2", "3"] {
        registry.push(&format!("{OWN}/test-image-tags"), tag, &small(&pause, "test-image-tags"))?;
    }
    for tag in ["1.35.0-glibc", "1-uclibc", "1", "1-glibc", "1-musl"] {
        let own = Layer::default().with("variant", 0o644, Entry::File(tag.into()));
        registry.push(LIBRARY, tag, &with_layer(&busybox, own, json!({"Cmd": ["sh"]})))?;
    }
    // Not the same image: a spec counts the names that one of them has.
    registry.push(peer::PAUSE_REPOSITORY, "3.9", &small(&pause, "pause:3.9"))?;
    registry.push(peer::PAUSE_REPOSITORY, peer::PAUSE_TAG, &pause).map(drop)
}

fn push_servers(registry: &Registry, busybox: &Layer) -> Result<(), Error> {
    let nginx = nginx()?;
    let serve = json!({"Cmd": ["nginx", "-g", "daemon off;"]});
    for (repository, tag, port) in [
        (format!("{E2E}/nginx"), "1.14-2", 80),
        (format!("{OWN}/hostnet-nginx-{}", e2e::image::architecture()), "latest", HOST_NETWORK_PORT),
    ] {
        let site = Layer::default().with("etc/nginx/nginx.conf", 0o644, Entry::File(site(port).into()));
        let image = Image {
            layers: vec![busybox.clone(), nginx.clone(), site],
            config: config(serve.clone()),
            ..Image::default()
        };
        registry.push(&repository, tag, &image)?;
    }
    // Its log must have its name in it.
    let script = "echo httpd serves; exec httpd -f -p 80 -h /var/www";
    let page = Rootfs::default().file("var/www/index.html", 0o644, "It works!\n").layer();
    let httpd = with_layer(busybox, page, json!({"Cmd": ["sh", "-c", script]}));
    registry.push(&format!("{E2E}/httpd"), "2.4.39-4", &httpd).map(drop)
}

fn push_users(registry: &Registry, busybox: &Layer) -> Result<(), Error> {
    for (repository, user) in [
        ("test-image-user-uid", "1002"),
        ("test-image-user-username", "www-data"),
        ("test-image-user-uid-group", "1003:1003"),
        ("test-image-user-username-group", "www-data:www-data"),
    ] {
        let image = image(busybox, json!({"Cmd": ["sh"], "User": user}));
        registry.push(&format!("{OWN}/{repository}"), "latest", &image)?;
    }
    let known = shell(&format!("{USERS}{DEFAULT_USER}"), &format!("{GROUPS}{DEFAULT_GROUPS}"))?;
    let predefined = image(&known, json!({"Cmd": ["sh"], "User": "1000"}));
    registry.push(&format!("{OWN}/test-image-predefined-group"), "latest", &predefined)?;
    let setuid = Rootfs::default().program(&own_program("nnp")?, "nnp", 0o4755)?.layer();
    let image = with_layer(busybox, setuid, json!({"Cmd": ["/nnp"]}));
    registry.push(&format!("{E2E}/nonewprivs"), "1.3", &image).map(drop)
}

/// A small image that differs from others by its content, and can be run.
fn small(pause: &Image, content: &str) -> Image {
    let mut image = pause.clone();
    image.layers.push(Layer::default().with("content", 0o644, Entry::File(content.into())));
    image
}

fn image(layer: &Layer, of: Value) -> Image {
    Image { layers: vec![layer.clone()], config: config(of), schema: Schema::Docker, ..Image::default() }
}

fn with_layer(base: &Layer, top: Layer, of: Value) -> Image {
    Image { layers: vec![base.clone(), top], config: config(of), ..Image::default() }
}

fn config(mut of: Value) -> Value {
    of["Env"] = json!(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
    of
}

/// A program that is built with this one.
fn own_program(name: &str) -> Result<PathBuf, Error> {
    let own = std::env::current_exe().at("find", "this program")?;
    let path = own.with_file_name(name);
    if path.exists() {
        Ok(path)
    } else {
        Err(Error::Missing { what: path.display().to_string(), part: "build" })
    }
}
