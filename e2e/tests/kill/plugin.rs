//! A plugin that is connected whenever there is a daemon: it adjusts every container, keeps a picture of the node from what
//! it is told, and does once in a case what no plugin should.

use crate::cases::{self, Case};
use crate::node::AGAIN;
use e2e::world::World;
use nri::api::{
    ContainerAdjustment, ContainerEviction, ContainerState, ContainerUpdate, CreateContainerResponse,
    KeyValue, LinuxContainerAdjustment, LinuxContainerUpdate, LinuxMemory, LinuxPids, LinuxResources, Mount,
    OptionalInt64, PosixRlimit, SynchronizeRequest, SynchronizeResponse, UpdateContainerResponse,
    UpdateContainersRequest,
};
use nri::testing::{Answer, Call, Manner, Plugin, answer, refusal};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;

const SOCKET: &str = "/var/run/nri/nri.sock";
/// The kubelet's word on how long an evicted container has.
pub(crate) const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
/// What is seen inside of a container that it has adjusted.
pub(crate) const SEEN: &str = "hello\nmounted\n66\n";
/// What it answers that cannot be read.
const GARBAGE: [u8; 9] = [0xff; 9];

/// Pods, and containers with whether they have ended.
pub(crate) type Known = (BTreeSet<String>, BTreeMap<String, bool>);

/// The plugin.
pub(crate) struct Guest(Arc<Shared>);

struct Shared {
    picture: Mutex<Picture>,
    /// What it is to do once, at which request.
    misdeed: Mutex<Option<(&'static str, &'static str)>>,
    plugin: Mutex<Option<Arc<Plugin>>>,
    source: PathBuf,
}

#[derive(Default)]
struct Picture {
    is_whole: bool,
    known: Known,
    problems: Vec<String>,
}

/// Everything behind these is a test's, which ends where one of its threads does.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guest {
    /// Connects, and again whenever it was let go.
    pub(crate) fn come(world: &World) -> Self {
        let shared = Arc::new(Shared {
            picture: Mutex::default(),
            misdeed: Mutex::default(),
            plugin: Mutex::default(),
            source: world.logs.clone(),
        });
        world.tokio.spawn(stay(Arc::clone(&shared)));
        Self(shared)
    }

    /// What it is to do once.
    pub(crate) fn misbehave(&self, case: &Case) {
        *lock(&self.0.misdeed) = case.request().map(|request| (request, case.action));
        lock(&self.0.picture).is_whole = false;
    }

    pub(crate) fn has_misbehaved(&self) -> bool {
        lock(&self.0.misdeed).is_none()
    }

    /// Whether it was told what is there.
    pub(crate) fn is_there(&self) -> bool {
        lock(&self.0.picture).is_whole
    }

    /// What there is, as far as it was told.
    pub(crate) fn knows(&self) -> Known {
        lock(&self.0.picture).known.clone()
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        lock(&self.0.picture).problems.clone()
    }

    /// Asks for something, and says whether it was done.
    pub(crate) fn ask(&self, tokio: &Runtime, request: &UpdateContainersRequest) -> bool {
        let Some(plugin) = lock(&self.0.plugin).clone() else { return false };
        tokio.block_on(plugin.update(request)).is_ok_and(|reply| reply.failed.is_empty())
    }
}

async fn stay(shared: Arc<Shared>) {
    loop {
        if let Ok(socket) = UnixStream::connect(SOCKET) {
            let _ = visit(&shared, socket).await;
            *lock(&shared.plugin) = None;
            lock(&shared.picture).is_whole = false;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn visit(shared: &Arc<Shared>, socket: UnixStream) -> std::io::Result<()> {
    let line = Arc::new(socket.try_clone()?);
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UnixStream::from_std(socket)?;
    let daemon = socket.peer_cred()?.pid();
    lock(&shared.picture).known = Known::default();
    let (held, hangs) = (Arc::clone(shared), Arc::clone(&line));
    let mut manner = Manner::new("50", "guest");
    manner.answers = Arc::new(move |call| {
        let (shared, line) = (Arc::clone(&held), Arc::clone(&hangs));
        Box::pin(async move { shared.answer(&call, &line, daemon).await })
    });
    let plugin = Arc::new(Plugin::on(socket, manner).await?);
    *lock(&shared.plugin) = Some(Arc::clone(&plugin));
    plugin.ended().await;
    line.shutdown(Shutdown::Both)
}

impl Shared {
    async fn answer(&self, call: &Call, line: &Arc<UnixStream>, daemon: Option<i32>) -> Option<Answer> {
        // Whatever it answers, it was told.
        let usual = self.heed(call);
        let misdeed = lock(&self.misdeed).take_if(|(request, _)| *request == call.method);
        match misdeed.map(|(_, action)| action) {
            Some(cases::KILLS) => {
                let _ = daemon.map(|pid| sys::process::kill(pid, 9));
                std::future::pending().await
            }
            Some(cases::DIES) => {
                let _ = line.shutdown(Shutdown::Both);
                std::future::pending().await
            }
            Some(cases::HANGS) => std::future::pending().await,
            Some(cases::REFUSES) => Some(refusal(13, "not now")),
            Some(cases::BABBLES) => Some(Ok(GARBAGE.to_vec())),
            Some(cases::LEAVES) => {
                let line = Arc::clone(line);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    line.shutdown(Shutdown::Both)
                });
                usual
            }
            Some(_) | None => usual,
        }
    }

    /// Draws what it is told of, and says what it wants.
    fn heed(&self, call: &Call) -> Option<Answer> {
        let mut picture = lock(&self.picture);
        match call.method.as_str() {
            "Synchronize" => Some(picture.begin(&call.argument())),
            "RunPodSandbox" => picture.run(&call.pod()),
            "RemovePodSandbox" => picture.drop_pod(&call.pod()),
            "CreateContainer" => Some(self.adjust(&mut picture, &call.container())),
            "UpdateContainer" => Some(answer(&UpdateContainerResponse {
                update: vec![update(&call.container(), 70)],
                ..UpdateContainerResponse::default()
            })),
            "StopContainer" => picture.stop(&call.container()),
            "RemoveContainer" => picture.drop_container(&call.container()),
            _ => None,
        }
    }

    fn adjust(&self, picture: &mut Picture, id: &str) -> Answer {
        // Others that run, too; one that has ended meanwhile does not matter.
        let others = picture.known.1.iter().filter(|(_, ended)| !**ended);
        let update =
            others.map(|(id, _)| ContainerUpdate { ignore_failure: true, ..update(id, 80) }).collect();
        picture.create(id);
        answer(&CreateContainerResponse { adjust: Some(self.wanted()), update, evict: Vec::new() })
    }

    fn wanted(&self) -> ContainerAdjustment {
        ContainerAdjustment {
            env: vec![KeyValue { key: "FROM_PLUGIN".to_owned(), value: "hello".to_owned() }],
            mounts: vec![Mount {
                destination: "/from-plugin".to_owned(),
                r#type: "bind".to_owned(),
                source: self.source.display().to_string(),
                options: ["rbind", "ro"].map(str::to_owned).to_vec(),
            }],
            rlimits: vec![PosixRlimit { r#type: "RLIMIT_NOFILE".to_owned(), hard: 77, soft: 66 }],
            linux: Some(LinuxContainerAdjustment {
                resources: Some(LinuxResources { pids: Some(LinuxPids { limit: 55 }), ..memory(90) }),
                ..LinuxContainerAdjustment::default()
            }),
            ..ContainerAdjustment::default()
        }
    }
}

impl Picture {
    fn begin(&mut self, told: &SynchronizeRequest) -> Answer {
        let ended = |state| state == ContainerState::ContainerStopped;
        self.known.0.extend(told.pods.iter().map(|pod| pod.id.clone()));
        let containers = told.containers.iter().map(|one| (one.id.clone(), ended(one.state())));
        self.known.1.extend(containers);
        self.is_whole = !told.more;
        let running = self.known.1.iter().filter(|(_, ended)| !**ended && !told.more);
        let update =
            running.map(|(id, _)| ContainerUpdate { ignore_failure: true, ..update(id, 80) }).collect();
        answer(&SynchronizeResponse { update, more: told.more })
    }

    fn run(&mut self, id: &str) -> Option<Answer> {
        if !self.known.0.insert(id.to_owned()) {
            self.problems.push(format!("pod {id} was told twice"));
        }
        None
    }

    fn drop_pod(&mut self, id: &str) -> Option<Answer> {
        self.known.0.remove(id);
        None
    }

    fn create(&mut self, id: &str) {
        if self.known.1.insert(id.to_owned(), false).is_some() {
            self.problems.push(format!("container {id} was told twice"));
        }
    }

    fn stop(&mut self, id: &str) -> Option<Answer> {
        if self.known.1.get_mut(id).is_some_and(|ended| std::mem::replace(ended, true)) {
            self.problems.push(format!("the end of container {id} was told twice"));
        }
        None
    }

    fn drop_container(&mut self, id: &str) -> Option<Answer> {
        self.known.1.remove(id);
        None
    }
}

fn memory(mebibytes: i64) -> LinuxResources {
    let limit = Some(OptionalInt64 { value: mebibytes << 20 });
    LinuxResources {
        memory: Some(LinuxMemory { limit, ..LinuxMemory::default() }),
        ..LinuxResources::default()
    }
}

fn update(id: &str, mebibytes: i64) -> ContainerUpdate {
    let linux = Some(LinuxContainerUpdate { resources: Some(memory(mebibytes)) });
    ContainerUpdate { container_id: id.to_owned(), linux, ignore_failure: false }
}

/// Another limit for a container.
pub(crate) fn limits(id: &str) -> UpdateContainersRequest {
    UpdateContainersRequest { update: vec![update(id, 75)], evict: Vec::new() }
}

/// Its end.
pub(crate) fn eviction(id: &str) -> UpdateContainersRequest {
    let evict = vec![ContainerEviction { container_id: id.to_owned(), reason: "of a test".to_owned() }];
    UpdateContainersRequest { update: Vec::new(), evict }
}
