//! What is pushed.

use crate::Digest;
use std::io::Write as _;

/// Layers as `(compressed, content, media type's suffix)`.
pub(in super::super) type TestLayer = (Vec<u8>, Vec<u8>, &'static str);

pub(in super::super) fn gzip(content: &[u8]) -> TestLayer {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    (encoder.finish().unwrap(), content.to_vec(), "tar+gzip")
}

pub(in super::super) fn zstd(content: &[u8]) -> TestLayer {
    (zstd::encode_all(content, 3).unwrap(), content.to_vec(), "tar+zstd")
}

/// An image to put into the registry.
pub(in super::super) struct Pushed {
    pub(in super::super) layers: Vec<TestLayer>,
    pub(super) index: bool,
    /// Added to the sizes of the layers in the manifest.
    pub(super) claim: i64,
}

impl Pushed {
    pub(in super::super) fn claiming(mut self, more: i64) -> Self {
        self.claim = more;
        self
    }

    pub(in super::super) fn index(layers: Vec<TestLayer>) -> Self {
        Self { layers, index: true, claim: 0 }
    }

    pub(in super::super) fn manifest(layers: Vec<TestLayer>) -> Self {
        Self { layers, index: false, claim: 0 }
    }
}

/// What a pushed image is called.
pub(in super::super) struct Ids {
    pub top: Digest,
    pub config: Digest,
    pub size: u64,
}
