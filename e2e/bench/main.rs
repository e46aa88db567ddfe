//! Corten against containerd with runc, in one run: the same images, network and cgroup parent, pods alternating.
//!
//! Everything happens in namespaces of the bench's own, with all state on a tmpfs; it ends by itself within ten
//! minutes and leaves no trace.

mod commands;
mod compare;
mod figures;
mod floor;
mod idle;
mod kubelet;
mod load;
mod nri;
mod profile;
mod pull;
mod rates;
mod report;
mod rest;
mod scene;
mod skim;
mod stats;
mod subject;
mod survive;
mod trace;

use clap::{Parser, Subcommand};
use e2e::error::{Chain, Context};
use e2e::isolation::Isolation;
use e2e::network::{self, Network};
use e2e::registry::{Registry, free_address};
use e2e::runtime::{Daemon, Kind, Options};
use e2e::{Error, http, peer, tools, world};
use scene::Scene;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use subject::Subject;

/// Past this the bench ends itself.
const LIMIT: Duration = Duration::from_secs(590);
/// The same of a cluster.
const CLUSTER_LIMIT: Duration = Duration::from_secs(1800);

/// Measures Corten, containerd with runc, and the floor.
#[derive(Debug, Parser)]
struct Cli {
    /// Pods of each runtime, one after the other, alternating
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// Pods of each runtime that run at once
    #[arg(long, default_value_t = 50)]
    pods: usize,
    /// Requests in flight while they start
    #[arg(long, default_value_t = 8)]
    workers: usize,
    /// Measure the peer and the floor alone, to judge the machine
    #[arg(long)]
    peer_only: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Measure pulls of large images, beside containerd and the floor
    Pull {
        /// Pulls of each
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// A directory for the stores, instead of a tmpfs
        #[arg(long)]
        on: Option<PathBuf>,
        /// The programs of another build, laid out as target/dist: pulls of both alternate, and nothing else is measured
        #[arg(long)]
        beside: Option<PathBuf>,
        /// Measure what comes from a registry that is far away alone: many small images, and a large layer
        #[arg(long, conflicts_with = "beside")]
        far: bool,
    },
    /// Measure pods of this build beside those of another one and the floor, alternating
    Compare {
        /// The programs of the other build, laid out as target/dist
        #[arg(long)]
        base: Option<PathBuf>,
        /// Pods of each
        #[arg(long, default_value_t = 100)]
        rounds: usize,
    },
    /// Measure commands in running containers, one after the other and eight in flight, beside those of another build
    Commands {
        /// The programs of the other build, laid out as target/dist
        #[arg(long)]
        base: Option<PathBuf>,
        /// Pods of each, with a container each
        #[arg(long, default_value_t = 50)]
        pods: usize,
        /// Turns of each
        #[arg(long, default_value_t = 10)]
        rounds: usize,
    },
    /// Tell where the time of a pod's start goes, in the daemon, the supervisor and the kernel
    Profile {
        /// Numbers of pods that run meanwhile, one after the other
        #[arg(long, value_delimiter = ',', default_values_t = [10, 500, 1000])]
        pods: Vec<usize>,
        /// Pods that are started and removed
        #[arg(long, default_value_t = 50)]
        rounds: usize,
    },
    /// Measure what the idle daemon's memory is
    Idle,
    /// Measure how often daemon and supervisors wake while nothing happens
    Rest {
        /// Pods that sleep meanwhile
        #[arg(long, default_value_t = 100)]
        pods: usize,
        /// For so long
        #[arg(long, default_value_t = 300)]
        seconds: u64,
    },
    /// Measure how long Corten takes to tell the usage of many pods
    Stats {
        /// Pods that run meanwhile
        #[arg(long, default_value_t = 1000)]
        pods: usize,
        /// Requests in flight while they start and end
        #[arg(long, default_value_t = 8)]
        workers: usize,
        /// Answers of each kind
        #[arg(long, default_value_t = 50)]
        answers: usize,
        /// Milliseconds between them
        #[arg(long, default_value_t = 0)]
        pause: u64,
    },
    /// Measure how many pods start in a second, and what CPU time each takes, beside how many others
    Rates {
        /// Numbers of pods beside, in rising order
        #[arg(long, value_delimiter = ',', default_values_t = [100, 500, 950])]
        beside: Vec<usize>,
        /// Requests in flight
        #[arg(long, default_value_t = 8)]
        workers: usize,
    },
    /// Measure what kill -9 of the daemon costs while many pods run, and commands in a hundred of them
    Survive {
        /// Numbers of pods, one after the other
        #[arg(long, value_delimiter = ',', default_values_t = [500, 1000])]
        pods: Vec<usize>,
        /// Requests in flight while they start and end
        #[arg(long, default_value_t = 8)]
        workers: usize,
        /// containerd with runc in the place of Corten
        #[arg(long)]
        peer: bool,
        /// Leave the commands out
        #[arg(long)]
        kills_only: bool,
    },
    /// Measure what plugins of the Node Resource Interface add to the start of a pod, beside containerd
    Nri {
        /// Pods of each runtime with each plugin
        #[arg(long, default_value_t = 30)]
        rounds: usize,
    },
    /// Measure a Deployment that fills the node of a real cluster, beside containerd
    Cluster {
        /// Numbers of pods, one after the other
        #[arg(long, value_delimiter = ',', default_values_t = [110, 250])]
        pods: Vec<u32>,
        /// Clusters of each runtime
        #[arg(long, default_value_t = 1)]
        rounds: usize,
    },
    /// The floor alone: one pod for each line of standard input
    #[command(hide = true)]
    Floor {
        /// A directory for layers and pods
        #[arg(long)]
        root: PathBuf,
        /// The parent of its cgroups
        #[arg(long)]
        parent: String,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.part {
        Some(Part::Pull { rounds, on, beside, far }) => {
            let part = match beside {
                Some(other) => pull::Part::Beside(other),
                None if *far => pull::Part::Far,
                None => pull::Part::All,
            };
            pull::measure(*rounds, on.as_deref(), &part, LIMIT)
        }
        Some(Part::Compare { base, rounds }) => compare::measure(base.as_deref(), *rounds, LIMIT),
        Some(Part::Commands { base, pods, rounds }) => {
            commands::measure(base.as_deref(), *pods, *rounds, LIMIT)
        }
        Some(Part::Profile { pods, rounds }) => profile::measure(pods, *rounds, LIMIT),
        Some(Part::Rates { beside, workers }) => rates::measure(beside, *workers, LIMIT),
        Some(Part::Idle) => idle::measure(LIMIT),
        Some(Part::Rest { pods, seconds }) => rest::measure(*pods, Duration::from_secs(*seconds), LIMIT),
        Some(Part::Stats { pods, workers, answers, pause }) => {
            let pace = stats::Pace { answers: *answers, pause: Duration::from_millis(*pause) };
            stats::measure(*pods, *workers, pace, LIMIT)
        }
        Some(Part::Survive { pods, workers, peer, kills_only }) => {
            let kind = if *peer { Kind::Containerd } else { Kind::Corten };
            let plan = survive::Plan { kind, pods: pods.clone(), workers: *workers, commands: !kills_only };
            survive::measure(&plan, LIMIT)
        }
        Some(Part::Nri { rounds }) => nri::measure(*rounds, LIMIT),
        Some(Part::Cluster { pods, rounds }) => load::measure(pods, *rounds, CLUSTER_LIMIT),
        Some(Part::Floor { root, parent }) => floor::serve(root, parent),
        None => bench(&cli),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {}", Chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn bench(cli: &Cli) -> Result<(), Error> {
    let begin = Instant::now();
    let scene = Scene::set(LIMIT)?;
    let Scene { tokio, registry, isolation } = &scene;
    registry.push(peer::PAUSE_REPOSITORY, peer::PAUSE_TAG, &world::pause_image()?)?;
    let metrics = free_address()?;
    let mut floor = Floor::start(isolation)?;
    let mut subjects = tokio.block_on(start(isolation, registry, metrics, cli.peer_only))?;

    let mut floor_times = Vec::new();
    for round in 0..cli.rounds {
        let count = subjects.len();
        for turn in 0..count {
            // Each goes first equally often.
            let subject = &mut subjects[(round + turn) % count];
            tokio.block_on(subject.one(&format!("round-{round}")))?;
        }
        floor_times.push(floor.pod()?);
    }
    // Now, so that the parallel part does not blur them.
    let stages = (!cli.peer_only)
        .then(|| http::Request { method: "GET", target: "/metrics", headers: &[], body: &[] }.send(metrics));
    for subject in &mut subjects {
        tokio.block_on(subject.many(cli.pods, cli.workers, isolation))?;
    }

    println!("{}", versions()?);
    report::print_sizes(&tools::dist());
    report::print(&subjects, &floor_times, cli.workers, cli.pods);
    match stages {
        None => {}
        Some(Ok(reply)) => report::print_stages(&String::from_utf8_lossy(&reply.body)),
        Some(Err(error)) => println!("\nCorten's metrics cannot be read: {}", Chain(&error)),
    }
    println!("\nMeasured in {:.0} s.", begin.elapsed().as_secs_f64());
    report::judge(&subjects, &floor_times)
}

/// Corten with its own plugins and with upstream's, then the peer.
async fn start(
    isolation: &Isolation,
    registry: &Registry,
    metrics: SocketAddr,
    peer_only: bool,
) -> Result<Vec<Subject>, Error> {
    let mut subjects = Vec::new();
    for (number, (name, directory, kind, own)) in [
        ("Corten, in process", "a", Kind::Corten, true),
        ("Corten, Go plugins", "b", Kind::Corten, false),
        ("containerd+runc", "c", Kind::Containerd, false),
    ]
    .into_iter()
    .enumerate()
    .filter(|(_, (_, _, kind, _))| !peer_only || *kind == Kind::Containerd)
    {
        let (bridge, subnet) = (format!("ctb{number}"), format!("10.{}.0.0/16", 90 + number));
        let list = network::bridge("1.0.0", &bridge, &subnet, isolation.root());
        let network = if own {
            Network::List(list)
        } else {
            Network::Executed { list, plugins: tools::go_cni_directory() }
        };
        let options = Options {
            kind,
            network,
            mirror: Some(registry.address()),
            metrics: own.then_some(metrics),
            extra: String::new(),
            programs: e2e::tools::dist(),
        };
        let daemon = Daemon::start(&isolation.directory(directory)?, &options)?;
        subjects.push(Box::pin(Subject::new(name, daemon, isolation)).await?);
    }
    Ok(subjects)
}

fn versions() -> Result<String, Error> {
    let first_line = |command: &mut Command| {
        let finished = e2e::command::finish(command, Duration::from_secs(5))?;
        let said = if finished.stdout.trim().is_empty() { finished.stderr } else { finished.stdout };
        Ok::<_, Error>(said.lines().next().unwrap_or_default().trim().to_owned())
    };
    let corten = match tools::corten("corten") {
        Ok(program) => first_line(Command::new(program).arg("--version"))?,
        Err(_) => "corten is not built".to_owned(),
    };
    let containerd = first_line(Command::new(tools::go_tool("containerd", "bench")?).arg("--version"))?;
    let runc = first_line(Command::new(tools::go_tool("runc", "bench")?).arg("--version"))?;
    let plugin = first_line(&mut Command::new(tools::go_tool("cni/bridge", "bench")?))?;
    Ok(format!("{corten}; {containerd}; {runc}; {plugin}"))
}

/// The floor's process.
struct Floor {
    child: Child,
    replies: BufReader<std::process::ChildStdout>,
}

impl Floor {
    fn start(isolation: &Isolation) -> Result<Self, Error> {
        let program = std::env::current_exe().at("find", "the bench's own program")?;
        let mut child = Command::new(&program)
            .args(["floor", "--parent", &isolation.cgroup_parent(), "--root"])
            .arg(isolation.directory("floor")?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .at("start", &program)?;
        let stdout = child.stdout.take().ok_or(Error::Incomplete { method: "the floor", part: "stdout" })?;
        let mut floor = Self { child, replies: BufReader::new(stdout) };
        // Two that nobody measures.
        floor.pod()?;
        floor.pod()?;
        Ok(floor)
    }

    /// One pod; the nanoseconds that it took.
    fn pod(&mut self) -> Result<u128, Error> {
        let stdin =
            self.child.stdin.as_mut().ok_or(Error::Incomplete { method: "the floor", part: "stdin" })?;
        stdin.write_all(b"\n").at("write to", "the floor")?;
        let mut line = String::new();
        self.replies.read_line(&mut line).at("read from", "the floor")?;
        line.trim().parse().map_err(|_| Error::Incomplete { method: "the floor", part: "a time" })
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
