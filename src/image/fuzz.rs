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

/// A compressed layer: the same comes out however its bytes come in, and of what another decoder takes, too, the same as
/// there. The first byte is the size of the pieces.
///
/// # Panics
/// When it does not.
pub fn gzip(bytes: &[u8]) {
    const LIMIT: u64 = 1 << 20;
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let (whole, outcome) = unpack::inflate(bytes, bytes.len().max(1), LIMIT);
    let (pieces, other) = unpack::inflate(bytes, usize::from(*piece).max(1), LIMIT);
    let kind = |outcome: &std::io::Result<()>| outcome.as_ref().err().map(std::io::Error::kind);
    assert_eq!(kind(&outcome), kind(&other), "pieces of {piece}");
    // What comes before an error may be more or less of it.
    assert!(outcome.is_err() || whole == pieces, "pieces of {piece}");
    let mut judged = Vec::new();
    let judge = flate2::bufread::MultiGzDecoder::new(bytes);
    if std::io::Read::read_to_end(&mut std::io::Read::take(judge, LIMIT), &mut judged).is_ok() {
        assert!(outcome.is_ok() && whole == judged, "another decoder takes it: {outcome:?}");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    type Target = (&'static str, fn(&[u8]));

    const TARGETS: [Target; 7] = [
        ("reference", super::reference),
        ("manifest", super::manifest),
        ("config", super::config),
        ("challenge", super::challenge),
        ("hosts", super::hosts),
        ("tar", super::tar),
        ("gzip", super::gzip),
    ];

    #[test]
    fn the_entry_points_take_anything() {
        let zeros = [0u8; 1024];
        for bytes in [&b""[..], b"busybox", b"{}", b"Bearer realm=\"x\"", b"server = 1", &zeros, &[0xff; 600]]
        {
            TARGETS.iter().for_each(|(_, target)| target(bytes));
        }
    }

    #[test]
    fn the_entry_points_take_the_seeds() {
        for (name, target) in TARGETS {
            let seeds =
                std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/fuzz/seeds").join(name);
            let files: Vec<_> = std::fs::read_dir(&seeds).unwrap().map(|file| file.unwrap().path()).collect();
            assert!(!files.is_empty(), "{}", seeds.display());
            files.iter().for_each(|file| target(&std::fs::read(file).unwrap()));
        }
    }
}
