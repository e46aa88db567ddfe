//! The images that Kubernetes' suites pull and a cluster has not anyway, under the names of `test/utils/image` of v1.36.
//!
//! What each has to bring was read from the specs that use it. A runtime finds them because its mirror for every
//! registry is the one that they are pushed to.

use e2e::certificates::self_signed;
use e2e::error::Context;
use e2e::image::Image;
use e2e::layer::{Entry, Layer};
use e2e::registry::Registry;
use e2e::rootfs::Rootfs;
use e2e::standins::{GROUPS, USERS, nginx, shell, site};
use e2e::{Error, tools, world};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// What Debian has of the programs in upstream's images, and where they lie there.
const PROGRAMS: [(&str, &str); 8] = [
    ("curl", "usr/bin/curl"),
    ("dig", "usr/bin/dig"),
    ("nc", "usr/bin/nc"),
    ("bash", "bin/bash"),
    ("ip", "sbin/ip"),
    ("getent", "usr/bin/getent"),
    ("lsblk", "bin/lsblk"),
    ("stat", "bin/stat"),
];
const USER: &str = "user-defined-in-image:x:1000:1000::/home:/bin/sh\n";
const GROUP: &str = "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n";

/// Pushes all of them.
///
/// # Errors
/// When a program is missing or the registry refuses.
pub(crate) fn push(registry: &Registry) -> Result<(), Error> {
    let push = |name: &str, tag: &str, image: &Image| {
        registry.push(&format!("e2e-test-images/{name}"), tag, image).map(drop)
    };
    let plain = shell(USERS, GROUPS)?;
    let layers = |more: &[&Layer]| std::iter::once(&plain).chain(more.iter().copied()).cloned().collect();
    let image = |more: &[&Layer], config: Value| Image {
        layers: layers(more),
        config: with_path(config),
        ..Image::default()
    };
    push("busybox", "1.37.0-1", &image(&[&patient_shell()?], json!({"Cmd": ["sh"]})))?;
    push("ipc-utils", "1.4", &image(&[], json!({"Cmd": ["sh"]})))?;
    push("nonroot", "1.5", &image(&[], json!({"Cmd": ["sh"], "User": "1234"})))?;
    let own = std::env::current_exe().at("find", "this program")?.with_file_name("nnp");
    let setuid = Rootfs::default().program(&own, "nnp", 0o4755)?.layer();
    push("nonewprivs", "1.4", &image(&[&setuid], json!({"Cmd": ["/nnp"]})))?;
    let page = Layer::default().with("etc/nginx/nginx.conf", 0o644, Entry::File(site(80).into()));
    for tag in ["1.15-4", "1.27-0"] {
        let version = Layer::default().with("version", 0o644, Entry::File(tag.into()));
        let serve = json!({"Cmd": ["nginx", "-g", "daemon off;"]});
        push("nginx", tag, &image(&[&nginx()?, &page, &version], serve))?;
    }
    let tools = programs()?;
    push("glibc-dns-testing", "2.0.0", &image(&[&tools], json!({"Cmd": ["bash"]})))?;
    let agnhost = agnhost()?;
    let serve = |more: &[&Layer], arguments: &[&str]| {
        let more: Vec<_> = [&tools, &agnhost].into_iter().chain(more.iter().copied()).collect();
        image(&more, json!({"Entrypoint": ["/agnhost"], "Cmd": arguments}))
    };
    for tag in ["2.55", "2.63.0"] {
        let version = Layer::default().with("version", 0o644, Entry::File(tag.into()));
        push("agnhost", tag, &serve(&[&version], &["pause"]))?;
    }
    for animal in ["kitten", "nautilus"] {
        let data = format!("{{\n\"image\": \"{animal}.jpg\"\n}}\n");
        // What the one who mounts it as a volume looks for.
        let release = Entry::File("NAME=\"Alpine Linux\"\nID=alpine\n".into());
        let page = Layer::default().with("data.json", 0o644, Entry::File(data.into())).with(
            "etc/os-release",
            0o644,
            release,
        );
        push(animal, "1.8", &serve(&[&page], &["test-webserver"]))?;
    }
    Ok(())
}

/// A shell that hands on variables whose names are none of a shell's, as upstream's busybox does and Debian's does not.
fn patient_shell() -> Result<Layer, Error> {
    Ok(Rootfs::default().program(&tools::system("bash")?, "bin/sh", 0o755)?.layer())
}

/// Debian's programs with their libraries.
fn programs() -> Result<Layer, Error> {
    let mut root = Rootfs::default();
    for (program, path) in PROGRAMS {
        root = root.program(&tools::system(program)?, path, 0o755)?;
    }
    Ok(root.layer())
}

/// Kubernetes' own program of all trades, with the users that specs ask for, a certificate for its servers and what its
/// registry hands out.
fn agnhost() -> Result<Layer, Error> {
    let read = |path: &Path| fs::read(path).at("read", path);
    let program = read(&tools::go_tool("agnhost", "cluster")?)?;
    let directory = tempfile::tempdir().at("create", "a directory")?;
    let pair = self_signed(directory.path(), "localhost", "DNS:localhost,IP:127.0.0.1", "rsa:2048")?;
    Ok(registry(Layer::default())?
        .with("localhost.crt", 0o644, Entry::File(read(&pair.certificate)?))
        .with("localhost.key", 0o644, Entry::File(read(&pair.key)?))
        .with("agnhost", 0o755, Entry::File(program))
        .with("agnhost-2", 0o777, Entry::Symlink("agnhost".into()))
        .with("uploads", 0o755, Entry::Directory)
        .with("etc/passwd", 0o644, Entry::File(format!("{USERS}{USER}").into()))
        .with("etc/group", 0o644, Entry::File(format!("{GROUPS}{GROUP}").into())))
}

/// `pause:testing`, laid out as agnhost's `fake-registry-server` looks for it.
fn registry(layer: Layer) -> Result<Layer, Error> {
    const TOP: &str = "var/registry/pause";
    let pushed = world::pause_image()?.encode()?;
    let place = |kind: &str, digest: &str| {
        let hash = digest.trim_start_matches("sha256:");
        format!("{TOP}/{kind}/sha256/{}/{hash}/data", &hash[..2])
    };
    let manifest = place("manifests", &pushed.digest);
    let tag = format!("{TOP}/manifests/testing");
    let layer = layer.with(&tag, 0o644, Entry::File(pushed.digest.into())).with(
        &manifest,
        0o644,
        Entry::File(pushed.manifest),
    );
    Ok(pushed.blobs.into_iter().fold(layer, |layer, (digest, bytes)| {
        layer.with(&place("blobs", &digest), 0o644, Entry::File(bytes))
    }))
}

fn with_path(mut config: Value) -> Value {
    config["Env"] = json!(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
    config
}
