//! The signatures of certificates that ring does not verify and registries have: P-521, and SHA-512 on shorter curves.
//! Only public values are computed with.

use p521::ecdsa::signature::hazmat::PrehashVerifier;
use rustls::SignatureScheme;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use std::sync::LazyLock;

/// Holds a key, a hash and a signature against each other.
type Verify = fn(&[u8], &[u8], &[u8]) -> Option<()>;

/// ECDSA on one curve with one hash.
#[derive(Debug)]
struct Ecdsa {
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    hash: fn(&[u8]) -> [u8; 64],
    verify: Verify,
}

impl SignatureVerificationAlgorithm for Ecdsa {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        (self.verify)(key, &(self.hash)(message), signature).ok_or(InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

macro_rules! verify_on {
    ($name:ident, $curve:ident) => {
        fn $name(key: &[u8], hash: &[u8], signature: &[u8]) -> Option<()> {
            let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
            let signature = $curve::ecdsa::Signature::from_der(signature).ok()?;
            key.verify_prehash(hash, &signature).ok()
        }
    };
}

verify_on!(on_p256, p256);
verify_on!(on_p384, p384);
verify_on!(on_p521, p521);

fn sha512(message: &[u8]) -> [u8; 64] {
    Sha512::digest(message).into()
}

/// With zeros in front, which leave the number as it is: the library takes no hash that is much shorter than the curve.
fn padded<const N: usize>(hash: [u8; N]) -> [u8; 64] {
    let mut padded = [0; 64];
    padded[64 - N..].copy_from_slice(&hash);
    padded
}

static P256_SHA512: Ecdsa =
    Ecdsa { key: alg_id::ECDSA_P256, signature: alg_id::ECDSA_SHA512, hash: sha512, verify: on_p256 };
static P384_SHA512: Ecdsa =
    Ecdsa { key: alg_id::ECDSA_P384, signature: alg_id::ECDSA_SHA512, hash: sha512, verify: on_p384 };
static P521_SHA256: Ecdsa = Ecdsa {
    key: alg_id::ECDSA_P521,
    signature: alg_id::ECDSA_SHA256,
    hash: |message| padded::<32>(Sha256::digest(message).into()),
    verify: on_p521,
};
static P521_SHA384: Ecdsa = Ecdsa {
    key: alg_id::ECDSA_P521,
    signature: alg_id::ECDSA_SHA384,
    hash: |message| padded::<48>(Sha384::digest(message).into()),
    verify: on_p521,
};
static P521_SHA512: Ecdsa =
    Ecdsa { key: alg_id::ECDSA_P521, signature: alg_id::ECDSA_SHA512, hash: sha512, verify: on_p521 };

type Algorithm = &'static dyn SignatureVerificationAlgorithm;

/// In the order of `SignatureScheme`'s own: TLS 1.3 tries the first of each alone.
static MORE: [(SignatureScheme, &[Algorithm]); 3] = [
    (SignatureScheme::ECDSA_NISTP521_SHA512, &[&P521_SHA512, &P384_SHA512, &P256_SHA512]),
    (SignatureScheme::ECDSA_NISTP384_SHA384, &[&P521_SHA384]),
    (SignatureScheme::ECDSA_NISTP256_SHA256, &[&P521_SHA256]),
];

/// ring's and these.
static ALGORITHMS: LazyLock<WebPkiSupportedAlgorithms> = LazyLock::new(|| {
    let ring = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let mut all = ring.all.to_vec();
    let mut mapping = Vec::new();
    for (scheme, algorithms) in ring.mapping {
        let more = MORE.iter().find(|(known, _)| known == scheme).map_or(&[][..], |(_, more)| more);
        // For the life of the process, once.
        mapping.push((*scheme, &*Box::leak([algorithms, more].concat().into_boxed_slice())));
    }
    let new = MORE.iter().filter(|(scheme, _)| !ring.mapping.iter().any(|(known, _)| known == scheme));
    mapping.extend(new.copied());
    for algorithm in MORE.iter().flat_map(|(_, algorithms)| *algorithms) {
        all.push(*algorithm);
    }
    WebPkiSupportedAlgorithms {
        all: Box::leak(all.into_boxed_slice()),
        mapping: Box::leak(mapping.into_boxed_slice()),
    }
});

/// ring, which knows these signatures too.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        signature_verification_algorithms: *ALGORITHMS,
        ..rustls::crypto::ring::default_provider()
    }
}
