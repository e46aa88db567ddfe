//! A kubelet's part: a pod's life as it was planned, and what has to be so in it.

use crate::container::{self, One, kill_supervisor};
use crate::node::{AGAIN, Node, PATIENCE};
use crate::plan::{Life, Role, Step};
use crate::streams;
use crate::weather::Part;
use e2e::client::Cri;
use e2e::error::{Context, Error};
use e2e::invariants::traces;
use e2e::pods::{pod, with_host_port};
use e2e::proto::{
    ContainerState, ImageSpec, NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxState,
    RemoveImageRequest,
};
use e2e::world::BUSYBOX;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tonic::{Code, Status};

/// What makes each of them fail: a pod whose network cannot be released stays.
const RUN: &[Part] = &[Part::Network, Part::Disk];
/// The plugin is a validator, too: without its word no container is made.
const CREATE: &[Part] = &[Part::Disk, Part::Plugin];
const STOP: &[Part] = &[Part::Network];
const PULL: &[Part] = &[Part::Registry, Part::Disk];
/// How soon nothing is left of what was removed (I4), and a pod has ended whose supervisor was killed.
const CLEAN: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(5);

/// A pod that was told.
pub(crate) struct Pod<'a> {
    node: &'a Node,
    config: PodSandboxConfig,
    pub(crate) id: String,
    pub(crate) containers: Vec<One>,
    made: u16,
    image: String,
    is_lost: bool,
}

/// One life.
pub(crate) async fn live(node: &Node, lane: u64, number: u64, life: &Life) -> Result<(), Error> {
    let image = life.image.map(|image| format!("registry.test/soak-{lane}-{image}:1"));
    if let Some(image) = &image {
        node.ask("PullImage", PULL, |cri| async move { cri.pull(image, None).await }).await?;
    }
    let mut config = pod(&format!("soak-{lane}-{number}"), &node.logs, &node.cgroup_parent);
    if life.has_host_port && !life.on_the_host_s_network {
        config = with_host_port(config, 30_000 + i32::try_from(lane).unwrap_or_default(), 8000);
    }
    let mut pod = Pod::run(node, with_namespaces(config, life)).await?;
    pod.image = image.clone().unwrap_or_default();
    for role in &life.first {
        pod.add(*role, None).await?;
    }
    for (step, which) in &life.steps {
        if node.is_over() || pod.is_lost {
            break;
        }
        pod.take(*step, *which).await?;
    }
    pod.end(life.removes_containers).await?;
    if let Some(image) = image {
        let remove = |cri: Cri| {
            let image = Some(ImageSpec { image: image.clone(), ..ImageSpec::default() });
            async move {
                let removed = cri.images.clone().remove_image(RemoveImageRequest { image }).await;
                removed
                    .map(drop)
                    .map_err(|status| Error::Rpc { method: "RemoveImage", status: Box::new(status) })
            }
        };
        node.ask("RemoveImage", &[], remove).await?;
    }
    Ok(())
}

/// The pod, unless its name is held by a half of it, which a daemon that has died has left, and which goes or stays.
fn made(outcome: Result<String, Error>) -> Result<Option<String>, Error> {
    let is_half = |status: &Status| match status.code() {
        Code::AlreadyExists => true,
        Code::Unavailable => status.message().contains("half made and is being taken down"),
        _ => false,
    };
    match outcome {
        Err(Error::Rpc { status, .. }) if is_half(&status) => Ok(None),
        other => other.map(Some),
    }
}

fn with_namespaces(mut config: PodSandboxConfig, life: &Life) -> PodSandboxConfig {
    let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
    let options = security.namespace_options.get_or_insert_default();
    if life.shares_pids {
        options.pid = NamespaceMode::Pod.into();
    }
    if life.on_the_host_s_network {
        options.network = NamespaceMode::Node.into();
    }
    config
}

impl<'a> Pod<'a> {
    /// Runs it, and another one in its place where a half of it is left.
    pub(crate) async fn run(node: &'a Node, mut config: PodSandboxConfig) -> Result<Self, Error> {
        fs::create_dir_all(&config.log_directory).at("create", &config.log_directory)?;
        let begin = Instant::now();
        let id = loop {
            let ran = node.once("RunPodSandbox", RUN, |cri| {
                let config = config.clone();
                async move { made(cri.run_pod(&config).await) }
            });
            if let Ok(Some(id)) = ran.await? {
                break id;
            }
            if node.is_late(begin) {
                return Err(Error::Late { what: "a pod (I3)", after: PATIENCE, last: config.hostname });
            }
            tokio::time::sleep(AGAIN).await;
            let pods = node.ask("ListPodSandbox", &[], |cri| async move { cri.pods().await }).await?;
            let is_a_half = |pod: &&e2e::proto::PodSandbox| {
                pod.metadata == config.metadata && pod.state() == PodSandboxState::SandboxNotready
            };
            if let Some(half) = pods.iter().find(is_a_half) {
                node.count("pods of which a half was left");
                node.ask("RemovePodSandbox", STOP, |cri| async move { cri.end_pod(&half.id).await }).await?;
                config.metadata.get_or_insert_default().attempt += 1;
            }
        };
        node.told().pods.insert(id.clone());
        Ok(Self { node, config, id, containers: Vec::new(), made: 0, image: String::new(), is_lost: false })
    }

    fn namespaces(&self) -> Option<NamespaceOption> {
        self.config.linux.as_ref()?.security_context.as_ref()?.namespace_options.clone()
    }

    fn is_on_the_host_s_network(&self) -> bool {
        self.namespaces().is_some_and(|options| options.network() == NamespaceMode::Node)
    }

    /// Creates a container and starts it.
    pub(crate) async fn add(&mut self, role: Role, hangs_up: Option<u64>) -> Result<(), Error> {
        // There it would be in the way of others.
        let role = if role == Role::Echoes && self.is_on_the_host_s_network() { Role::Idles } else { role };
        let image = if matches!(role, Role::Reads(_)) { &self.image } else { BUSYBOX };
        let number = self.made;
        self.made += 1;
        let config = container::config(role, number, image, self.namespaces());
        let create = |cri: Cri| {
            let (config, pod, id) = (config.clone(), self.config.clone(), self.id.clone());
            async move { cri.create(&id, &config, &pod).await }
        };
        if let Some(after) = hangs_up {
            let asked = async { create(Cri::connect(&self.node.socket).await?).await };
            // Whatever became of it, the same is asked again.
            let _ = tokio::time::timeout(Duration::from_millis(after), asked).await;
            self.node.count("clients that hang up");
        }
        let id = self.node.ask("CreateContainer", CREATE, create).await?;
        self.node.told().containers.insert(id.clone());
        let one = One::new(id, role, number, &self.config);
        one.start(self.node).await?;
        self.containers.push(one);
        Ok(())
    }

    /// One of those that run, and do this.
    fn pick(&mut self, which: u64, fits: impl Fn(&One) -> bool) -> Option<&mut One> {
        let count = self.containers.iter().filter(|one| one.stays() && fits(one)).count() as u64;
        let at = usize::try_from(which.checked_rem(count)?).ok()?;
        self.containers.iter_mut().filter(|one| one.stays() && fits(one)).nth(at)
    }

    async fn take(&mut self, step: Step, which: u64) -> Result<(), Error> {
        let (node, pod) = (self.node, self.id.clone());
        match step {
            Step::Rest(milliseconds) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
            Step::Another(role, hangs_up) => self.add(role, hangs_up).await?,
            Step::KillSupervisor => self.lose().await?,
            Step::Statistics => self.statistics().await?,
            Step::Attach => {
                if let Some(one) = self.pick(which, |one| matches!(one.role, Role::Counts(_))) {
                    streams::attach(node, one).await?;
                }
            }
            Step::Forward => {
                if let Some(one) = self.pick(which, |one| one.role == Role::Echoes) {
                    streams::forward(node, &pod, one).await?;
                }
            }
            of_one => {
                if let Some(one) = self.pick(which, |_| true) {
                    match of_one {
                        Step::Exec(code) => one.exec(node, code).await?,
                        Step::ExecTooLong => one.exec_too_long(node).await?,
                        Step::Limit(mebibytes) => one.limit(node, mebibytes).await?,
                        Step::Rotate => one.rotate(node).await?,
                        Step::KillFirst => one.kill(node).await?,
                        _ => one.stop(node).await?,
                    }
                }
            }
        }
        Ok(())
    }

    /// Its containers are in the statistics, and it is.
    async fn statistics(&self) -> Result<(), Error> {
        let stats = self
            .node
            .ask("ListContainerStats", &[], |cri| async move { cri.container_stats().await })
            .await?;
        let pods =
            self.node.ask("ListPodSandboxStats", &[], |cri| async move { cri.pod_stats().await }).await?;
        let is_there =
            |id: &str| stats.iter().any(|one| one.attributes.as_ref().is_some_and(|of| of.id == id));
        let missing = self.containers.iter().find(|one| one.stays() && !is_there(&one.id));
        let has_pod = pods.iter().any(|pod| pod.attributes.as_ref().is_some_and(|of| of.id == self.id));
        match missing {
            None if has_pod => Ok(()),
            other => {
                let seen = format!("without {}", other.map_or(&self.id, |one| &one.id));
                Err(Error::Unexpected { what: "the statistics", seen })
            }
        }
    }

    /// Its supervisor dies: all of it has ended, and says so.
    async fn lose(&mut self) -> Result<(), Error> {
        kill_supervisor(&self.id)?;
        self.node.count("supervisors killed");
        self.is_lost = true;
        self.containers.iter_mut().for_each(One::is_lost);
        let node = self.node;
        let lives = || async {
            let pods = node.ask("ListPodSandbox", &[], |cri| async move { cri.pods().await }).await?;
            let containers =
                node.ask("ListContainers", &[], |cri| async move { cri.containers().await }).await?;
            let mut own = containers.iter().filter(|one| one.pod_sandbox_id == self.id);
            let is_ready =
                pods.iter().any(|pod| pod.id == self.id && pod.state() == PodSandboxState::SandboxReady);
            let runs = own.any(|one| one.state() != ContainerState::ContainerExited);
            Ok((is_ready || runs).then(|| format!("{}: ready {is_ready}, runs {runs}", self.id)))
        };
        let outcome = node.until("the end of a pod whose supervisor was killed (F4)", SOON, lives).await;
        node.holds("F4", outcome)
    }

    /// Looks at the ends of all of it, and removes it without a trace.
    pub(crate) async fn end(mut self, removes_containers: bool) -> Result<(), Error> {
        let node = self.node;
        for one in &mut self.containers {
            one.finish(node).await?;
        }
        let id = &self.id;
        for _ in 0..2 {
            node.ask("StopPodSandbox", STOP, |cri| async move { cri.stop_pod(id).await }).await?;
        }
        for one in &self.containers {
            if removes_containers {
                one.remove(node).await?;
            }
            node.told().containers.remove(&one.id);
        }
        node.told().pods.remove(id);
        for _ in 0..2 {
            node.ask("RemovePodSandbox", STOP, |cri| async move { cri.remove_pod(id).await }).await?;
        }
        node.holds("I3", Ok(()))?;
        let directories = [node.state.join("pods"), node.data.join("containers")];
        let left = || async {
            let ids = self.containers.iter().map(|one| &one.id).chain([id]);
            let look =
                |id: &String| traces(id, &node.cgroup_parent, &directories.each_ref().map(PathBuf::as_path));
            let found: Vec<String> = ids.flat_map(look).collect();
            Ok((!found.is_empty()).then(|| found.join("\n")))
        };
        let outcome = node.until("nothing being left of a pod (I4)", CLEAN, left).await;
        // What nobody has to read any more.
        let _ = fs::remove_dir_all(&self.config.log_directory);
        node.holds("I4", outcome)
    }
}
