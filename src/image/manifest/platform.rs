//! Which image of an index is for this machine.

use super::{Descriptor, ManifestError};
use serde::Deserialize;

/// The platform that an index names for an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct Platform {
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub variant: Option<String>,
}

impl Platform {
    /// This machine, with the highest variant that its processor has.
    pub(crate) fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", amd64_level().map(|level| format!("v{level}"))),
            "aarch64" => ("arm64", Some("v8".to_owned())),
            "arm" => ("arm", Some("v7".to_owned())),
            "x86" => ("386", None),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant }
    }

    /// As others would write it: what is missing is this machine's, and names have several spellings.
    fn normalised(&self, host: &Self) -> Self {
        let os = match self.os.to_lowercase() {
            os if os.is_empty() => host.os.clone(),
            os => os,
        };
        let variant = self.variant.as_deref().unwrap_or_default().to_lowercase();
        let (architecture, variant) = match (self.architecture.to_lowercase().as_str(), variant.as_str()) {
            ("", _) => (host.architecture.clone(), variant.as_str()),
            ("i386", _) => ("386".to_owned(), ""),
            ("x86_64" | "x86-64", _) => ("amd64".to_owned(), variant.as_str()),
            ("aarch64" | "arm64", "8") => ("arm64".to_owned(), "v8"),
            ("aarch64", _) => ("arm64".to_owned(), variant.as_str()),
            ("armhf", _) => ("arm".to_owned(), "v7"),
            ("armel", _) => ("arm".to_owned(), "v6"),
            ("arm", "5") => ("arm".to_owned(), "v5"),
            ("arm", "6") => ("arm".to_owned(), "v6"),
            ("arm", "7") => ("arm".to_owned(), "v7"),
            ("arm", "8") => ("arm".to_owned(), "v8"),
            (other, _) => (other.to_owned(), variant.as_str()),
        };
        let variant = Some(variant.to_owned()).filter(|variant| !variant.is_empty());
        Self { os, architecture, variant }
    }

    /// How well an image of the platform runs on `self`: higher is better, `None` is not at all. What a processor runs
    /// beside its own comes last.
    pub(crate) fn fits(&self, image: &Self) -> Option<u32> {
        let image = image.normalised(self);
        if image.os != self.os {
            return None;
        }
        if image.architecture == self.architecture {
            // No variant means the architecture's baseline.
            let baseline = baseline(&self.architecture);
            let wanted = level(image.variant.as_deref()).unwrap_or(Some(baseline))?;
            let have = level(self.variant.as_deref()).flatten().unwrap_or(baseline);
            return (wanted <= have).then_some(OWN + wanted);
        }
        match (self.architecture.as_str(), image.architecture.as_str()) {
            ("amd64", "386") => Some(0),
            ("arm64", "arm") => {
                let wanted = level(image.variant.as_deref()).unwrap_or(Some(baseline("arm")))?;
                (wanted <= baseline("arm64")).then_some(wanted)
            }
            _ => None,
        }
    }

    /// What runs on this machine, in words: every variant up to its own.
    pub(crate) fn wanted(&self) -> String {
        let plain = format!("{}/{}", self.os, self.architecture);
        match self.variant.as_deref() {
            None | Some("" | "v1") => plain,
            Some(variant) => format!("{plain} (any variant up to {variant})"),
        }
    }

    pub(crate) fn text(&self) -> String {
        match self.variant.as_deref() {
            None | Some("") => format!("{}/{}", self.os, self.architecture),
            Some(variant) => format!("{}/{}/{variant}", self.os, self.architecture),
        }
    }
}

/// What the variant counts for less than: an image for the processor itself.
const OWN: u32 = 1000;

fn baseline(architecture: &str) -> u32 {
    match architecture {
        "arm" => 7,
        "arm64" => 8,
        _ => 1,
    }
}

/// The number of a variant; the outer `None` means that there is none, the inner that it is no number.
fn level(variant: Option<&str>) -> Option<Option<u32>> {
    match variant {
        None | Some("") => None,
        Some(variant) => Some(variant.strip_prefix('v').and_then(|number| number.parse().ok())),
    }
}

#[cfg(target_arch = "x86_64")]
fn amd64_level() -> Option<u32> {
    let v2 = std::arch::is_x86_feature_detected!("sse4.2")
        && std::arch::is_x86_feature_detected!("ssse3")
        && std::arch::is_x86_feature_detected!("popcnt")
        && std::arch::is_x86_feature_detected!("cmpxchg16b");
    let v3 = v2
        && std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("bmi1")
        && std::arch::is_x86_feature_detected!("bmi2")
        && std::arch::is_x86_feature_detected!("f16c")
        && std::arch::is_x86_feature_detected!("fma")
        && std::arch::is_x86_feature_detected!("lzcnt")
        && std::arch::is_x86_feature_detected!("movbe");
    Some(1 + u32::from(v2) + u32::from(v3))
}

#[cfg(not(target_arch = "x86_64"))]
fn amd64_level() -> Option<u32> {
    None
}

/// The entry of an index for the machine: the highest variant that runs, the first of equals. What is no image of its
/// own, by its type, is passed over; one that names no platform is taken where nothing else fits, as its config is
/// looked at later.
///
/// # Errors
/// When nothing runs here: with everything that there is.
pub(crate) fn select<'a>(
    host: &Platform,
    entries: &'a [Descriptor],
) -> Result<&'a Descriptor, ManifestError> {
    let mut best: Option<(u32, &Descriptor)> = None;
    let images = || entries.iter().filter(|entry| super::may_be_image(&entry.media_type));
    for entry in images() {
        let Some(fit) = entry.platform.as_ref().and_then(|platform| host.fits(platform)) else { continue };
        if best.is_none_or(|(most, _)| fit > most) {
            best = Some((fit, entry));
        }
    }
    let unnamed = || images().find(|entry| entry.platform.is_none());
    best.map(|(_, entry)| entry).or_else(unnamed).ok_or_else(|| {
        let named = images().filter_map(|entry| entry.platform.as_ref());
        let mut available: Vec<String> =
            named.filter(|platform| platform.os != "unknown").map(Platform::text).collect();
        available.sort();
        available.dedup();
        available.truncate(32);
        ManifestError::NoPlatform { wanted: host.wanted(), available }
    })
}

/// Why an entry of an index was not the one that [`select`] chose.
pub(crate) fn passed_over(host: &Platform, entry: &Descriptor) -> ManifestError {
    match &entry.platform {
        _ if !super::may_be_image(&entry.media_type) => {
            ManifestError::MediaType(super::shown(&entry.media_type))
        }
        Some(platform) if host.fits(platform).is_none() => {
            ManifestError::NoPlatform { wanted: host.wanted(), available: vec![platform.text()] }
        }
        _ => ManifestError::Beaten,
    }
}
