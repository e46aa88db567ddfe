//! Overlays: layers below a writable directory, or read-only.

use super::{Context, FSCONFIG_SET_FLAG, READ_ONLY, classic};
use crate::fd::{as_path, c_string, check};
use crate::{SysError, SysResult};
use std::os::fd::OwnedFd;

impl Context {
    fn layers(&self, layers: &[Vec<u8>]) -> SysResult<()> {
        layers.iter().try_for_each(|layer| {
            self.string(b"lowerdir+", layer)
                .map_err(|error| SysError::new("add layer", as_path(layer), error.errno))
        })
    }

    fn label(&self, label: &[u8]) -> SysResult<()> {
        if label.is_empty() { Ok(()) } else { self.string(b"context", label) }
    }
}

/// The directory that holds all of these, as far as their names tell.
pub fn common_directory(paths: &[Vec<u8>]) -> &[u8] {
    let base = shared_directory(paths);
    if base.is_empty() { b"/" } else { base }
}

/// An overlay, not attached yet: layers top first. Its writes are never synced (`volatile`): a container's
/// writable layer does not outlive a crash of the host. All its files have the label (SELinux), if there is one.
///
/// # Errors
/// The kernel's: before Linux 6.7 there is no `lowerdir+`, which shows as `EINVAL`.
pub fn overlay(layers: &[Vec<u8>], upper: &[u8], work: &[u8], label: &[u8]) -> SysResult<OwnedFd> {
    let context = Context::new(b"overlay")?;
    context.string(b"source", b"overlay")?;
    context.layers(layers)?;
    context.string(b"upperdir", upper)?;
    context.string(b"workdir", work)?;
    context.string(b"index", b"off")?;
    context.string(b"metacopy", b"off")?;
    context.config(FSCONFIG_SET_FLAG, Some(b"volatile"), None)?;
    context.label(label)?;
    context.finish(b"overlay", 0)
}

/// An overlay without a writable layer, not attached yet: layers top first, two at least.
///
/// # Errors
/// As [`overlay`].
pub fn overlay_read_only(layers: &[Vec<u8>], label: &[u8]) -> SysResult<OwnedFd> {
    let context = Context::new(b"overlay")?;
    context.string(b"source", b"overlay")?;
    context.layers(layers)?;
    context.label(label)?;
    context.finish(b"overlay", READ_ONLY)
}

/// The same overlay with mount(2), attached at `target`. All options must fit in one page, so the layers are
/// named relative to the directory that they share; the working directory of the process is changed.
///
/// # Errors
/// The kernel's; `E2BIG` when the options do not fit.
pub fn overlay_read_only_classic(layers: &[Vec<u8>], target: &[u8], label: &[u8]) -> SysResult<()> {
    let mut data = lower_option(layers)?;
    label_option(label, &mut data);
    if data.len() >= 4096 {
        return Err(SysError::new("mount overlay", as_path(target), libc::E2BIG));
    }
    classic(b"overlay", target, b"overlay", libc::MS_RDONLY, &data)
}

/// The same overlay as [`overlay`] makes, with mount(2), attached at `target`. All options must fit in one page, so
/// the layers are named relative to the directory that they share; the working directory of the process is changed.
///
/// # Errors
/// The kernel's; `E2BIG` when the options do not fit.
pub fn overlay_classic(
    layers: &[Vec<u8>],
    upper: &[u8],
    work: &[u8],
    target: &[u8],
    label: &[u8],
) -> SysResult<()> {
    let mut data = lower_option(layers)?;
    data.extend_from_slice(b",upperdir=");
    escape(upper, &mut data);
    data.extend_from_slice(b",workdir=");
    escape(work, &mut data);
    data.extend_from_slice(b",index=off");
    label_option(label, &mut data);
    if data.len() >= 4096 {
        return Err(SysError::new("mount overlay", as_path(target), libc::E2BIG));
    }
    let mut volatile = data.clone();
    volatile.extend_from_slice(b",volatile");
    match classic(b"overlay", target, b"overlay", 0, &volatile) {
        Err(error) if error.errno == libc::EINVAL => classic(b"overlay", target, b"overlay", 0, &data),
        other => other,
    }
}

/// mount(2) takes quotes around the label's commas.
fn label_option(label: &[u8], data: &mut Vec<u8>) {
    if !label.is_empty() {
        data.extend([b",context=\"", label, b"\""].concat());
    }
}

/// The option that names the layers relative to the directory that they share, which becomes the working directory.
fn lower_option(layers: &[Vec<u8>]) -> SysResult<Vec<u8>> {
    let base = shared_directory(layers);
    let directory = common_directory(layers);
    let name = c_string("chdir", directory)?;
    // SAFETY: the name is terminated.
    check("chdir", directory, unsafe { libc::chdir(name.as_ptr()) }.into())?;
    let mut data = b"lowerdir=".to_vec();
    for (index, layer) in layers.iter().enumerate() {
        if index > 0 {
            data.push(b':');
        }
        escape(layer.get(base.len()..).unwrap_or_default(), &mut data);
    }
    Ok(data)
}

/// The longest directory, with its final slash, that all the paths lie in.
fn shared_directory(paths: &[Vec<u8>]) -> &[u8] {
    let Some((first, others)) = paths.split_first() else { return b"" };
    let shared = others.iter().fold(first.len(), |length, path| {
        first.iter().zip(path).take(length).take_while(|(a, b)| a == b).count()
    });
    let slash = first.iter().take(shared).rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    first.get(..slash).unwrap_or_default()
}

fn escape(path: &[u8], out: &mut Vec<u8>) {
    for byte in path {
        if matches!(byte, b':' | b',' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_named_relative_to_what_they_share() {
        let paths = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>();
        assert_eq!(shared_directory(&paths(&["/a/layers/12", "/a/layers/13"])), b"/a/layers/");
        assert_eq!(shared_directory(&paths(&["/a/12", "/b/13"])), b"/");
        assert_eq!(shared_directory(&paths(&["/a/one"])), b"/a/");
        assert_eq!(shared_directory(&[]), b"");
    }

    #[test]
    fn separators_in_paths_are_escaped() {
        let mut out = Vec::new();
        escape(b"/a:b,c\\d", &mut out);
        assert_eq!(out, b"/a\\:b\\,c\\\\d");
    }
}
