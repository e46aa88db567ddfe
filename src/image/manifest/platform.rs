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

    /// How well an image of the platform runs on `self`: higher is better, `None` is not at all.
    pub(crate) fn fits(&self, image: &Self) -> Option<u32> {
        if image.os != self.os || image.architecture != self.architecture {
            return None;
        }
        // No variant means the architecture's baseline.
        let baseline = match self.architecture.as_str() {
            "arm" => 7,
            "arm64" => 8,
            _ => 1,
        };
        let wanted = level(image.variant.as_deref()).unwrap_or(Some(baseline))?;
        let have = level(self.variant.as_deref()).flatten().unwrap_or(baseline);
        (wanted <= have).then_some(wanted)
    }

    pub(crate) fn text(&self) -> String {
        match self.variant.as_deref() {
            None | Some("") => format!("{}/{}", self.os, self.architecture),
            Some(variant) => format!("{}/{}/{variant}", self.os, self.architecture),
        }
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

/// The entry of an index for the machine: the highest variant that runs, the first of equals.
///
/// # Errors
/// When nothing runs here: with everything that there is.
pub(crate) fn select<'a>(
    host: &Platform,
    entries: &'a [Descriptor],
) -> Result<&'a Descriptor, ManifestError> {
    let mut best: Option<(u32, &Descriptor)> = None;
    for entry in entries {
        let Some(fit) = entry.platform.as_ref().and_then(|platform| host.fits(platform)) else { continue };
        if best.is_none_or(|(most, _)| fit > most) {
            best = Some((fit, entry));
        }
    }
    // An index of one image need not name its platform; the config is checked later.
    let unnamed = || match entries {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    };
    best.map(|(_, entry)| entry).or_else(unnamed).ok_or_else(|| {
        let mut available: Vec<String> = entries
            .iter()
            .filter_map(|entry| entry.platform.as_ref())
            .filter(|platform| platform.os != "unknown")
            .map(Platform::text)
            .collect();
        available.sort();
        available.dedup();
        available.truncate(32);
        if available.is_empty() {
            available.push("none".to_owned());
        }
        ManifestError::NoPlatform { wanted: host.text(), available }
    })
}
