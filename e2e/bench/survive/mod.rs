//! kill -9 of the daemon while many pods run: how long until it serves again, whether it tells all exits truly that happened
//! meanwhile, and what it weighs; what lists and statistics take; a boot of the node; and commands, one after the other and side
//! by side.

mod answers;
mod boot;

use crate::commands::{CLIENTS, side_by_side};
use crate::figures::percentile;
use crate::subject::{Subject, each};
use answers::Answers;
use boot::Booted;
use e2e::baseline::Snapshot;
use e2e::client::Cri;
use e2e::error::Context;
use e2e::interrupt::end_on_signals;
use e2e::invariants::numbered;
use e2e::isolation::Isolation;
use e2e::network::{self, Network};
use e2e::proto::{ContainerState, PodSandboxConfig, PodSandboxState};
use e2e::registry::Registry;
use e2e::runtime::{Daemon, Kind, Options};
use e2e::world::BUSYBOX;
use e2e::{Error, image, peer, pods, process, tools, world};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One of so many containers ends while there is no daemon, and with what.
const ENDS: usize = 10;
const CODE: i32 = 7;
/// So many seconds are between two lines of a container, and so many it has written at least after two rests.
const LINE: usize = 10;
const LINES: usize = 4;
/// Within this, a daemon has to know all pods again.
const PATIENCE: Duration = Duration::from_secs(120);
/// After so long at rest a daemon has given back what it does not need: it does so every half minute.
const REST: Duration = Duration::from_secs(32);
/// How long commands are run side by side.
const COMMANDS: Duration = Duration::from_secs(10);

/// How a run is made.
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) pods: Vec<usize>,
    pub(crate) workers: usize,
    pub(crate) commands: bool,
}

struct Running {
    pod: String,
    container: String,
    log: PathBuf,
}

/// What one size came to.
struct Seen {
    /// KiB of the daemon before, and of the one after.
    memory: [u64; 2],
    answers: Duration,
    lists_all: Duration,
    executes: Duration,
    true_exits: usize,
    exits: usize,
    exits_told: Duration,
    /// Of Corten alone.
    more: Option<(Answers, Booted)>,
}

/// Measures one runtime, alone.
///
/// # Errors
/// When something is missing, or a pod is lost.
pub(crate) fn measure(plan: &Plan, limit: Duration) -> Result<(), Error> {
    let isolation = Isolation::enter()?;
    end_on_signals(isolation.sweeper(), limit)?;
    let registry = Registry::start(&isolation.directory("registry")?)?;
    registry.push("busybox", "1", &image::busybox()?)?;
    registry.push(peer::PAUSE_REPOSITORY, peer::PAUSE_TAG, &world::pause_image()?)?;
    let list = network::bridge("1.0.0", "ctb0", "10.90.0.0/16", isolation.root());
    let network = match plan.kind {
        Kind::Corten => Network::List(list),
        Kind::Containerd => Network::Executed { list, plugins: tools::go_cni_directory() },
    };
    let options = Options {
        kind: plan.kind,
        network,
        mirror: Some(registry.address()),
        metrics: None,
        extra: String::new(),
        programs: tools::dist(),
    };
    e2e::boot::comes_up(&isolation, 0)?;
    let daemon = Daemon::start(&isolation.directory("a")?, &options)?;
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .at("start", "tokio")?;
    tokio.block_on(Box::pin(all(plan, daemon, &isolation, &registry)))
}

async fn all(plan: &Plan, daemon: Daemon, isolation: &Isolation, registry: &Registry) -> Result<(), Error> {
    let name = match plan.kind {
        Kind::Corten => "Corten",
        Kind::Containerd => "containerd",
    };
    let mut subject = Subject::new(name, daemon, isolation).await?;
    if plan.commands {
        commands(&subject, 100, plan.workers).await?;
    }
    println!(
        "\n| {name}, kill -9 | serves after, s | lists all after, s | a command after, s | true exits | \
        told after, s | daemon before, MiB | after, MiB |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    let mut more = Vec::new();
    for pods in &plan.pods {
        let seen = survive(&mut subject, isolation, registry, *pods, plan.workers).await?;
        let [before, after] = seen.memory.map(|kibibytes| kibibytes / 1024);
        println!(
            "| {pods} pods | {:.3} | {:.3} | {:.3} | {} of {} | {:.3} | {before} | {after} |",
            seen.answers.as_secs_f64(),
            seen.lists_all.as_secs_f64(),
            seen.executes.as_secs_f64(),
            seen.true_exits,
            seen.exits,
            seen.exits_told.as_secs_f64(),
        );
        more.extend(seen.more.map(|more| (*pods, more)));
    }
    if more.is_empty() {
        return Ok(());
    }
    answers::print(more.iter().map(|(pods, (answers, _))| (*pods, answers)));
    boot::print(more.iter().map(|(pods, (_, booted))| (*pods, booted)));
    more.iter().try_for_each(|(pods, (answers, _))| answers.judge(*pods))
}

async fn fill(subject: &Subject, count: usize, workers: usize) -> Result<Vec<Running>, Error> {
    let configs = (0..count)
        .map(|at| subject.config(&format!("survives-{count}-{at}")))
        .collect::<Result<Vec<_>, _>>()?;
    each(workers, configs.into_iter().map(|config| start(subject.cri.clone(), config))).await
}

/// A container that numbers its lines, and ends with a code of its own when it is asked to.
async fn start(cri: Cri, config: PodSandboxConfig) -> Result<Running, Error> {
    let script =
        format!("trap 'exit {CODE}' TERM; i=0; while :; do echo $i; i=$((i+1)); sleep {LINE} & wait; done");
    let log = Path::new(&config.log_directory).join("main.log");
    let pod = cri.run_pod(&config).await?;
    let container = cri.create(&pod, &pods::shell("main", BUSYBOX, &script), &config).await?;
    cri.start(&container).await?;
    Ok(Running { pod, container, log })
}

/// Looks also that nothing is left of them, where the daemon is Corten: of the peer some things stay.
async fn survive(
    subject: &mut Subject,
    isolation: &Isolation,
    registry: &Registry,
    count: usize,
    workers: usize,
) -> Result<Seen, Error> {
    let at_rest = Snapshot::take_at_rest(isolation, &subject.daemon)?.without("process").without("fd");
    let running = fill(subject, count, workers).await?;
    tokio::time::sleep(REST).await;
    let before = process::memory(subject.daemon.pid(), "VmRSS")?;
    let (ending, staying): (Vec<_>, Vec<_>) = running.iter().enumerate().partition(|(at, _)| at % ENDS == 0);
    let mut pids = Vec::new();
    for (_, one) in &ending {
        let pid = subject.cri.container_info(&one.container).await?["pid"].as_i64();
        let pid = pid.and_then(|pid| i32::try_from(pid).ok());
        pids.push(pid.ok_or(Error::Incomplete { method: "ContainerStatus", part: "pid" })?);
    }
    subject.daemon.kill()?;
    for pid in pids {
        kill(Pid::from_raw(pid), Signal::SIGTERM)
            .map_err(|source| Error::System { operation: "kill", source })?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;

    let begin = Instant::now();
    let answers = subject.restart().await?;
    let cri = &subject.cri;
    until(begin, || async {
        let ready =
            cri.pods().await?.iter().filter(|pod| pod.state() == PodSandboxState::SandboxReady).count();
        Ok(ready == count)
    })
    .await?;
    let lists_all = begin.elapsed();
    let one = staying.first().ok_or(Error::Incomplete { method: "the plan", part: "pods that stay" })?.1;
    until(begin, || async {
        Ok(cri.exec(&one.container, &["/bin/true"], 10).await.is_ok_and(|reply| reply.exit_code == 0))
    })
    .await?;
    let executes = begin.elapsed();
    let mut true_exits = 0;
    for (_, one) in &ending {
        until(begin, || async { Ok(state(cri, one).await? == ContainerState::ContainerExited) }).await?;
        true_exits += usize::from(cri.container_status(&one.container).await?.exit_code == CODE);
    }
    let exits_told = begin.elapsed();
    tokio::time::sleep(REST).await;
    let memory = [before, process::memory(subject.daemon.pid(), "VmRSS")?];
    let exits = ending.len();
    let mut more = None;
    if subject.daemon.kind() == Kind::Corten {
        lines_are_whole(staying.iter().map(|(_, one)| *one))?;
        let answers = Answers::measure(subject, count, exits).await?;
        let booted = boot::boot(subject, isolation, registry, &running, workers).await?;
        at_rest.settle(isolation, &subject.daemon)?;
        more = Some((answers, booted));
    } else {
        subject.empty(running.into_iter().map(|one| one.pod).collect(), workers).await?;
    }
    Ok(Seen { memory, answers, lists_all, executes, true_exits, exits, exits_told, more })
}

/// No line of a log is missing or doubled.
fn lines_are_whole<'a>(running: impl Iterator<Item = &'a Running>) -> Result<(), Error> {
    for one in running {
        let lines = numbered(std::slice::from_ref(&one.log))?;
        if lines < LINES {
            let seen = format!("{lines} lines in {}", one.log.display());
            return Err(Error::Unexpected { what: "the log of a container that goes on", seen });
        }
    }
    Ok(())
}

async fn state(cri: &Cri, one: &Running) -> Result<ContainerState, Error> {
    Ok(cri.container_status(&one.container).await?.state())
}

async fn until<F: Future<Output = Result<bool, Error>>>(
    begin: Instant,
    is_so: impl Fn() -> F,
) -> Result<(), Error> {
    while !is_so().await? {
        if begin.elapsed() > PATIENCE {
            let last = "pods, a command, or exits".to_owned();
            return Err(Error::Late { what: "what a killed daemon knew", after: PATIENCE, last });
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Commands in one of many pods after the other, side by side.
async fn commands(subject: &Subject, count: usize, workers: usize) -> Result<(), Error> {
    let running = fill(subject, count, workers).await?;
    let containers: Vec<String> = running.iter().map(|one| one.container.clone()).collect();
    let (times, rate) = side_by_side(&subject.cri, &containers, COMMANDS).await?;
    println!(
        "\n| {}, {count} pods, {CLIENTS} clients | ExecSync a second | p50, ms | p99, ms |",
        subject.name
    );
    println!("|---|---:|---:|---:|");
    println!("| | {rate:.0} | {:.2} | {:.2} |", percentile(&times, 50), percentile(&times, 99));
    subject.empty(running.into_iter().map(|one| one.pod).collect(), workers).await
}
