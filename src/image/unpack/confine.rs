//! What threads that read a layer may do beside their work, which is little: whoever sent the layer is a stranger.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Once;
use sys::confine::{Given, Work, thread};

/// The calling thread computes from here on, on descriptors that it has.
pub(super) fn to_computing() {
    tell(thread(Work::Computing));
}

/// The calling thread works in `directory` from here on, and reads files of `source`.
///
/// # Errors
/// One of the two cannot be opened.
pub(super) fn to_filling(directory: &Path, source: Option<&Path>) -> std::io::Result<()> {
    let directory = File::open(directory)?;
    let source = source.map(File::open).transpose()?;
    let source = source.as_ref().map(|source| source.as_fd());
    tell(thread(Work::Filling { directory: directory.as_fd(), source }));
    Ok(())
}

/// Layers can be unpacked without; once is often enough to know it.
fn tell(given: sys::SysResult<Given>) {
    static TOLD: Once = Once::new();
    match given {
        Ok(Given { files: true, calls: true }) => {}
        Ok(Given { files, calls }) => TOLD.call_once(|| {
            tracing::info!(
                landlock = files,
                seccomp = calls,
                "this kernel cannot confine the threads that unpack layers"
            );
        }),
        Err(error) => TOLD.call_once(|| {
            tracing::warn!(%error, "cannot confine the threads that unpack layers");
        }),
    }
}
