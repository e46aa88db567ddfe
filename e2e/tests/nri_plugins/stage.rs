//! A runtime with pods, and the plugins that connect to it.

use crate::table::Subject;
use e2e::client::Cri;
use e2e::error::Error;
use e2e::plugin::{self, Plugin};
use e2e::pods::shell;
use e2e::proto::PodSandboxConfig;
use e2e::world::{BUSYBOX, World};
use nix::mount::{MsFlags, mount};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(15);

/// A runtime with what runs on it.
pub(crate) struct Stage {
    /// Its world.
    pub(crate) world: World,
    /// Which it is.
    pub(crate) subject: Subject,
}

/// A pod with one container.
pub(crate) struct Pod {
    /// The pod's id.
    pub(crate) id: String,
    /// The container's.
    pub(crate) main: String,
}

impl Stage {
    /// Of a world.
    pub(crate) fn new(world: World, subject: Subject) -> Self {
        Self { world, subject }
    }

    /// A connection of the test's own.
    pub(crate) fn cri(&self) -> Cri {
        self.world.tokio.block_on(self.world.daemon.client()).unwrap()
    }

    /// Starts a plugin as an index and waits until it has been taken in; arguments follow its index.
    pub(crate) fn plugin(&self, name: &str, index: &str, arguments: &[&str]) -> Plugin {
        let mut command = Command::new(plugin::program(name).unwrap());
        command.args(["-idx", index]).args(arguments);
        self.start(command, &[&format!("{index}-{name}")])
    }

    /// Starts a plugin and waits until it has been taken in under its names.
    pub(crate) fn start(&self, command: Command, names: &[&str]) -> Plugin {
        Plugin::join(&self.world.daemon, command, names).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A directory of the test's own.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        self.world.isolation.directory(name).unwrap()
    }

    /// A file of the test's own; its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.directory("files").join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Adds files to /etc, for this stage alone.
    pub(crate) fn add_to_etc(&self, files: &[(&str, String)]) {
        let (upper, work) = (self.directory("etc/upper"), self.directory("etc/work"));
        for (path, text) in files {
            let path = upper.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let options = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
        let (kind, options) = (Some("overlay"), Some(options.as_str()));
        mount(kind, Path::new("/etc"), kind, MsFlags::empty(), options).unwrap();
    }

    /// A pod with annotations, and a container `main` that sleeps.
    pub(crate) fn run(&self, cri: &Cri, annotations: &[(&str, &str)]) -> Result<Pod, Error> {
        let mut config = self.world.pod("plugged").unwrap();
        config.annotations =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.run_as(cri, &config)
    }

    /// The same with anything that a pod can have.
    pub(crate) fn run_as(&self, cri: &Cri, config: &PodSandboxConfig) -> Result<Pod, Error> {
        let container = shell("main", BUSYBOX, "exec sleep 1000000");
        self.world.tokio.block_on(async {
            cri.pull(BUSYBOX, None).await?;
            let id = cri.run_pod_by(config, self.subject.handler()).await?;
            let main = cri.create(&id, &container, config).await?;
            cri.start(&main).await?;
            Ok(Pod { id, main })
        })
    }

    /// Waits for a while until something is as it is wanted; what it is then.
    pub(crate) fn until(&self, wanted: &str, look: impl Fn() -> String) -> String {
        let since = Instant::now();
        loop {
            let seen = look();
            if seen == wanted || since.elapsed() > SOON {
                return seen;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What a command in a container says.
    pub(crate) fn inside(&self, cri: &Cri, pod: &Pod, script: &str) -> String {
        self.world.tokio.block_on(cri.shell(&pod.main, script)).unwrap().trim().to_owned()
    }

    /// Ends a pod.
    pub(crate) fn end(&self, cri: &Cri, pod: &Pod) {
        self.world.tokio.block_on(cri.end_pod(&pod.id)).unwrap();
    }

    /// What a pod with these annotations shows of a script that runs in it; `refused` where it cannot be made.
    pub(crate) fn shown(&self, annotations: &[(&str, &str)], script: &str) -> String {
        let cri = self.cri();
        match self.run(&cri, annotations) {
            Ok(pod) => {
                let said = self.inside(&cri, &pod, script);
                self.end(&cri, &pod);
                said
            }
            Err(error) => {
                println!("{:?}: {error}", self.subject);
                self.world.tokio.block_on(async {
                    for pod in cri.pods().await.unwrap() {
                        cri.end_pod(&pod.id).await.unwrap();
                    }
                });
                "refused".to_owned()
            }
        }
    }
}
