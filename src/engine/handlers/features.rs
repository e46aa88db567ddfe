//! What a runtime says that it can do.

use serde::Deserialize;

/// What is of interest in the output of a runtime's command `features`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Features {
    /// It knows the mount option `rro`.
    pub(crate) recursive_read_only: bool,
    /// It runs containers in user namespaces.
    pub(crate) user_namespaces: bool,
    /// It shows the owners of a mount through a mapping.
    pub(crate) idmapped_mounts: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    mount_options: Option<Vec<String>>,
    #[serde(default)]
    linux: Option<Linux>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Linux {
    namespaces: Option<Vec<String>>,
    mount_extensions: Option<MountExtensions>,
}

#[derive(Deserialize)]
struct MountExtensions {
    #[serde(default)]
    idmap: Option<Extension>,
}

#[derive(Deserialize)]
struct Extension {
    #[serde(default)]
    enabled: Option<bool>,
}

impl Features {
    /// Pods with user namespaces work, with their volumes.
    pub(crate) fn runs_user_namespaces(self) -> bool {
        self.user_namespaces && self.idmapped_mounts
    }

    /// Reads the document; what cannot be read says nothing, as of a runtime that has no such command.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let Ok(document) = serde_json::from_slice::<Document>(text) else { return Self::default() };
        let has = |list: &Option<Vec<String>>, name: &str| list.iter().flatten().any(|one| one == name);
        let linux = document.linux.unwrap_or_default();
        let idmap = linux.mount_extensions.and_then(|extensions| extensions.idmap);
        Self {
            recursive_read_only: has(&document.mount_options, "rro"),
            user_namespaces: has(&linux.namespaces, "user"),
            idmapped_mounts: idmap.and_then(|idmap| idmap.enabled).unwrap_or(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Features;

    #[test]
    fn what_is_not_said_is_not_there() {
        let said = |text: &str| Features::parse(text.as_bytes());
        assert!(said(r#"{"ociVersionMin":"1.0.0","mountOptions":["ro","rro"]}"#).recursive_read_only);
        for nothing in
            [r#"{"mountOptions":["ro"]}"#, r#"{"mountOptions":null,"linux":null}"#, "no such command"]
        {
            assert_eq!(said(nothing), Features::default(), "{nothing}");
        }
        let runc =
            said(r#"{"linux":{"namespaces":["mount","user"],"mountExtensions":{"idmap":{"enabled":true}}}}"#);
        assert!(runc.user_namespaces && runc.idmapped_mounts && !runc.recursive_read_only);
        let older = said(r#"{"linux":{"namespaces":["user"],"mountExtensions":{"idmap":null}}}"#);
        assert!(older.user_namespaces && !older.idmapped_mounts);
    }
}
