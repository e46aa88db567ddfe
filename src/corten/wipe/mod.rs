//! `corten wipe`: takes everything of this node that is Corten's, and only that. Pods are taken down as a daemon would, by
//! their records; what records do not tell is found by their ids. Each step may have been done before, so that one who is
//! killed in the middle is run again.

mod hand;
mod lost;
mod rest;
mod supervisors;
mod survey;

use crate::config::{self, Config};
use crate::error::{Error, chain};
use crate::lock::{self, DirectoryLock, LockError};
use cli::wipe::WipeArgs;
use client::print;
use engine::{Engine, Paths, PodFilter, Settings};
use image::ImageStore;
use net::Network;
use prometheus::Registry;
use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use survey::Survey;

/// Pods that are taken down at a time.
const AT_ONCE: usize = 16;
/// How long one may take: the longest CNI call, and some.
const OF_A_POD: Duration = Duration::from_secs(180);

/// Why a node is not wiped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WipeError {
    /// Its pods are the daemon's.
    #[error(
        "the daemon runs, and would lose its pods: {holder} has {}, and answers on {}: stop it first (`systemctl stop corten`, \
         or SIGTERM to that process), and take the node out of service before",
        directory.display(),
        socket.display()
    )]
    DaemonRuns {
        /// Its process.
        holder: String,
        /// Which of its directories it has locked.
        directory: PathBuf,
        /// Where the kubelet reaches it.
        socket: PathBuf,
    },
    /// Nobody can be asked.
    #[error("there is no terminal to ask on: --yes wipes without asking, --dry-run says what it would do")]
    NobodyToAsk,
    /// No was the answer.
    #[error("nothing was done")]
    Refused,
    /// What could not be taken away is told already.
    #[error("{0} of it could not be taken away: see above, and run this again")]
    Left(usize),
    /// stdin cannot be read.
    #[error("cannot read the answer")]
    Ask(#[source] std::io::Error),
}

/// Wipes, or says what it would take.
///
/// # Errors
/// A daemon runs, nobody agrees, or something could not be taken away.
pub(crate) fn run(request: &WipeArgs) -> Result<(), Error> {
    let config = config::load(request.config.as_deref())?.config;
    let survey = Survey::take(&config, request.images);
    if request.dry_run {
        let daemon = [&config.state_dir, &config.data_dir]
            .into_iter()
            .find_map(|directory| Some(running(&config, directory, lock::holding(directory)?.to_string())));
        let warning = daemon.map(|daemon| format!("now this would be refused: {daemon}\n"));
        let there =
            if survey.is_empty() { "nothing of Corten's is here\n".to_owned() } else { survey.to_string() };
        return Ok(print(&(there + &warning.unwrap_or_default()))?);
    }
    // Held to the end: no daemon starts meanwhile.
    let _locks = take_locks(&config)?;
    if !request.yes {
        ask(&survey)?;
    }
    let mut failures = lost::end(&survey, &paths(&config));
    // A daemon would throw away what is left of lost pods: not while they are there.
    let may_forget = failures.is_empty();
    let mut made = survey.made_cgroups();
    if may_forget {
        failures.extend(pods(&config, &survey, &mut made));
    }
    failures.extend(rest::take(
        &config,
        &survey,
        &made,
        &rest::Records { may_forget, images: request.images },
    ));
    for failure in &failures {
        print(&format!("left: {failure}\n"))?;
    }
    if failures.is_empty() { Ok(print("wiped\n")?) } else { Err(WipeError::Left(failures.len()).into()) }
}

fn take_locks(config: &Config) -> Result<Vec<DirectoryLock>, Error> {
    let there = [&config.state_dir, &config.data_dir].into_iter().filter(|directory| directory.is_dir());
    let take = |directory: &PathBuf| match DirectoryLock::take(directory) {
        Err(LockError::Held { directory, holder }) => Err(running(config, &directory, holder).into()),
        taken => taken.map_err(Error::from),
    };
    there.map(take).collect()
}

fn running(config: &Config, directory: &Path, holder: String) -> WipeError {
    WipeError::DaemonRuns { holder, directory: directory.to_owned(), socket: config.socket.clone() }
}

fn ask(survey: &Survey) -> Result<(), Error> {
    if !std::io::stdin().is_terminal() {
        return Err(WipeError::NobodyToAsk.into());
    }
    print(&format!("{survey}Take all of this away? Type yes: "))?;
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(WipeError::Ask)?;
    if answer.trim() == "yes" { Ok(()) } else { Err(WipeError::Refused.into()) }
}

/// Takes the pods down as a daemon does that is asked to: processes, networks by their plugins, mounts, cgroups, records.
/// Cgroup directories that were made for them are added to those that are known.
fn pods(config: &Config, survey: &Survey, made: &mut BTreeSet<PathBuf>) -> Vec<String> {
    // Pods without either may have left something with the plugins.
    if survey.pods.is_empty() && !config.state_dir.is_dir() && !config.data_dir.is_dir() {
        return Vec::new();
    }
    let directories = [&config.state_dir, &config.data_dir].into_iter();
    let unmade = directories.filter_map(|directory| {
        let error = std::fs::create_dir_all(directory).err()?;
        Some(format!("{}: {error}", directory.display()))
    });
    let unmade: Vec<String> = unmade.collect();
    if !unmade.is_empty() {
        return unmade;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return vec![format!("pods: cannot start the asynchronous runtime: {error}")],
    };
    let failures = runtime.block_on(Box::pin(take_down(config, survey, made)));
    runtime.shutdown_timeout(Duration::from_secs(5));
    failures
}

fn paths(config: &Config) -> Paths {
    Paths { state: config.state_dir.clone(), data: config.data_dir.clone() }
}

async fn take_down(config: &Config, survey: &Survey, made: &mut BTreeSet<PathBuf>) -> Vec<String> {
    let mut failures = Vec::new();
    // No pod comes any more.
    let settings = net::NetworkSettings { warm_namespaces: 0, ..config.network.clone() };
    let engine = match Network::open(settings, &Registry::new()) {
        Ok(network) => {
            failures = lost::detach(survey, &network).await;
            open(config, network.clone()).await.map(|engine| (engine, network))
        }
        Err(error) => Err(error.into()),
    };
    let (engine, network) = match engine {
        Ok(opened) => opened,
        // What is left of pods is found by their ids.
        Err(error) => {
            failures.push(format!("pods: they cannot be taken down by their records: {}", chain(&error)));
            return failures;
        }
    };
    // Also of those that were restored of durable copies.
    made.extend(paths(config).recorded().into_iter().flat_map(|pod| pod.cgroups));
    let ids: Vec<String> =
        engine.pods().list_pods(&PodFilter::default()).iter().map(|pod| pod.id.to_string()).collect();
    let removals = ids.into_iter().map(|id| {
        let pods = engine.pods().clone();
        async move {
            let removed = tokio::time::timeout(OF_A_POD, pods.remove_pod(&id)).await;
            let problem = match removed {
                Ok(Ok(())) => {
                    let _ = print(&format!("pod {id}: taken down\n"));
                    return None;
                }
                Ok(Err(error)) => chain(&error),
                Err(_) => format!("not within {} s", OF_A_POD.as_secs()),
            };
            Some(format!("pod {id}: {problem}"))
        }
    });
    let removed = futures::StreamExt::buffer_unordered(futures::stream::iter(removals), AT_ONCE);
    let outcomes: Vec<Option<String>> = futures::StreamExt::collect(removed).await;
    failures.extend(outcomes.into_iter().flatten());
    engine.settled().await;
    if let Err(error) = Box::pin(network.gc(&[])).await {
        failures.push(format!("networks of pods that are gone: {}", chain(&error)));
    }
    failures
}

async fn open(config: &Config, network: Arc<Network>) -> Result<Arc<Engine>, Error> {
    let registry = Registry::new();
    let images = ImageStore::open(config.images.clone(), &registry)?;
    // Groups of cache go: none is made for the last time.
    let settings = Settings { rdt_config_file: PathBuf::new(), ..config.engine() };
    Ok(Engine::open(settings, paths(config), images, network, &registry).await?)
}
