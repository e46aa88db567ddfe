//! The daemon under test: Corten, or the peer in its place.

use crate::client::Cri;
use crate::error::{Context, Error};
use crate::network::Network;
use crate::place::Place;
use crate::{command, peer, tools};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Which runtime a scenario runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The one under test.
    Corten,
    /// containerd with runc.
    Containerd,
}

impl Kind {
    /// What the environment asks for: `RUNTIME=containerd`, else Corten.
    pub fn from_environment() -> Self {
        match std::env::var("RUNTIME").as_deref() {
            Ok("containerd") => Self::Containerd,
            _ => Self::Corten,
        }
    }
}

/// What a scenario wants of its daemon.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which runtime.
    pub kind: Kind,
    /// The pod network.
    pub network: Network,
    /// A registry that stands in for every other (`certs.d/_default`).
    pub mirror: Option<SocketAddr>,
    /// Where Corten's metrics are served; a socket beside the state when it does not matter.
    pub metrics: Option<SocketAddr>,
    /// More lines for Corten's configuration.
    pub extra: String,
    /// The directory of Corten's programs.
    pub programs: PathBuf,
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    kind: Kind,
    place: Place,
    program: PathBuf,
    config: PathBuf,
    environment: Vec<(String, String)>,
    child: Child,
}

impl Daemon {
    /// Starts a daemon that keeps everything below a directory.
    ///
    /// # Errors
    /// When it is not built, cannot be started, or does not answer within 60 s.
    pub fn start(root: &Path, options: &Options) -> Result<Self, Error> {
        Self::start_with(root, options, Vec::new())
    }

    /// As [`Daemon::start`], with more in its environment.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_with(
        root: &Path,
        options: &Options,
        environment: Vec<(String, String)>,
    ) -> Result<Self, Error> {
        let place = Place::new(root);
        for directory in [&place.state, &place.data, &place.certs] {
            fs::create_dir_all(directory).at("create", directory)?;
        }
        options.network.write(&place.cni)?;
        if let Some(mirror) = options.mirror {
            write_mirror(&place.certs, mirror)?;
        }
        let (program, config) = match options.kind {
            Kind::Corten => {
                (tools::program(&options.programs, "corten")?, write_corten_config(&place, options)?)
            }
            Kind::Containerd => {
                let plugins = match &options.network {
                    Network::Executed { plugins, .. } => plugins.clone(),
                    _ => tools::go_cni_directory(),
                };
                (tools::go_tool("containerd", "bench")?, peer::write_config(&place, &plugins)?)
            }
        };
        let mut command = command(options.kind, &program, &config, &environment);
        let child = launch(&mut command, &place.log)?;
        let mut daemon = Self { kind: options.kind, place, program, config, environment, child };
        daemon.wait_until_it_answers()?;
        Ok(daemon)
    }

    /// Which runtime it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether its process has not ended.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// What the next one that is started finds in its environment beside the usual.
    pub fn set_environment(&mut self, environment: Vec<(String, String)>) {
        self.environment = environment;
    }

    /// Where it keeps its things.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Its program and configuration, for starting it a second time.
    pub fn invocation(&self) -> (&Path, &Path) {
        (&self.program, &self.config)
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// When the socket does not answer.
    pub async fn client(&self) -> Result<Cri, Error> {
        Cri::connect(&self.place.socket).await
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.child.kill().and_then(|()| self.child.wait()).map(drop).at("kill", &self.program)
    }

    /// Starts it again after [`Daemon::kill`] or [`Daemon::stop`]; returns when it answers.
    ///
    /// # Errors
    /// When it cannot be started, or does not answer within 60 s.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.begin()?;
        self.wait_until_it_answers()
    }

    /// The same without waiting for an answer.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn begin(&mut self) -> Result<(), Error> {
        let mut command = command(self.kind, &self.program, &self.config, &self.environment);
        self.child = launch(&mut command, &self.place.log)?;
        Ok(())
    }

    /// Puts the programs of a directory in the place of those that it has run until now, for the next start.
    pub fn install(&mut self, programs: &Path) {
        self.program = programs.join("corten");
    }

    /// Starts it again where it has to refuse, and waits for its end; what it said.
    ///
    /// # Errors
    /// When it cannot be started, or serves.
    pub fn refused(&mut self) -> Result<String, Error> {
        let before = fs::read_to_string(&self.place.log).unwrap_or_default().len();
        self.begin()?;
        let after = Duration::from_secs(60);
        let ended = command::wait(&mut self.child, after);
        let text = fs::read_to_string(&self.place.log).unwrap_or_default();
        let said = text.get(before..).unwrap_or_default().to_owned();
        match ended {
            Some(status) if !status.success() => Ok(said),
            _ => Err(Error::Late { what: "the daemon's refusal", after, last: said }),
        }
    }

    /// Ends it with SIGTERM; how long that took.
    ///
    /// # Errors
    /// When it is still there after 60 s.
    pub fn stop(&mut self) -> Result<Duration, Error> {
        let begin = Instant::now();
        let after = Duration::from_secs(60);
        // It fails only for a process that is gone.
        let _ = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
        match command::wait(&mut self.child, after) {
            Some(_) => Ok(begin.elapsed()),
            None => Err(Error::Late { what: "the daemon's end", after, last: self.log_tail() }),
        }
    }

    /// The last lines that it logged.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.place.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn wait_until_it_answers(&mut self) -> Result<(), Error> {
        let after = Duration::from_secs(60);
        let end = Instant::now() + after;
        let late =
            |daemon: &Self| Error::Late { what: "the daemon's answer", after, last: daemon.log_tail() };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().at("start", "tokio")?;
        let socket = self.place.socket.clone();
        // On a thread of its own, because the caller may be inside a runtime already.
        loop {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return Err(late(self));
            }
            let answered = std::thread::scope(|scope| {
                scope.spawn(|| runtime.block_on(answers(&socket))).join().unwrap_or(false)
            });
            if answered {
                // Dropped outside of any other runtime.
                std::thread::spawn(move || drop(runtime));
                return Ok(());
            }
            if Instant::now() > end {
                return Err(late(self));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ends with ---\n{}\n---", self.log_tail());
        }
        // Its pods are swept with the isolation; it must not start to clean up after itself now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn answers(socket: &Path) -> bool {
    match Cri::connect(socket).await {
        Ok(client) => client.answers().await,
        Err(_) => false,
    }
}

fn command(kind: Kind, program: &Path, config: &Path, environment: &[(String, String)]) -> Command {
    let mut command = Command::new(program);
    match kind {
        Kind::Corten => command.arg("serve"),
        Kind::Containerd => command.env("OTEL_TRACES_EXPORTER", "none"),
    };
    command.arg("--config").arg(config);
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

fn launch(command: &mut Command, log: &Path) -> Result<Child, Error> {
    let output = OpenOptions::new().create(true).append(true).open(log).at("create", log)?;
    let errors = output.try_clone().at("duplicate", log)?;
    let program = PathBuf::from(command.get_program());
    command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().at("start", &program)
}

fn write_mirror(certs: &Path, mirror: SocketAddr) -> Result<(), Error> {
    for host in ["_default".to_owned(), mirror.to_string()] {
        let directory = certs.join(host);
        fs::create_dir_all(&directory).at("create", &directory)?;
        let path = directory.join("hosts.toml");
        let text = format!("[host.\"http://{mirror}\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
        fs::write(&path, text).at("write", &path)?;
    }
    Ok(())
}

fn write_corten_config(place: &Place, options: &Options) -> Result<PathBuf, Error> {
    let path = place.root.join("corten.toml");
    let (built_in, in_process, plugins) = match &options.network {
        Network::BuiltIn => (true, true, tools::dist().join("cni")),
        Network::List(_) => (true, true, tools::dist().join("cni")),
        Network::Executed { plugins, .. } => (false, false, plugins.clone()),
        Network::None => (false, true, tools::dist().join("cni")),
    };
    let metrics = options
        .metrics
        .map_or_else(|| place.root.join("metrics.sock").display().to_string(), |address| address.to_string());
    let text = format!(
        r#"socket = "{socket}"
state_dir = "{state}"
data_dir = "{data}"
{extra}
[metrics]
address = "{metrics}"
[network]
conf_dir = "{cni}"
bin_dirs = ["{plugins}"]
builtin_network = {built_in}
in_process = {in_process}
[images]
certs_dir = "{certs}"
"#,
        socket = place.socket.display(),
        state = place.state.display(),
        data = place.data.display(),
        extra = options.extra,
        metrics = metrics,
        cni = place.cni.display(),
        plugins = plugins.display(),
        certs = place.certs.display(),
    );
    fs::write(&path, text).at("write", &path)?;
    // Parents of scenarios are directories, also where systemd would be the default; one that names a driver has it.
    if !options.extra.contains("cgroup_driver") {
        let directory = place.root.join("conf.d");
        fs::create_dir_all(&directory).at("create", &directory)?;
        let drop_in = directory.join("cgroups.toml");
        fs::write(&drop_in, "[runtime]\ncgroup_driver = \"cgroupfs\"\n").at("write", &drop_in)?;
    }
    Ok(path)
}
