//! Pulls an image into a directory and tells the time: `pull DIRECTORY REFERENCE [USER:PASSWORD]`.

use image::{Credentials, ImageConfig, ImageStore};
use std::time::Instant;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: pull DIRECTORY REFERENCE [USER:PASSWORD]";
    let (directory, reference) = (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?);
    let credentials = arguments.next().and_then(|pair| {
        let (user, password) = pair.split_once(':')?;
        Some(Credentials { username: user.to_owned(), password: password.to_owned(), ..Default::default() })
    });
    let root = std::path::PathBuf::from(directory);
    let config = ImageConfig {
        certs_dir: root.join("certs.d").into(),
        root: root.join("images"),
        ..Default::default()
    };
    let store = ImageStore::open(config, &prometheus::Registry::new())?;
    let started = Instant::now();
    let id = store.pull(&reference, credentials).await?;
    let seconds = started.elapsed().as_secs_f64();
    let image = store.find(&id)?.ok_or("the image is not there")?;
    let usage = store.fs_usage();
    println!(
        "{id}: {} layers, {} MiB compressed, {} MiB and {} inodes unpacked, {seconds:.3} s",
        image.rootfs.directories().len(),
        image.size >> 20,
        usage.bytes >> 20,
        usage.inodes
    );
    Ok(())
}
