//! Settings that may change while the daemon runs, with what is made of them. Whoever uses several looks once, and
//! hands what was found through the whole of a request.

use crate::error::EngineError;
use crate::handlers::{HandlerSettings, Handlers};
use crate::pod::default_sysctls;
use crate::settings::{SettingError, Settings};
use crate::{Core, Engine, blocking};
use arc_swap::{ArcSwap, Guard};
use oci::classes::{Classes, Kind};
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
    /// Devices of vendors, by name.
    pub(crate) devices: Arc<oci::cdi::Registry>,
    /// Classes of block I/O and of cache, by name.
    pub(crate) classes: Arc<Classes>,
    /// What changes specs between request and plan, in its order: first the devices of vendors, so that whoever follows
    /// sees them, then the classes that annotations ask for.
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
        let devices = match same(|former, new| former.cdi_spec_dirs == new.cdi_spec_dirs) {
            Some(former) => former.devices.clone(),
            None => Arc::new(settings.devices()),
        };
        let classes = match same(has_same_classes) {
            Some(former) => former.classes.clone(),
            None => classes(&settings, state, former.map(|former| &former.settings)).await?,
        };
        let adjusters: Vec<Box<dyn oci::adjust::Adjuster>> =
            vec![Box::new(devices.clone()), Box::new(classes.clone())];
        let adjusters = Arc::new(oci::adjust::Adjusters::new(adjusters));
        let default_sysctls = match same(|former, new| former.default_sysctls == new.default_sysctls) {
            Some(former) => former.default_sysctls.clone(),
            None => try_sysctls(settings.clone()).await?,
        };
        Ok(Self {
            planning: settings.planning()?,
            default_sysctls,
            devices,
            classes,
            adjusters,
            handlers,
            settings,
        })
    }
}

/// A file that is wrong refuses settings that name it anew. One that they named before, or that the daemon starts with,
/// keeps nothing else from changing: whoever asks for a class of it is refused.
async fn classes(
    settings: &Settings,
    state: &Path,
    former: Option<&Settings>,
) -> Result<Arc<Classes>, EngineError> {
    let files = |one: &Settings| [one.blockio_config_file.clone(), one.rdt_config_file.clone()];
    let before = files(former.unwrap_or(settings)).into_iter().zip(files(settings));
    let others =
        [Kind::BlockIo, Kind::Rdt].into_iter().zip(before).filter(|(_, (before, now))| before != now);
    let (others, classes) =
        (others.map(|(kind, _)| kind).collect::<Vec<_>>(), Arc::new(settings.classes(state)));
    blocking("reading classes", move || {
        for kind in others {
            classes.check_file(kind)?;
        }
        Ok(classes)
    })
    .await
}

async fn try_sysctls(settings: Settings) -> Result<model::Sysctls, EngineError> {
    let ask = move || Ok(default_sysctls::try_out(&settings)?.in_force()?);
    blocking("trying kernel parameters", ask).await
}

fn has_same_classes(former: &Settings, new: &Settings) -> bool {
    former.blockio_config_file == new.blockio_config_file
        && former.rdt_config_file == new.rdt_config_file
        && former.resctrl == new.resctrl
        && former.ignore_blockio_not_enabled_errors == new.ignore_blockio_not_enabled_errors
        && former.ignore_rdt_not_enabled_errors == new.ignore_rdt_not_enabled_errors
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
    /// Settings that make no sense, or that the kernel refuses; [`EngineError::HandlerInUse`] where they take away a handler
    /// of which there are pods, and [`EngineError::Nri`] where plugins cannot have their socket. Then nothing changes.
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
        // A pod that came meanwhile either sees this or is seen here. Where one is seen that needs what would go, the new
        // settings have been in force for the moment between, and what began in it goes by them.
        let unused = self.check_handlers_in_use(&former.settings, &next.settings);
        let taken =
            unused.and_then(|()| Ok(self.reconfigure_plugins(&former.settings.nri, &next.settings.nri)?));
        match taken {
            Ok(()) => {
                next.handlers.tidy(&self.core.paths.state);
                self.make_groups().await;
                self.keep_warm();
            }
            Err(_) => self.core.live.store(former),
        }
        taken
    }

    /// Looks again at what settings that have not changed lead to: plugins that are installed, groups of cache.
    pub async fn look_again(&self) {
        self.core.nri.look_again();
        self.make_groups().await;
    }

    /// Lets as many supervisors wait for pods as the settings say.
    pub(crate) fn keep_warm(&self) {
        self.pods.launcher.keep_warm(self.core.live().settings.warm_supervisors.into());
    }

    /// Whether no pod runs by a handler that these settings take away, or make another one.
    pub fn lets_handlers_go(&self, settings: &Settings) -> bool {
        self.check_handlers_in_use(&self.core.live().settings, settings).is_ok()
    }

    /// Pods are ended by the runtime that began them, which keeps their state where it was told to.
    fn check_handlers_in_use(&self, former: &Settings, new: &Settings) -> Result<(), EngineError> {
        let stays = |name: &String, old: &HandlerSettings| {
            new.handlers.get(name).is_some_and(|new| new.kind == old.kind && new.root == old.root)
        };
        let mut going: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pod in self.core.registry.pods() {
            let name = pod.handler();
            let name = if name.is_empty() { former.default_handler.clone() } else { name };
            if former.handlers.get(&name).is_some_and(|old| !stays(&name, old)) {
                let pod = pod.config();
                let name_of_pod = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
                going.entry(name).or_default().push(name_of_pod);
            }
        }
        let Some((name, pods)) = going.into_iter().next() else { return Ok(()) };
        let problem = format!(
            "cannot go, or have another type or root, while {}; it is tried again once there is none",
            run_by_it(&pods)
        );
        Err(EngineError::HandlerInUse(SettingError::new(format!("handlers.{name}"), problem)))
    }
}

fn run_by_it(pods: &[String]) -> String {
    match pods {
        [pod] => format!("1 pod runs by it ({pod})"),
        pods => {
            let first = pods.iter().min().map(String::as_str).unwrap_or_default();
            format!("{} pods run by it ({first} is one)", pods.len())
        }
    }
}
