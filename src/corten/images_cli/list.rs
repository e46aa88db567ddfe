//! Lists for people.

use crate::admin::ImageView;
use client::table::{size, table};
use image::{DiskUsage, LayerPhase, Left, Loaded, LoadedImage, Pruned, PullProgress};

/// Digits of an id that tell images apart for people.
const SHORT: usize = 12;

pub(super) fn short(id: &str) -> String {
    id.rsplit(':').next().unwrap_or(id).chars().take(SHORT).collect()
}

fn mark(pinned: bool) -> String {
    if pinned { "pinned".to_owned() } else { String::new() }
}

/// `corten image ls`: a line a name.
pub(super) fn images(images: &[ImageView]) -> String {
    let mut rows = Vec::new();
    for image in images {
        let names = if image.tags.is_empty() { &image.digests } else { &image.tags };
        let names = if names.is_empty() { vec!["<none>".to_owned()] } else { names.clone() };
        for name in names {
            rows.push(vec![name, short(&image.id), size(image.size), mark(image.pinned)]);
        }
    }
    rows.sort();
    table(&["IMAGE", "ID", "COMPRESSED", ""], &rows)
}

/// `corten image df`.
pub(super) fn usage(usage: &DiskUsage) -> String {
    let rows: Vec<Vec<String>> = usage
        .images
        .iter()
        .map(|image| {
            let name = image.names.first().cloned().unwrap_or_else(|| "<none>".to_owned());
            let containers = image.containers.to_string();
            vec![
                name,
                short(&image.id),
                size(image.unique),
                size(image.shared),
                containers,
                mark(image.pinned),
            ]
        })
        .collect();
    let mut text = table(&["IMAGE", "ID", "UNIQUE", "SHARED", "CONTAINERS", ""], &rows);
    text.push_str(&format!(
        "\n{} in {}: layers {}, manifests and kept blobs {}, reserve for removing on a full disk {}; {} inodes\n",
        size(usage.total),
        usage.root.display(),
        size(usage.layers),
        size(usage.blobs),
        size(usage.reserve),
        usage.inodes,
    ));
    text
}

/// `corten image ps`.
pub(super) fn pulls(pulls: &[PullProgress]) -> String {
    let rows: Vec<Vec<String>> = pulls
        .iter()
        .map(|pull| {
            let (received, total) = pull
                .layers
                .iter()
                .fold((0, 0), |(received, total), layer| (received + layer.received, total + layer.size));
            let done = pull.layers.iter();
            let done =
                done.filter(|layer| matches!(layer.phase, LayerPhase::Done | LayerPhase::Cached)).count();
            let layers = format!("{done}/{}", pull.layers.len());
            let bytes = format!("{}/{}", size(received), size(total));
            vec![pull.reference.clone(), layers, bytes, format!("{:.0} s", pull.seconds)]
        })
        .collect();
    table(&["IMAGE", "LAYERS", "BYTES", "SINCE"], &rows)
}

/// `corten image load`.
pub(super) fn loaded(loaded: &Loaded) -> String {
    let line =
        |image: &LoadedImage| format!("{} {}", image.id, image.names.join(" ")).trim_end().to_owned() + "\n";
    let left = |left: &Left| format!("left {}: {}\n", left.what, left.why);
    loaded.images.iter().map(line).chain(loaded.left.iter().map(left)).collect()
}

/// `corten image prune`.
pub(super) fn pruned(pruned: &Pruned) -> String {
    let mut text: String = pruned.images.iter().map(|id| format!("{id}\n")).collect();
    let removed = engine::counted(pruned.images.len(), "image");
    text.push_str(&format!("{removed} removed, {} given back\n", size(pruned.bytes)));
    text
}
