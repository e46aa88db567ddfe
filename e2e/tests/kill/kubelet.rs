//! A node with a kubelet that wants one pod: it asks again for what failed, and makes anew what was lost. It remembers
//! what it was told, and looks for it behind every death of the daemon.

use crate::cases::Case;
use crate::node::{AGAIN, Node, PATIENCE};
use crate::plugin;
use crate::verbs::{namespaces_of, remove_image, resize, say_hello, see, update, watch};
use e2e::client::Cri;
use e2e::invariants;
use e2e::pods::{secured, shell, with_host_port};
use e2e::proto::{ContainerState, NamespaceMode, PodSandbox, PodSandboxConfig, PodSandboxState};
use e2e::world::BUSYBOX;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Pods, or containers, that are made for one that shall run.
const ATTEMPTS: u32 = 5;
/// What the container that ends by itself ends with.
const CODE: i32 = 7;
/// What the one ends with that is asked to.
const TERMINATED: i32 = 9;
/// Numbers its lines until it is asked to end.
const MAIN: &str = "trap 'exit 9' TERM; i=0; while :; do echo $i; i=$((i+1)); usleep 20000; done";

/// A pod that is not ready any more.
pub(crate) struct Lost;

impl Node {
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
        assert!(case.ends_pods() || self.strays.is_empty(), "half-made pods are listed: {:?}", self.strays);
        self.agree();
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
        let outcome = self.live_through(&pod, config, case);
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

    fn live_through(&mut self, pod: &str, config: &PodSandboxConfig, case: &Case) -> Result<(), Lost> {
        let (main, log) = self.run_container(pod, config, "main", MAIN)?;
        let said = self.of(pod, &main, "ExecSync", say_hello)?;
        assert_eq!(said, b"hello\n");
        // One that did not answer has no part in it.
        if self.guest.is_some() && !case.is_a_plugin_s_own() {
            let seen = self.of(pod, &main, "ExecSync", see)?;
            assert_eq!(String::from_utf8_lossy(&seen), plugin::SEEN, "what its plugin wants");
        }
        self.of(pod, &main, "Attach", watch)?;
        self.of(pod, &main, "UpdateContainerResources", update)?;
        self.of(pod, pod, "UpdatePodSandboxResources", resize)?;
        self.plugin_asks("UpdateContainers", &plugin::limits(&main));
        let (short, _) = self.run_container(pod, config, "short", &format!("exit {CODE}"))?;
        self.exits_with(pod, &short, CODE)?;
        let (idle, _) = self.run_container(pod, config, "idle", "exec sleep 1000")?;
        self.agree();
        if self.guest.is_some() {
            self.plugin_asks("UpdateContainers", &plugin::eviction(&idle));
            self.exits_with(pod, &idle, 137)?;
        }
        self.of(pod, &main, "StopContainer", |cri, id| async move { cri.stop(&id, 10).await })?;
        self.exits_with(pod, &main, TERMINATED)?;
        self.of(pod, &idle, "StopContainer", |cri, id| async move { cri.stop(&id, 0).await })?;
        self.exits_with(pod, &idle, 137)?;
        self.agree();
        for id in [main, short, idle] {
            self.remove_container(&id);
        }
        invariants::numbered(&[log]).unwrap();
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
                invariants::ended_with(status.exit_code, code).unwrap();
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
            container.annotations.insert(plugin::GRACE.to_owned(), "0".to_owned());
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

    pub(crate) fn is_lost(&mut self, pod: &str) -> bool {
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
}
