//! A node with a kubelet that wants one pod: it asks again for what failed, and makes anew what was lost. It remembers
//! what it was told, and looks for it behind every death of the daemon.

use crate::cases::Case;
use crate::verbs::{namespaces_of, remove_image, resize, say_hello, update, watch};
use e2e::client::Cri;
use e2e::error::Error;
use e2e::logs;
use e2e::pods::{secured, shell, with_host_port};
use e2e::proto::{ContainerState, NamespaceMode, PodSandbox, PodSandboxConfig, PodSandboxState};
use e2e::world::{BUSYBOX, World};
use std::collections::BTreeSet;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long one thing is asked for.
const PATIENCE: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(20);
/// Pods, or containers, that are made for one that shall run.
const ATTEMPTS: u32 = 5;
/// What the container that ends by itself ends with.
const CODE: i32 = 7;
/// What the one ends with that is asked to.
const TERMINATED: i32 = 9;
/// Numbers its lines until it is asked to end.
const MAIN: &str = "trap 'exit 9' TERM; i=0; while :; do echo $i; i=$((i+1)); usleep 20000; done";

/// The node.
pub(crate) struct Node {
    pub(crate) world: World,
    /// Of the next daemons, the last one first; behind them there are none.
    settings: Vec<String>,
    reached: PathBuf,
    cases: u32,
    deaths: u32,
    told: Told,
}

/// Ids that were told and not asked to be removed.
#[derive(Default)]
struct Told {
    pods: BTreeSet<String>,
    containers: BTreeSet<String>,
}

/// A pod that is not ready any more.
struct Lost;

impl Node {
    pub(crate) fn new(world: World) -> Self {
        let reached = world.isolation.root().join("logs");
        Self { world, settings: Vec::new(), reached, cases: 0, deaths: 0, told: Told::default() }
    }

    /// Starts a daemon that has the case's failpoint.
    pub(crate) fn begin(&mut self, case: &Case) {
        self.cases += 1;
        self.deaths = 0;
        self.reached = self.world.logs.join(format!("reached-{}", self.cases));
        std::fs::create_dir(&self.reached).unwrap();
        // For children in user namespaces, too.
        std::fs::set_permissions(&self.reached, std::fs::Permissions::from_mode(0o777)).unwrap();
        self.settings = case.settings();
        self.settings.reverse();
        if case.is_of_images() {
            self.ask("RemoveImage", remove_image);
        }
        self.world.daemon.kill().unwrap();
        self.start();
    }

    /// A pod's life, from the pull of its image to its removal.
    pub(crate) fn live(&mut self, case: &Case) {
        self.ask("PullImage", |cri| async move { cri.pull(BUSYBOX, None).await });
        for attempt in 0..ATTEMPTS {
            let name = format!("kill-{}", self.cases);
            let mut config = with_host_port(self.world.pod(&name).unwrap(), 30_000, 80);
            config.metadata.as_mut().unwrap().attempt = attempt;
            config.log_directory = format!("{}/{attempt}", config.log_directory);
            if case.shares_pids() {
                let linux = config.linux.get_or_insert_default();
                let security = linux.security_context.get_or_insert_default();
                security.namespace_options.get_or_insert_default().pid = NamespaceMode::Pod.into();
            }
            if self.live_in(&config, case).is_ok() {
                break;
            }
            assert!(attempt + 1 < ATTEMPTS, "every pod is lost");
        }
        if case.is_of_images() {
            self.ask("RemoveImage", remove_image);
        }
        if case.name == "engine.mirror.committed" {
            self.outlast_a_commit(case);
        }
        // Once more, as a client that got no answer.
        for pod in self.ask("ListPodSandbox", |cri| async move { cri.pods().await }) {
            self.remove_pod(&pod.id);
        }
    }

    fn has_reached(&self, case: &Case) -> bool {
        self.reached.join(format!("{}.{}", case.name, case.time)).exists()
    }

    /// A life can be over before anything of it is durable: another one lasts longer.
    fn outlast_a_commit(&mut self, case: &Case) {
        // It may be lost by then.
        let _ = self.run_pod(&self.world.pod(&format!("kill-{}-lasts", self.cases)).unwrap());
        self.until("records are written", |node| node.has_reached(case));
    }

    /// What has to be so in the end: the failpoint was reached, and nothing is listed.
    pub(crate) fn end(&mut self, case: &Case) {
        // Behind the scenes goes on what was cleaned up there.
        self.until("the failpoint is reached", |node| node.has_reached(case));
        if case.ends_the_daemon() {
            self.until("the daemon dies", |node| {
                node.revive();
                node.deaths > 0
            });
        }
        let containers = self.ask("ListContainers", |cri| async move { cri.containers().await });
        assert!(containers.is_empty(), "still listed: {containers:?}");
        if case.is_of_images() {
            let images = self.world.daemon.place().data.join("images");
            for name in ["blobs/sha256", "layers/sha256", "unfinished", "ingest", "outlines"] {
                let count = || std::fs::read_dir(images.join(name)).unwrap().count();
                self.until(name, |_| count() == 0);
            }
        }
    }

    /// No supervisor, and nothing that it started.
    pub(crate) fn nothing_runs(&mut self) {
        self.until("processes end", |node| {
            let found = node.world.isolation.processes();
            !found.values().any(|line| line.contains("corten-shim") || line.contains("sleep"))
        });
    }

    fn live_in(&mut self, config: &PodSandboxConfig, case: &Case) -> Result<(), Lost> {
        let pod = self.run_pod(config)?;
        let outcome = self.live_through(&pod, config);
        assert!(outcome.is_ok() || case.ends_pods(), "a pod that was told is not ready any more");
        let stop = |cri: Cri| {
            let pod = pod.clone();
            async move { cri.stop_pod(&pod).await }
        };
        self.ask("StopPodSandbox", stop);
        for container in self.told.containers.clone() {
            self.remove_container(&container);
        }
        self.remove_pod(&pod);
        outcome
    }

    fn remove_container(&mut self, id: &str) {
        self.told.containers.remove(id);
        let remove = |cri: Cri| {
            let id = id.to_owned();
            async move { cri.remove(&id).await }
        };
        for _ in 0..2 {
            self.ask("RemoveContainer", remove);
        }
    }

    fn live_through(&mut self, pod: &str, config: &PodSandboxConfig) -> Result<(), Lost> {
        let (main, log) = self.run_container(pod, config, "main", MAIN)?;
        let said = self.of(pod, &main, "ExecSync", say_hello)?;
        assert_eq!(said, b"hello\n");
        self.of(pod, &main, "Attach", watch)?;
        self.of(pod, &main, "UpdateContainerResources", update)?;
        self.of(pod, pod, "UpdatePodSandboxResources", resize)?;
        let (short, _) = self.run_container(pod, config, "short", &format!("exit {CODE}"))?;
        self.exits_with(pod, &short, CODE)?;
        let (idle, _) = self.run_container(pod, config, "idle", "exec sleep 1000")?;
        self.of(pod, &main, "StopContainer", |cri, id| async move { cri.stop(&id, 10).await })?;
        self.exits_with(pod, &main, TERMINATED)?;
        self.of(pod, &idle, "StopContainer", |cri, id| async move { cri.stop(&id, 0).await })?;
        self.exits_with(pod, &idle, 137)?;
        for id in [main, short, idle] {
            self.remove_container(&id);
        }
        let lines = logs::read(&log).unwrap();
        let wrong = lines.iter().enumerate().find(|(number, line)| line.text != number.to_string());
        assert!(wrong.is_none(), "a line is lost, doubled or torn: {wrong:?}");
        Ok(())
    }

    /// Waits for a container to have ended with a code.
    fn exits_with(&mut self, pod: &str, id: &str, code: i32) -> Result<(), Lost> {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self
                .of(pod, id, "ContainerStatus", |cri, id| async move { cri.container_status(&id).await })?;
            if status.state() == ContainerState::ContainerExited {
                if status.exit_code != code && self.gets_lost(pod) {
                    return Err(Lost);
                }
                assert_eq!(status.exit_code, code, "how a container ended");
                return Ok(());
            }
            assert!(Instant::now() < end, "it does not exit");
            std::thread::sleep(AGAIN);
        }
    }

    /// The same request until there is an answer, or a pod that is not ready.
    fn run_pod(&mut self, config: &PodSandboxConfig) -> Result<String, Lost> {
        let end = Instant::now() + PATIENCE;
        let run = |cri: Cri| {
            let config = config.clone();
            async move { cri.run_pod(&config).await }
        };
        loop {
            match self.call(run) {
                Ok(pod) => {
                    self.told.pods.insert(pod.clone());
                    return Ok(pod);
                }
                Err(error) => assert!(Instant::now() < end, "RunPodSandbox: {error}"),
            }
            self.revive();
            let pods = self.ask("ListPodSandbox", |cri| async move { cri.pods().await });
            let is_unready = |pod: &&PodSandbox| {
                pod.metadata == config.metadata && pod.state() == PodSandboxState::SandboxNotready
            };
            if let Some(pod) = pods.iter().find(is_unready) {
                self.remove_pod(&pod.id);
                return Err(Lost);
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// Creates a container and starts it, and another one in its place where it ends of that; its log, too.
    fn run_container(
        &mut self,
        pod: &str,
        config: &PodSandboxConfig,
        name: &str,
        script: &str,
    ) -> Result<(String, PathBuf), Lost> {
        for attempt in 0..ATTEMPTS {
            let mut container = shell(name, BUSYBOX, script);
            container.metadata.as_mut().unwrap().attempt = attempt;
            let namespaces = namespaces_of(config);
            container = secured(container, |security| security.namespace_options = namespaces);
            container.log_path = format!("{name}-{attempt}.log");
            let log = PathBuf::from(&config.log_directory).join(&container.log_path);
            let id = self.of(pod, pod, "CreateContainer", |cri, pod| {
                let (container, config) = (container.clone(), config.clone());
                async move { cri.create(&pod, &container, &config).await }
            })?;
            self.told.containers.insert(id.clone());
            if self.start_container(pod, &id)? {
                return Ok((id, log));
            }
            self.remove_container(&id);
        }
        panic!("no {name} can be started");
    }

    /// Whether it was started; else it has ended of that.
    fn start_container(&mut self, pod: &str, id: &str) -> Result<bool, Lost> {
        let end = Instant::now() + PATIENCE;
        let start = |cri: Cri| {
            let id = id.to_owned();
            async move { cri.start(&id).await }
        };
        loop {
            let Err(error) = self.call(start) else { return Ok(true) };
            self.revive();
            if self.is_lost(pod) {
                return Err(Lost);
            }
            let status = self
                .of(pod, id, "ContainerStatus", |cri, id| async move { cri.container_status(&id).await })?;
            if status.state() == ContainerState::ContainerExited {
                return Ok(status.exit_code == CODE);
            }
            assert!(Instant::now() < end, "StartContainer: {error}");
            std::thread::sleep(AGAIN);
        }
    }

    fn remove_pod(&mut self, id: &str) {
        self.told.pods.remove(id);
        let end = |cri: Cri| {
            let id = id.to_owned();
            async move { cri.end_pod(&id).await }
        };
        for _ in 0..2 {
            self.ask("RemovePodSandbox", end);
        }
    }

    fn is_lost(&mut self, pod: &str) -> bool {
        let pods = self.ask("ListPodSandbox", |cri| async move { cri.pods().await });
        !pods.iter().any(|one| one.id == pod && one.state() == PodSandboxState::SandboxReady)
    }

    /// The same for a pod whose containers are told to have ended, which is told before its own end is.
    fn gets_lost(&mut self, pod: &str) -> bool {
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            if self.is_lost(pod) {
                return true;
            }
            std::thread::sleep(AGAIN);
        }
        false
    }

    /// Asks until it is done.
    fn ask<T, F: Future<Output = Result<T, Error>>>(&mut self, verb: &str, call: impl Fn(Cri) -> F) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.call(&call) {
                Ok(answer) => return answer,
                Err(error) => assert!(Instant::now() < end, "{verb}: {error}"),
            }
            self.revive();
            std::thread::sleep(AGAIN);
        }
    }

    /// The same about something of a pod, while that is ready.
    fn of<T, F: Future<Output = Result<T, Error>>>(
        &mut self,
        pod: &str,
        id: &str,
        verb: &str,
        call: impl Fn(Cri, String) -> F,
    ) -> Result<T, Lost> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.call(|cri| call(cri, id.to_owned())) {
                Ok(answer) => return Ok(answer),
                Err(error) => assert!(Instant::now() < end, "{verb}: {error}"),
            }
            self.revive();
            if self.is_lost(pod) {
                return Err(Lost);
            }
            std::thread::sleep(AGAIN);
        }
    }

    fn call<T, F: Future<Output = Result<T, Error>>>(&mut self, call: impl Fn(Cri) -> F) -> Result<T, Error> {
        let Self { world, .. } = self;
        world.tokio.block_on(async {
            let cri = world.daemon.client().await?;
            call(cri).await
        })
    }

    /// Brings another daemon where one has died, and looks for what was told.
    fn revive(&mut self) {
        if self.world.daemon.is_alive() {
            return;
        }
        self.deaths += 1;
        self.start();
        let pods = self.ask("ListPodSandbox", |cri| async move { cri.pods().await });
        let containers = self.ask("ListContainers", |cri| async move { cri.containers().await });
        let pods: BTreeSet<_> = pods.into_iter().map(|pod| pod.id).collect();
        let containers: BTreeSet<_> = containers.into_iter().map(|container| container.id).collect();
        assert!(self.told.pods.is_subset(&pods), "a pod that was told is not listed");
        assert!(self.told.containers.is_subset(&containers), "a container that was told is not listed");
    }

    /// Starts daemons until one serves.
    fn start(&mut self) {
        loop {
            let setting = self.settings.pop();
            let last = setting.is_none();
            let failpoints = setting.map(|setting| ("CORTEN_FAILPOINTS".to_owned(), setting));
            let reached = ("CORTEN_FAILPOINTS_REACHED".to_owned(), self.reached.display().to_string());
            self.world.daemon.set_environment(failpoints.into_iter().chain([reached]).collect());
            match self.world.daemon.restart() {
                Ok(()) => return,
                Err(error) => assert!(!last, "the daemon does not start: {error}"),
            }
            self.deaths += 1;
        }
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < end, "{what}: not within {} s", PATIENCE.as_secs());
            std::thread::sleep(AGAIN);
        }
    }
}
