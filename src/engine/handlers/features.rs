//! What a runtime says that it can do.

use serde::Deserialize;

/// What is of interest in the output of a runtime's command `features`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Features {
    /// It knows the mount option `rro`.
    pub(crate) recursive_read_only: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    mount_options: Option<Vec<String>>,
}

impl Features {
    /// Reads the document; what cannot be read says nothing, as of a runtime that has no such command.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let options =
            serde_json::from_slice::<Document>(text).ok().and_then(|document| document.mount_options);
        Self { recursive_read_only: options.is_some_and(|options| options.iter().any(|one| one == "rro")) }
    }
}

#[cfg(test)]
mod tests {
    use super::Features;

    #[test]
    fn what_is_not_said_is_not_there() {
        let said = |text: &str| Features::parse(text.as_bytes()).recursive_read_only;
        assert!(said(r#"{"ociVersionMin":"1.0.0","mountOptions":["ro","rro"]}"#));
        assert!(!said(r#"{"mountOptions":["ro"]}"#));
        assert!(!said(r#"{"mountOptions":null}"#));
        assert!(!said("no such command"));
    }
}
