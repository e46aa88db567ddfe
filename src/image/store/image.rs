//! An image as clients see it.

use crate::manifest::RunConfig;
use crate::reference::Reference;
use model::Rootfs;

/// An image as clients see it. Its id is the digest of its config, everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…` of the config.
    pub id: String,
    /// `registry/repository:tag`; none for an image whose tags moved on.
    pub repo_tags: Vec<String>,
    /// `registry/repository@sha256:…`.
    pub repo_digests: Vec<String>,
    /// Bytes of the config and of the layers as the registry has them (compressed), as containerd counts.
    pub size: u64,
    /// Whether the kubelet's garbage collection shall leave it alone.
    pub pinned: bool,
    /// How it wants to be run.
    pub config: RunConfig,
    /// `amd64` and the like, as the config says it.
    pub architecture: String,
    /// When it was made, as the config says it.
    pub created: String,
    /// Its files.
    pub rootfs: Rootfs,
    /// The config document, verbatim.
    pub config_json: String,
}

impl Image {
    /// What people know it by: its tags, or its digests where none is left, or its id.
    pub fn names(&self) -> &[String] {
        match (self.repo_tags.as_slice(), self.repo_digests.as_slice()) {
            ([], []) => std::slice::from_ref(&self.id),
            ([], digests) => digests,
            (tags, _) => tags,
        }
    }

    /// Its repository digest in the repository that one of these names asks for, earlier ones first; else its first
    /// one, else its id.
    pub fn reference_for(&self, names: &[&str]) -> &str {
        let of = |name: &&str| {
            let name = Reference::parse(name).ok()?;
            let repository = format!("{}/{}@", name.registry(), name.repository());
            let whole = name.digest().map(|digest| format!("{repository}{digest}"));
            let mut there = self.repo_digests.iter().filter(|known| known.starts_with(&repository));
            there.clone().find(|known| Some(*known) == whole.as_ref()).or_else(|| there.next())
        };
        names.iter().find_map(of).or(self.repo_digests.first()).unwrap_or(&self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_of_the_repository_that_was_asked_for() {
        let digest = |digit: char| format!("sha256:{}", digit.to_string().repeat(64));
        let (one, two) = (digest('1'), digest('2'));
        let image = Image {
            id: digest('0'),
            repo_tags: Vec::new(),
            repo_digests: vec![
                format!("a.test/app@{one}"),
                format!("b.test/app@{one}"),
                format!("b.test/app@{two}"),
                format!("docker.io/library/app@{one}"),
            ],
            size: 0,
            pinned: false,
            config: RunConfig::default(),
            architecture: String::new(),
            created: String::new(),
            rootfs: Rootfs::Layers(Vec::new()),
            config_json: String::new(),
        };
        for (names, expected) in [
            (["b.test/app:1", ""], format!("b.test/app@{one}")),
            ([&image.id, "b.test/app:1"], format!("b.test/app@{one}")),
            ([&format!("b.test/app@{two}"), ""], format!("b.test/app@{two}")),
            (["app", ""], format!("docker.io/library/app@{one}")),
            ([&image.id, ""], format!("a.test/app@{one}")),
            (["c.test/app", "x y"], format!("a.test/app@{one}")),
        ] {
            assert_eq!(image.reference_for(&names), expected, "{names:?}");
        }
        let bare = Image { repo_digests: Vec::new(), ..image };
        assert_eq!(bare.reference_for(&["b.test/app:1"]), bare.id);
    }
}
