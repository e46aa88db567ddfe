//! Settings that may change while the daemon runs, with what is made of them. Whoever uses several looks at one state.

use crate::Core;
use crate::Engine;
use crate::error::EngineError;
use crate::handlers::Handlers;
use crate::settings::{SettingError, Settings};
use arc_swap::{ArcSwap, Guard};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The settings in force, for everybody who goes by them.
pub(crate) type Shared = Arc<ArcSwap<Live>>;

/// What is in force.
pub(crate) struct Live {
    pub(crate) settings: Settings,
    /// For the planner of containers.
    pub(crate) planning: oci::spec::Settings,
    pub(crate) default_sysctls: model::Sysctls,
    /// What changes specs between request and plan.
    pub(crate) adjusters: Arc<oci::adjust::Adjusters>,
    pub(crate) handlers: Arc<Handlers>,
}

impl Live {
    /// Makes what follows from the settings. What they have in common with a former state is taken over from it: runtimes
    /// are asked again only where a handler changes.
    pub(crate) async fn new(
        settings: Settings,
        state: &Path,
        former: Option<&Self>,
    ) -> Result<Self, EngineError> {
        let same = |unchanged: fn(&Settings, &Settings) -> bool| {
            former.filter(|former| unchanged(&former.settings, &settings))
        };
        let handlers = match same(has_same_handlers) {
            Some(former) => former.handlers.clone(),
            None => Arc::new(Handlers::open(&settings, state).await?),
        };
        let adjusters = match same(|former, new| former.cdi_spec_dirs == new.cdi_spec_dirs) {
            Some(former) => former.adjusters.clone(),
            None => Arc::new(settings.adjusters()),
        };
        Ok(Self {
            planning: settings.planning()?,
            default_sysctls: crate::pod::sysctls::defaults(&settings)?,
            adjusters,
            handlers,
            settings,
        })
    }
}

fn has_same_handlers(former: &Settings, new: &Settings) -> bool {
    former.handlers == new.handlers
        && former.default_handler == new.default_handler
        && former.rlimits == new.rlimits
}

impl Core {
    /// The settings in force.
    pub(crate) fn live(&self) -> Guard<Arc<Live>> {
        self.live.load()
    }
}

impl Engine {
    /// Takes over other settings, for what begins from now on. The paths of programs and directories, the driver of
    /// cgroups, SELinux and the default handler, by which pods run that name none, are those of the start.
    ///
    /// # Errors
    /// Settings that make no sense, or take away a handler of which there are pods. Then nothing changes.
    pub async fn reconfigure(&self, settings: Settings) -> Result<(), EngineError> {
        let former = self.core.live.load_full();
        let default_handler = former.settings.default_handler.clone();
        let settings = Settings { default_handler, ..settings };
        if let Some(problem) = settings.check().into_iter().next() {
            return Err(problem.into());
        }
        let next = Live::new(settings, &self.core.paths.state, Some(&former)).await?;
        self.check_handlers_in_use(&former.settings, &next.settings)?;
        let next = Arc::new(next);
        self.core.live.store(next.clone());
        // A pod that came meanwhile either sees this or is seen here.
        let unused = self.check_handlers_in_use(&former.settings, &next.settings);
        if unused.is_err() {
            self.core.live.store(former);
        }
        unused
    }

    /// Pods are ended by the runtime that began them, which keeps their state where it was told to.
    fn check_handlers_in_use(&self, former: &Settings, new: &Settings) -> Result<(), EngineError> {
        let mut pods: BTreeMap<String, usize> = BTreeMap::new();
        for pod in self.core.registry.pods() {
            let name = pod.handler();
            let name = if name.is_empty() { former.default_handler.clone() } else { name };
            *pods.entry(name).or_default() += 1;
        }
        for (name, old) in &former.handlers {
            let Some(count) = pods.get(name) else { continue };
            let stays =
                new.handlers.get(name).is_some_and(|new| new.kind == old.kind && new.root == old.root);
            if !stays {
                let key = format!("handlers.{name}");
                let problem =
                    format!("cannot go, or have another type or root, while {count} pods run by it");
                return Err(SettingError::new(key, problem).into());
            }
        }
        Ok(())
    }
}
