//! Test images: busybox from Debian's package, and small images made of anything.

pub use crate::layer::{Entry, Layer};

use crate::error::{Context, Error};
use crate::rootfs::Rootfs;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::Path;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Which manifest an image is pushed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Schema {
    /// OCI image manifest.
    #[default]
    Oci,
    /// Docker image manifest, schema 2.
    Docker,
}

/// An image to push.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Its layers, bottom first.
    pub layers: Vec<Layer>,
    /// The `config` object of the image configuration: `Env`, `Cmd`, `User`, …
    pub config: Value,
    /// The manifest's kind.
    pub schema: Schema,
    /// Claims a wrong diff id for the first layer.
    pub wrong_diff_id: bool,
}

/// What a registry holds after a push.
#[derive(Debug)]
pub struct Pushed {
    /// Digest and bytes of the configuration and of every layer.
    pub blobs: Vec<(String, Vec<u8>)>,
    /// The manifest.
    pub manifest: Vec<u8>,
    /// The manifest's media type.
    pub media_type: &'static str,
    /// The digest of the configuration, which is the image's id.
    pub id: String,
    /// The digest of the manifest.
    pub digest: String,
}

impl Image {
    /// Makes blobs and manifest.
    ///
    /// # Errors
    /// When a path does not fit into an archive.
    pub fn encode(&self) -> Result<Pushed, Error> {
        let (manifest_type, config_type, layer_type) = match self.schema {
            Schema::Oci => (
                OCI_MANIFEST,
                "application/vnd.oci.image.config.v1+json",
                "application/vnd.oci.image.layer.v1.tar",
            ),
            Schema::Docker => (
                DOCKER_MANIFEST,
                "application/vnd.docker.container.image.v1+json",
                "application/vnd.docker.image.rootfs.diff.tar",
            ),
        };
        let mut blobs = Vec::new();
        let (mut diff_ids, mut descriptors) = (Vec::new(), Vec::new());
        for layer in &self.layers {
            let tar = layer.tar()?;
            diff_ids.push(digest(&tar));
            let (bytes, suffix) = match (layer.is_plain(), self.schema) {
                (true, _) => (tar, ""),
                (false, Schema::Oci) => (gzip(&tar)?, "+gzip"),
                (false, Schema::Docker) => (gzip(&tar)?, ".gzip"),
            };
            let (name, size) = (digest(&bytes), bytes.len());
            descriptors
                .push(json!({"mediaType": format!("{layer_type}{suffix}"), "digest": name, "size": size}));
            blobs.push((name, bytes));
        }
        if let (true, Some(first)) = (self.wrong_diff_id, diff_ids.first_mut()) {
            *first = digest(b"something else");
        }
        let config = json!({
            "architecture": architecture(), "os": "linux", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let id = digest(&config);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": manifest_type,
            "config": {"mediaType": config_type, "digest": id, "size": config.len()}, "layers": descriptors,
        });
        let manifest = manifest.to_string().into_bytes();
        blobs.push((id.clone(), config));
        let digest = digest(&manifest);
        Ok(Pushed { blobs, manifest, media_type: manifest_type, id, digest })
    }
}

/// Busybox from Debian's package in two layers: the program with its libraries and hard-linked applets, then users,
/// groups and a whiteout.
///
/// # Errors
/// When busybox is not installed or a file cannot be read.
pub fn busybox() -> Result<Image, Error> {
    let mut base = Rootfs::default();
    for directory in ["bin", "dev", "etc", "lib", "lib64", "proc", "root", "sys", "usr/bin", "var"] {
        base = base.directory(directory, 0o755);
    }
    let base = base.directory("tmp", 0o1777).file("etc/removed", 0o644, Vec::new()).busybox()?.layer();
    let users = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\nbin:x:2:2::/bin:/bin/false\nwww-data:x:33:33::/var/www:/bin/false\nalice:x:1000:1000::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";
    let groups = "root:x:0:\ndaemon:x:1:\nbin:x:2:\nwww-data:x:33:\nalice:x:1000:\nextra:x:50000:alice\nnogroup:x:65534:\n";
    let top = Layer::default()
        .with("etc/passwd", 0o644, Entry::File(users.into()))
        .with("etc/group", 0o644, Entry::File(groups.into()))
        .with("etc/.wh.removed", 0o644, Entry::File(Vec::new()))
        .owned("home", 0o755, 1000, Entry::Directory);
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    Ok(Image { layers: vec![base, top], config: json!({"Env": [path], "Cmd": ["sh"]}), ..Image::default() })
}

/// An image of one static program, such as a pause.
///
/// # Errors
/// When the program cannot be read.
pub fn single_program(program: &Path, path: &str) -> Result<Image, Error> {
    let layer = Layer::default().with(path, 0o755, Entry::File(read(program)?));
    Ok(Image { layers: vec![layer], config: json!({"Entrypoint": [format!("/{path}")]}), ..Image::default() })
}

/// `sha256:` and the hexadecimal digest.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// This machine's architecture as images name it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).at("compress", "a layer")
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).at("read", path)
}
