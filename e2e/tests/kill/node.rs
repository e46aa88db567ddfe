//! A node whose daemon dies again and again: what is asked of it, and what is looked for behind every death.

use crate::cases::Case;
use crate::kubelet::Lost;
use crate::plugin::Guest;
use crate::verbs::remove_image;
use e2e::client::Cri;
use e2e::error::Error;
use e2e::invariants::Told;
use e2e::proto::{ContainerState, PodSandboxState};
use e2e::world::World;
use std::collections::BTreeSet;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long one thing is asked for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const AGAIN: Duration = Duration::from_millis(20);

/// The node.
pub(crate) struct Node {
    pub(crate) world: World,
    /// The plugin that is connected, in cases of plugins.
    pub(crate) guest: Option<Guest>,
    /// Of the next daemons, the last one first; behind them there are none.
    settings: Vec<String>,
    reached: PathBuf,
    pub(crate) cases: u32,
    pub(crate) deaths: u32,
    pub(crate) told: Told,
    /// Pods that are not ready and that nobody was told of.
    pub(crate) strays: BTreeSet<String>,
}

impl Node {
    pub(crate) fn new(world: World, guest: Option<Guest>) -> Self {
        let reached = world.isolation.root().join("logs");
        Self {
            world,
            guest,
            settings: Vec::new(),
            reached,
            cases: 0,
            deaths: 0,
            told: Told::default(),
            strays: BTreeSet::new(),
        }
    }

    /// Starts a daemon that has the case's failpoint.
    pub(crate) fn begin(&mut self, case: &Case) {
        self.cases += 1;
        self.deaths = 0;
        self.strays.clear();
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
        if let Some(guest) = &self.guest {
            guest.misbehave(case);
        }
        self.start();
        if case.needs_a_waiting_supervisor() {
            self.until("a supervisor waits for a pod", |node| !node.world.isolation.waiting().is_empty());
        }
    }

    pub(crate) fn has_reached(&self, case: &Case) -> bool {
        match &self.guest {
            Some(guest) if case.is_a_plugin_s_own() => guest.has_misbehaved(),
            _ => self.reached.join(format!("{}.{}", case.name, case.time)).exists(),
        }
    }

    /// Asks until it is done.
    pub(crate) fn ask<T, F: Future<Output = Result<T, Error>>>(
        &mut self,
        verb: &str,
        call: impl Fn(Cri) -> F,
    ) -> T {
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
    pub(crate) fn of<T, F: Future<Output = Result<T, Error>>>(
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

    pub(crate) fn call<T, F: Future<Output = Result<T, Error>>>(
        &mut self,
        call: impl Fn(Cri) -> F,
    ) -> Result<T, Error> {
        let Self { world, .. } = self;
        world.tokio.block_on(async {
            let cri = world.daemon.client().await?;
            call(cri).await
        })
    }

    /// Brings another daemon where one has died, and looks for what was told.
    pub(crate) fn revive(&mut self) {
        if self.world.daemon.is_alive() {
            return;
        }
        self.deaths += 1;
        self.start();
        let pods = self.ask("ListPodSandbox", |cri| async move { cri.pods().await });
        let containers = self.ask("ListContainers", |cri| async move { cri.containers().await });
        self.told.are_listed(&pods, &containers).unwrap();
        let strays = pods.into_iter().filter(|pod| pod.state() == PodSandboxState::SandboxNotready);
        self.strays.extend(strays.map(|pod| pod.id).filter(|id| !self.told.pods.contains(id)));
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
                Ok(()) => return self.welcome(),
                // It may be a plugin that has killed it.
                Err(error) => assert!(!last || self.guest.is_some(), "the daemon does not start: {error}"),
            }
            self.deaths += 1;
        }
    }

    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < end, "{what}: not within {} s", PATIENCE.as_secs());
            std::thread::sleep(AGAIN);
        }
    }
    /// Waits until the plugin has been told what is there, or the daemon has died of it.
    fn welcome(&mut self) {
        let end = Instant::now() + PATIENCE;
        while self.world.daemon.is_alive() && self.guest.as_ref().is_some_and(|guest| !guest.is_there()) {
            assert!(Instant::now() < end, "the plugin is not told what is there");
            std::thread::sleep(AGAIN);
        }
    }

    /// What the plugin was told comes to what is listed.
    pub(crate) fn agree(&mut self) {
        if self.guest.is_none() {
            return;
        }
        self.until("the plugin knows what is there", |node| {
            node.revive();
            let all = node.call(|cri| async move { Ok((cri.pods().await?, cri.containers().await?)) });
            let Ok((pods, containers)) = all else { return false };
            let ended =
                |one: e2e::proto::Container| (one.id.clone(), one.state() == ContainerState::ContainerExited);
            let listed =
                (pods.into_iter().map(|pod| pod.id).collect(), containers.into_iter().map(ended).collect());
            node.guest.as_ref().is_none_or(|guest| guest.knows() == listed)
        });
        let problems = self.guest.as_ref().map(Guest::problems).unwrap_or_default();
        assert!(problems.is_empty(), "{problems:?}");
    }

    /// Has the plugin ask until it is done.
    pub(crate) fn plugin_asks(&mut self, what: &str, request: &nri::api::UpdateContainersRequest) {
        self.until(what, |node| {
            node.revive();
            node.welcome();
            node.guest.as_ref().is_none_or(|guest| guest.ask(&node.world.tokio, request))
        });
    }
}
