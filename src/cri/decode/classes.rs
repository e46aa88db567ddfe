//! Classes of block I/O and of cache and memory bandwidth (RDT), which annotations ask for.

use super::{DecodeError, Field};
use model::{ContainerConfig, SandboxConfig};

/// What a class is of, the annotation of a container that names one, and the beginning of those of a pod: behind it
/// `/pod`, or `/container.` and a name.
const KINDS: [(&str, &str, &str); 2] = [
    ("block I/O", "io.kubernetes.cri.blockio-class", "blockio.resources.beta.kubernetes.io"),
    ("RDT", "io.kubernetes.cri.rdt-class", "rdt.resources.beta.kubernetes.io"),
];

/// Refuses a class for the container. As containerd where no classes are configured: a container that is to be held back
/// must not run as if nothing had been said.
pub(super) fn check(container: &ContainerConfig, pod: &SandboxConfig) -> Result<(), DecodeError> {
    for (what, own, prefix) in KINDS {
        let of_container = format!("{prefix}/container.{}", container.metadata.name);
        let asked = [
            ("config", own.to_owned(), &container.annotations),
            ("sandbox_config", of_container, &pod.annotations),
            ("sandbox_config", format!("{prefix}/pod"), &pod.annotations),
        ];
        for (message, key, annotations) in asked {
            if annotations.get(&key).is_some_and(|class| !class.is_empty()) {
                let problem = format!("there are no {what} classes");
                return Err(Field::root(message).child("annotations").key(&key).invalid(problem));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_refused_for_whom_it_is_meant() {
        let named = |annotations: &[(&str, &str)]| {
            annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let mut container = ContainerConfig::default();
        container.metadata.name = "main".to_owned();
        let mut pod = SandboxConfig::default();
        assert_eq!(check(&container, &pod), Ok(()));
        for key in [
            "blockio.resources.beta.kubernetes.io/pod",
            "blockio.resources.beta.kubernetes.io/container.main",
            "rdt.resources.beta.kubernetes.io/pod",
            "rdt.resources.beta.kubernetes.io/container.main",
        ] {
            pod.annotations = named(&[(key, "slow")]);
            let error = check(&container, &pod).unwrap_err().to_string();
            assert!(error.starts_with("sandbox_config.annotations") && error.contains(key), "{error}");
        }
        pod.annotations = named(&[
            ("rdt.resources.beta.kubernetes.io/container.other", "slow"),
            ("blockio.resources.beta.kubernetes.io/pod", ""),
        ]);
        assert_eq!(check(&container, &pod), Ok(()));
        container.annotations = named(&[("io.kubernetes.cri.rdt-class", "slow")]);
        let error = check(&container, &pod).unwrap_err().to_string();
        assert!(error.starts_with("config.annotations") && error.contains("rdt-class"), "{error}");
    }
}
