//! The image of the chart: Corten's programs and files as a node has them, with `corten` to put them there.

use crate::error::{Context, Error};
use crate::image::{Image, Pushed};
use crate::rootfs::Rootfs;
use crate::{command, tools};
use serde_json::json;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Where the image has what a node is to have.
const PAYLOAD: &str = "payload";
const PROGRAM: &str = "usr/local/bin/corten";

/// The image of the programs of a directory that is laid out as `target/dist`.
///
/// # Errors
/// When they were not built.
pub fn image(programs: &Path) -> Result<Image, Error> {
    let program = tools::program(programs, "corten")?;
    let tree = tempfile::tempdir().at("make", "a directory")?;
    let mut install = Command::new(tools::repository().join("packaging/install.sh"));
    install.env("DESTDIR", tree.path()).env("PREFIX", "/usr/local").env("DIST", programs);
    command::run(&mut install, Duration::from_secs(60))?;
    // Documents are for people who look into a package.
    let share = tree.path().join("usr/local/share");
    fs::remove_dir_all(&share).at("remove", &share)?;
    let rootfs = add(Rootfs::default(), tree.path(), PAYLOAD)?;
    let rootfs = ["host", "proc", "sys", "dev", "run/corten-node", "settings", "tmp"]
        .iter()
        .fold(rootfs, |rootfs, directory| rootfs.directory(directory, 0o755));
    // What it is linked with; the program itself is there once.
    let rootfs = rootfs.libraries(&program)?.symlink("corten", &format!("/{PAYLOAD}/{PROGRAM}"));
    let config = json!({"Entrypoint": ["/corten"], "Cmd": ["version"], "User": "0:0"});
    Ok(Image { layers: vec![rootfs.layer()], config, ..Image::default() })
}

/// Writes an image as an archive that every tool for OCI images reads.
///
/// # Errors
/// When it cannot be written.
pub fn archive(image: &Image, name: &str, path: &Path) -> Result<(), Error> {
    let pushed = image.encode()?;
    let file = File::create(path).at("create", path)?;
    write(&pushed, name, file).at("write", path)
}

fn write(pushed: &Pushed, name: &str, file: File) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(file);
    let mut put = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, path, bytes)
    };
    put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": pushed.media_type, "digest": pushed.digest, "size": pushed.manifest.len(),
        "platform": {"os": "linux", "architecture": crate::image::architecture()},
        "annotations": {"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name},
    }]});
    put("index.json", index.to_string().as_bytes())?;
    let manifest = (pushed.digest.clone(), pushed.manifest.clone());
    for (digest, bytes) in pushed.blobs.iter().chain([&manifest]) {
        put(&format!("blobs/{}", digest.replace(':', "/")), bytes)?;
    }
    archive.finish()
}

/// Every file below a directory, in the order of names.
fn add(mut rootfs: Rootfs, directory: &Path, target: &str) -> Result<Rootfs, Error> {
    let mut entries =
        fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>).at("read", directory)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let target = format!("{target}/{}", name.to_string_lossy());
        let meta = entry.metadata().at("look at", &path)?;
        rootfs = if meta.is_dir() {
            add(rootfs.directory(&target, 0o755), &path, &target)?
        } else {
            let mode = meta.permissions().mode() & 0o777;
            rootfs.file(&target, mode, fs::read(&path).at("read", &path)?)
        };
    }
    Ok(rootfs)
}
