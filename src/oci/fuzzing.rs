//! Entry points for the fuzz targets of `e2e/fuzz`; compiled for them only.

use crate::caps::default_set;
use crate::{cdi, seccomp};
use oci_spec::runtime::Spec;
use std::path::{Component, Path};

/// A file of the Container Device Interface, and each of its devices given to a container: what it adds has places inside
/// of the container's root, and variables have names.
///
/// # Panics
/// When it has not.
pub fn cdi(bytes: &[u8]) {
    for spec in cdi::each(bytes, &Spec::default()) {
        for mount in spec.mounts().iter().flatten() {
            assert!(is_inside(mount.destination()), "{:?}", mount.destination());
        }
        for device in spec.linux().iter().flat_map(|linux| linux.devices().iter().flatten()) {
            assert!(is_inside(device.path()), "{:?}", device.path());
        }
        for pair in spec.process().iter().flat_map(|process| process.env().iter().flatten()) {
            assert!(!pair.starts_with('=') && pair.contains('=') && !pair.contains('\0'), "{pair:?}");
        }
    }
}

fn is_inside(path: &Path) -> bool {
    path.is_absolute() && path.components().all(|part| part != Component::ParentDir)
}

/// A system call profile in the OCI form or Docker's: what compiles is a program that the kernel takes.
///
/// # Panics
/// When it is not.
pub fn seccomp(bytes: &[u8]) {
    if let Some(program) = seccomp::compile(bytes, default_set()) {
        assert!(program.len() <= 4096, "{} instructions", program.len());
        for (at, [code, jt, jf, k]) in program.iter().enumerate() {
            let furthest = match code & 7 {
                // Jumps, of which the one without a condition has its distance in `k`.
                5 if *code == 5 => *k,
                5 => *jt.max(jf),
                6 => continue,
                _ => 0,
            };
            let target = at + 1 + usize::try_from(furthest).unwrap_or(usize::MAX >> 1);
            assert!(target < program.len(), "instruction {at} leads to {target} of {}", program.len());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::caps::default_set;
    use crate::{cdi, seccomp};
    use oci_spec::runtime::Spec;

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let seeds =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/fuzz/seeds").join(target);
        std::fs::read_dir(seeds).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    #[test]
    fn the_seeds_are_taken_by_what_they_are_for() {
        let mut devices = 0;
        for seed in seeds("cdi") {
            devices += cdi::each(&seed, &Spec::default()).len();
            super::cdi(&seed);
        }
        assert!(devices >= 3, "{devices} devices");
        for seed in seeds("seccomp") {
            assert!(seccomp::compile(&seed, default_set()).is_some(), "{}", String::from_utf8_lossy(&seed));
            super::seccomp(&seed);
        }
    }

    #[test]
    fn anything_is_taken() {
        for bytes in [&b""[..], b"{}", b"[", b"a: b", &[0xff; 100], b"{\"defaultAction\":\"SCMP_ACT_ALLOW\"}"]
        {
            super::cdi(bytes);
            super::seccomp(bytes);
        }
    }
}
