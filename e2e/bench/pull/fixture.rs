//! Images made of the host's own files, so that they have the sizes and the contents that images have.

use e2e::Error;
use e2e::error::Context;
use e2e::image::{architecture, digest};
use e2e::registry::Registry;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Compressed bytes of a layer, and how many there are.
const LAYER: u64 = 104 << 20;
const LAYERS: usize = 4;
/// What builders use.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// An image in the registry.
pub(super) struct Pushed {
    /// The row's head.
    pub(super) title: String,
    pub(super) repository: &'static str,
    pub(super) zstd: bool,
    /// Digests of the compressed layers and of what is in them.
    pub(super) layers: Vec<(String, String)>,
}

/// All of them.
pub(super) struct Fixture {
    pub(super) images: Vec<Pushed>,
    pub(super) description: String,
}

/// One layer in both forms.
struct Layer {
    diff_id: String,
    gzip: Vec<u8>,
    zstd: Vec<u8>,
    files: usize,
    bytes: u64,
}

impl Fixture {
    /// Makes the images and pushes them.
    ///
    /// # Errors
    /// When the registry refuses, or no files can be read.
    pub(super) fn push(registry: &Registry) -> Result<Self, Error> {
        let mut files = Vec::new();
        for root in ["/usr/lib", "/usr/bin", "/usr/share", "/usr/libexec", "/usr/sbin", "/usr/local"] {
            collect(Path::new(root), &mut files);
        }
        files.sort();
        let quarter = files.len().div_ceil(LAYERS).max(1);
        let layers: Vec<Layer> = std::thread::scope(|scope| {
            let workers: Vec<_> =
                files.chunks(quarter).map(|files| scope.spawn(move || layer(files))).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())))
                .collect::<io::Result<_>>()
        })
        .at("archive", "the host's files")?;
        let total = |size: fn(&Layer) -> u64| layers.iter().map(size).sum::<u64>() >> 20;
        let gzip = total(|layer| layer.gzip.len() as u64);
        let description = format!(
            "{} layers of {} of the host's files, {} MiB: gzip {gzip} MiB, zstd {} MiB",
            layers.len(),
            layers.iter().map(|layer| layer.files).sum::<usize>(),
            total(|layer| layer.bytes),
            total(|layer| layer.zstd.len() as u64),
        );
        let one = layers.get(..1).unwrap_or_default();
        let images = vec![
            push(registry, "bench/gzip", &layers, false)?,
            push(registry, "bench/zstd", &layers, true)?,
            push(registry, "bench/single", one, false)?,
        ];
        Ok(Self { images, description })
    }
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    // What cannot be listed is not part of the image.
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&entry.path(), files),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
}

/// Gives everything to both compressors and to the diff id.
struct Tee {
    gzip: GzEncoder<Vec<u8>>,
    zstd: zstd::stream::write::Encoder<'static, Vec<u8>>,
    diff_id: Sha256,
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gzip.write_all(bytes)?;
        self.zstd.write_all(bytes)?;
        self.diff_id.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An archive of as many of these files as make a layer.
fn layer(files: &[PathBuf]) -> io::Result<Layer> {
    let tee = Tee {
        gzip: GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL)),
        zstd: zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?,
        diff_id: Sha256::new(),
    };
    let mut builder = tar::Builder::new(tee);
    let (mut count, mut bytes) = (0, 0);
    for path in files {
        if builder.get_ref().gzip.get_ref().len() as u64 >= LAYER {
            break;
        }
        // A file that changes or goes meanwhile is left out, or cut to what its header says.
        let (Ok(metadata), Ok(content)) = (path.metadata(), fs::read(path)) else { continue };
        let mut header = tar::Header::new_gnu();
        header.set_mode(metadata.mode() & 0o777);
        header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or_default());
        header.set_size(content.len() as u64);
        let name = path.strip_prefix("/").unwrap_or(path);
        builder.append_data(&mut header, name, content.as_slice())?;
        count += 1;
        bytes += content.len() as u64;
    }
    let tee = builder.into_inner()?;
    Ok(Layer {
        diff_id: format!("sha256:{}", hex::encode(tee.diff_id.finalize())),
        gzip: tee.gzip.finish()?,
        zstd: tee.zstd.finish()?,
        files: count,
        bytes,
    })
}

fn push(
    registry: &Registry,
    repository: &'static str,
    layers: &[Layer],
    zstd: bool,
) -> Result<Pushed, Error> {
    let form = if zstd { "zstd" } else { "gzip" };
    let (mut descriptors, mut names, mut size) = (Vec::new(), Vec::new(), 0);
    for layer in layers {
        let bytes = if zstd { &layer.zstd } else { &layer.gzip };
        let name = digest(bytes);
        registry.push_blob(repository, &name, bytes)?;
        size += bytes.len();
        descriptors.push(json!({
            "mediaType": format!("application/vnd.oci.image.layer.v1.tar+{form}"), "digest": name,
            "size": bytes.len(),
        }));
        names.push((name, layer.diff_id.clone()));
    }
    let diff_ids: Vec<_> = layers.iter().map(|layer| &layer.diff_id).collect();
    let config = json!({
        "architecture": architecture(), "os": "linux", "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = config.to_string().into_bytes();
    registry.push_blob(repository, &digest(&config), &config)?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": kind, "layers": descriptors,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()},
    });
    registry.push_manifest(repository, "1", kind, manifest.to_string().as_bytes())?;
    let title = format!("{} MiB of {form} in {} layers", size >> 20, layers.len());
    Ok(Pushed { title, repository, zstd, layers: names })
}
