//! What changes a spec after the request and before the plan: vendors and plugins, one behind the other.

use crate::error::{OciError, OciResult};
use model::{ContainerConfig, ContainerId, SandboxConfig, SandboxId};
use oci_spec::runtime::Spec;
use std::fmt;
use std::sync::Arc;

/// Whose spec it is.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The pod's id.
    pub sandbox_id: &'a SandboxId,
    /// The pod's request.
    pub sandbox: &'a SandboxConfig,
    /// The container's id.
    pub container_id: &'a ContainerId,
    /// The container's request.
    pub container: &'a ContainerConfig,
}

/// Something that changes specs.
pub trait Adjuster: fmt::Debug + Send + Sync {
    /// What errors call it.
    fn name(&self) -> &'static str;

    /// Changes the spec of one container, and nothing else. May block.
    ///
    /// # Errors
    /// When the container cannot be what the request and this make of it.
    fn adjust(&self, spec: &mut Spec, subject: &Subject<'_>) -> OciResult<()>;
}

impl<T: Adjuster> Adjuster for Arc<T> {
    fn name(&self) -> &'static str {
        T::name(self)
    }

    fn adjust(&self, spec: &mut Spec, subject: &Subject<'_>) -> OciResult<()> {
        T::adjust(self, spec, subject)
    }
}

/// Every adjuster, in the order in which they follow each other: a later one sees what earlier ones have done.
#[derive(Debug, Default)]
pub struct Adjusters(Vec<Box<dyn Adjuster>>);

impl Adjusters {
    /// In this order.
    pub fn new(adjusters: Vec<Box<dyn Adjuster>>) -> Self {
        Self(adjusters)
    }

    /// The spec after all of them.
    ///
    /// # Errors
    /// [`OciError::Adjuster`] with the name of the first that refuses; none behind it has been asked.
    pub fn apply(&self, spec: &mut Spec, subject: &Subject<'_>) -> OciResult<()> {
        self.0.iter().try_for_each(|adjuster| {
            adjuster
                .adjust(spec, subject)
                .map_err(|source| OciError::Adjuster { adjuster: adjuster.name(), source: Box::new(source) })
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::error::Error as _;

    /// Writes its name behind the hostname; refuses where the container has its name.
    #[derive(Debug)]
    struct Signs(&'static str);

    impl Adjuster for Signs {
        fn name(&self) -> &'static str {
            self.0
        }

        fn adjust(&self, spec: &mut Spec, subject: &Subject<'_>) -> OciResult<()> {
            if subject.container.metadata.name == self.0 {
                return Err(OciError::NoCommand);
            }
            let signed = spec.hostname().clone().unwrap_or_default() + self.0;
            spec.set_hostname(Some(signed));
            Ok(())
        }
    }

    fn adjusted(container: &str) -> (Spec, OciResult<()>) {
        let adjusters =
            Adjusters::new(vec![Box::new(Signs("a")), Box::new(Signs("b")), Box::new(Signs("c"))]);
        let mut config = ContainerConfig::default();
        config.metadata.name = container.to_owned();
        let mut spec = Spec::default();
        spec.set_hostname(None);
        let subject = Subject {
            sandbox_id: &SandboxId::new("pod"),
            sandbox: &SandboxConfig::default(),
            container_id: &ContainerId::new("container"),
            container: &config,
        };
        let outcome = adjusters.apply(&mut spec, &subject);
        (spec, outcome)
    }

    #[test]
    fn one_follows_the_other() {
        let (spec, outcome) = adjusted("main");
        outcome.unwrap();
        assert_eq!(spec.hostname().as_deref(), Some("abc"));
    }

    #[test]
    fn the_first_that_refuses_is_named_and_the_last_to_be_asked() {
        let (spec, outcome) = adjusted("b");
        let error = outcome.unwrap_err();
        assert_eq!(error.to_string(), "adjusting the spec by b");
        assert_eq!(error.source().unwrap().to_string(), OciError::NoCommand.to_string());
        assert_eq!(error.kind(), OciError::NoCommand.kind());
        assert_eq!(spec.hostname().as_deref(), Some("a"));
    }
}
