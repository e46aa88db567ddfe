//! Which references may be pulled: asked before a pull contacts anybody.
//!
//! The hook for signatures too, once they are verified; the reason `SignatureValidationFailed` of the CRI is
//! reserved for that and never used for what is refused here.

use crate::config::ImageConfig;
use crate::glob;
use crate::reference::Reference;

/// Why the settings refuse a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Only a digest will do there.
    #[error("the setting images.require_digest ({pattern:?}) takes a digest only, as in {name}@sha256:…")]
    DigestRequired {
        /// The pattern that fits.
        pattern: String,
        /// Registry and repository.
        name: String,
    },
    /// The tag is not to be pulled.
    #[error("the setting images.refuse_tags ({pattern:?}) does not allow it")]
    TagRefused {
        /// The pattern that fits.
        pattern: String,
    },
}

/// Asks the settings.
///
/// # Errors
/// When one of them refuses the reference; the error names it.
pub(crate) fn check(config: &ImageConfig, reference: &Reference) -> Result<(), PolicyError> {
    if reference.digest().is_some() {
        return Ok(());
    }
    let name = reference.name();
    if let Some(pattern) = config.require_digest.iter().find(|pattern| glob::matches(pattern, &name)) {
        return Err(PolicyError::DigestRequired { pattern: pattern.clone(), name });
    }
    let tagged = reference.to_string();
    match config.refuse_tags.iter().find(|pattern| glob::matches(pattern, &tagged)) {
        Some(pattern) => Err(PolicyError::TagRefused { pattern: pattern.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_refused_by_registry_and_by_name() {
        let config = ImageConfig {
            require_digest: vec!["prod.example/*".into()],
            refuse_tags: vec!["*:latest".into()],
            ..Default::default()
        };
        let digest = format!("sha256:{}", "0".repeat(64));
        for (text, allowed) in [
            ("prod.example/app:v1".to_owned(), false),
            (format!("prod.example/app@{digest}"), true),
            ("busybox".to_owned(), false),
            ("busybox:1".to_owned(), true),
            (format!("busybox@{digest}"), true),
        ] {
            assert_eq!(check(&config, &Reference::parse(&text).unwrap()).is_ok(), allowed, "{text}");
        }
    }
}
