//! Plugins over a real socket, with a node that is played.
#![allow(clippy::unwrap_used)]

mod bad;
mod failures;
mod installed;
mod late;
mod life;
mod log;
mod reload;
mod required;
mod socket;

use crate::api::{Container, ContainerEviction, ContainerState, ContainerUpdate, Event, PodSandbox};
use crate::error::NriResult;
use crate::merge::Created;
use crate::testing::{Manner, Plugin};
use crate::{Node, Nri, Reply, Settings};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const POD: &str = "pod";

/// A node that is played.
#[derive(Default)]
struct World {
    containers: Mutex<Vec<Container>>,
    updates: Mutex<Vec<(String, ContainerUpdate)>>,
    evictions: Mutex<Vec<String>>,
    /// Before it says what is there, and before it changes something.
    slow: Mutex<Duration>,
}

impl World {
    fn slow(&self) -> Duration {
        *self.slow.lock().unwrap()
    }
}

impl Node for World {
    fn snapshot(&self) -> Reply<'_, (Vec<PodSandbox>, Vec<Container>)> {
        Box::pin(async {
            tokio::time::sleep(self.slow()).await;
            (vec![pod()], self.containers.lock().unwrap().clone())
        })
    }

    fn update<'a>(
        &'a self,
        plugin: &'a str,
        updates: Vec<ContainerUpdate>,
    ) -> Reply<'a, Vec<ContainerUpdate>> {
        let (there, missing) =
            updates.into_iter().partition(|update| !update.container_id.starts_with("missing"));
        let there: Vec<ContainerUpdate> = there;
        self.updates.lock().unwrap().extend(there.into_iter().map(|update| (plugin.to_owned(), update)));
        Box::pin(async move {
            tokio::time::sleep(self.slow()).await;
            missing
        })
    }

    fn evict<'a>(&'a self, _: &'a str, evictions: Vec<ContainerEviction>) -> Reply<'a, ()> {
        self.evictions.lock().unwrap().extend(evictions.into_iter().map(|one| one.container_id));
        Box::pin(async {})
    }
}

fn pod() -> PodSandbox {
    PodSandbox { id: POD.to_owned(), name: "name".to_owned(), ..PodSandbox::default() }
}

fn container(id: &str, state: ContainerState) -> Container {
    Container {
        id: id.to_owned(),
        pod_sandbox_id: POD.to_owned(),
        state: state.into(),
        ..Container::default()
    }
}

/// The runtime with a socket of its own.
struct Stage {
    nri: Nri,
    world: Arc<World>,
    socket: PathBuf,
    settings: Settings,
    _dir: tempfile::TempDir,
}

impl Stage {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        Self::with(|_| {}, change)
    }

    /// The same with something in its directory.
    fn with(prepare: impl FnOnce(&std::path::Path), change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let socket = dir.path().join("nri/nri.sock");
        let mut settings = Settings {
            socket: socket.clone(),
            plugins: dir.path().join("plugins"),
            configurations: dir.path().join("conf.d"),
            ..Settings::default()
        };
        change(&mut settings);
        let (nri, world) = (Nri::new(), Arc::<World>::default());
        let node: Arc<dyn Node> = Arc::clone(&world) as _;
        nri.start(settings.clone(), node);
        Self { nri, world, socket, settings, _dir: dir }
    }

    /// Takes other settings than those of the start.
    fn change(&self, change: impl FnOnce(&mut Settings)) -> NriResult<()> {
        let mut settings = self.settings.clone();
        change(&mut settings);
        self.nri.apply(settings)
    }

    async fn join(&self, manner: Manner) -> Plugin {
        let name = format!("{}-{}", manner.index, manner.name);
        let plugin = Plugin::join(&self.socket, manner).await.unwrap();
        self.until(|| self.nri.plugins().iter().any(|one| one.name == name && one.connected)).await;
        plugin
    }

    async fn until(&self, mut is_so: impl FnMut() -> bool) {
        let waited = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waited).await.unwrap();
    }

    async fn until_alone(&self) {
        self.until(|| self.nri.plugins().iter().all(|one| one.absence.is_some())).await;
    }

    /// Creates a container that takes so long to make.
    async fn create(&self, id: &str, takes: Duration) -> NriResult<Option<Created>> {
        let mut section = self.nri.section(Event::CreateContainer);
        let mut created = None;
        let it = || container(id, ContainerState::ContainerCreated);
        if !section.is_idle() {
            let (asked, verdict) = section.create_container(pod(), it()).await?;
            verdict.wait().await?;
            created = Some(asked);
        }
        tokio::time::sleep(takes).await;
        self.world.containers.lock().unwrap().push(it());
        section.commit(|| (pod(), Some(it()))).await;
        if !section.is_idle() {
            section.post(Event::PostCreateContainer, pod(), it()).await?;
        }
        Ok(created)
    }
}

fn events(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(method, id)| ((*method).to_owned(), (*id).to_owned())).collect()
}
