//! Entry points for fuzzing: each takes any bytes, must not panic, and may only use memory in proportion to them.
//!
//! They reach the parsers of what strangers send: clients (references), registries (documents, headers), images
//! (layers), and of one file that operators write by hand (`hosts.toml`).

use crate::manifest;
use crate::reference::Reference;
use crate::registry::challenge;
use crate::unpack;
use std::path::Path;

/// An image reference; one that is taken must survive printing and parsing again.
///
/// # Panics
/// When it does not: that is the finding.
pub fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(reference) = Reference::parse(text) {
        assert_eq!(Reference::parse(&reference.to_string()).as_ref(), Ok(&reference), "{text:?}");
    }
}

/// An index or manifest under every media type that a server may announce, the image of this machine chosen from it.
pub fn manifest(bytes: &[u8]) {
    for announced in
        ["", "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"]
    {
        if let Ok(manifest::Parsed::Index(entries)) = manifest::parse(bytes, announced) {
            let _ = manifest::select(&manifest::Platform::host(), &entries);
        }
    }
}

/// The config of an image.
pub fn config(bytes: &[u8]) {
    let _ = manifest::parse_config(bytes);
}

/// A `WWW-Authenticate` header.
pub fn challenge(bytes: &[u8]) {
    let _ = challenge::choose(std::iter::once(bytes));
}

/// A `hosts.toml`. No file that it names is opened.
pub fn hosts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = crate::hosts::parse_text(
        Path::new("/etc/corten/certs.d/registry.test/hosts.toml"),
        text,
        "registry.test",
    );
}

/// An uncompressed layer: headers, GNU and PAX extensions, contents. Nothing is written.
pub fn tar(bytes: &[u8]) {
    unpack::read_through(bytes);
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_entry_points_take_anything() {
        let zeros = [0u8; 1024];
        for bytes in [&b""[..], b"busybox", b"{}", b"Bearer realm=\"x\"", b"server = 1", &zeros, &[0xff; 600]]
        {
            for target in
                [super::reference, super::manifest, super::config, super::challenge, super::hosts, super::tar]
            {
                target(bytes);
            }
        }
    }
}
