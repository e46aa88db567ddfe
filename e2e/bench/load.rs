//! A Deployment that fills a node of a real cluster, on Corten and on containerd: until all of it is Ready, until all of it
//! is gone, and what the kubelet counts meanwhile.

use crate::kubelet::Counts;
use e2e::cluster::{Cluster, Kubectl, Options, PAUSE};
use e2e::interrupt::end_on_signals;
use e2e::runtime::Kind;
use e2e::{Error, command};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Within this, Pods have to come, and have to go.
const PATIENCE: Duration = Duration::from_secs(600);
/// The size whose time to Ready has a bar: the kubelet's default limit of pods.
const JUDGED: u32 = 110;
/// So many times longer the peer has to take for it.
const BAR: f64 = 2.5;
/// The kubelet's requests that take less than this are not shown one by one.
const SHOWN: f64 = 0.05;
const RUNTIMES: [(&str, Kind); 2] = [("Corten", Kind::Corten), ("containerd", Kind::Containerd)];

/// What one filling and emptying of the node took.
struct Filling {
    ready: Duration,
    gone: Duration,
    counts: Counts,
}

/// Fills and empties a node so many times with each number of pods, the runtimes alternating.
///
/// # Errors
/// When a cluster does not start, pods do not come or go, or Corten's advantage is less than it should be.
pub(crate) fn measure(sizes: &[u32], rounds: usize, limit: Duration) -> Result<(), Error> {
    let mut seen: [Vec<Vec<Filling>>; 2] = Default::default();
    for _ in 0..rounds {
        for ((name, kind), seen) in RUNTIMES.iter().zip(&mut seen) {
            seen.push(apart(name, *kind, sizes, limit)?);
        }
    }
    let mut fine = true;
    for (index, pods) in sizes.iter().enumerate() {
        let [ours, peers] =
            seen.each_ref().map(|rounds| rounds.iter().map(|round| &round[index]).collect::<Vec<_>>());
        fine &= print(*pods, &ours, &peers);
    }
    if fine {
        return Ok(());
    }
    let seen = format!("less than {BAR} times faster than containerd");
    Err(Error::Unexpected { what: "Corten's time to Ready", seen })
}

/// On a thread of its own, as a cluster changes the namespaces of the one that starts it.
fn apart(name: &str, kind: Kind, sizes: &[u32], limit: Duration) -> Result<Vec<Filling>, Error> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let options = Options {
                kind,
                // The node is full of the Deployment.
                dns: false,
                ..Options::new(&format!("bench-{}", name.to_lowercase()))
            };
            let Some(cluster) = Cluster::start(&options)? else { return Ok(Vec::new()) };
            for sweeper in cluster.sweepers() {
                end_on_signals(sweeper, limit)?;
            }
            println!("{name}: the node is ready after {:.1} s", cluster.ready_after.as_secs_f64());
            // The image is there afterwards, and everything that is made once.
            fill(&cluster, 3)?;
            sizes.iter().map(|pods| fill(&cluster, *pods).inspect(|it| it.tell(name, *pods))).collect()
        });
        thread.join().unwrap_or_else(|_| {
            Err(Error::Unexpected { what: "a thread with a cluster", seen: "a panic".to_owned() })
        })
    })
}

fn fill(cluster: &Cluster, pods: u32) -> Result<Filling, Error> {
    let kubectl = &cluster.kubectl;
    let before = Counts::read(kubectl)?;
    let begin = Instant::now();
    kubectl.create(&[deployment(pods)])?;
    // One process that watches: asking again and again would take from those that are measured.
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    run(kubectl, &["rollout", "status", "deployment/load", &timeout])?;
    let ready = begin.elapsed();
    // Until the kubelet has seen all of it, and rests.
    std::thread::sleep(Duration::from_secs(3));
    let begin = Instant::now();
    kubectl.run(&["delete", "deployment/load", "--wait=false"])?;
    run(kubectl, &["wait", "--for=delete", "pod", "--selector=app=load", &timeout])?;
    let gone = begin.elapsed();
    // It removes sandboxes a little later than pods.
    std::thread::sleep(Duration::from_secs(3));
    Ok(Filling { ready, gone, counts: Counts::read(kubectl)?.since(&before) })
}

fn run(kubectl: &Kubectl, arguments: &[&str]) -> Result<String, Error> {
    command::run(&mut kubectl.command(arguments), PATIENCE + Duration::from_secs(10))
}

fn deployment(pods: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "load"},
        "spec": {
            "replicas": pods, "selector": {"matchLabels": {"app": "load"}},
            "template": {
                "metadata": {"labels": {"app": "load"}},
                "spec": {"terminationGracePeriodSeconds": 5, "containers": [{"name": "main", "image": PAUSE}]},
            },
        },
    })
}

impl Filling {
    fn tell(&self, name: &str, pods: u32) {
        let (ready, gone) = (self.ready.as_secs_f64(), self.gone.as_secs_f64());
        println!("{name}: {pods} pods are Ready after {ready:.1} s, and gone after {gone:.1} s");
    }
}

/// Prints a table; whether Corten's advantage is what it should be.
fn print(pods: u32, ours: &[&Filling], peers: &[&Filling]) -> bool {
    let [our_name, peer_name] = RUNTIMES.map(|(name, _)| name);
    println!("\n| {pods} pods, seconds | {our_name} | {peer_name} | {peer_name} / {our_name} |");
    println!("|---|---:|---:|---:|");
    let row = |name: &str, of: &dyn Fn(&Filling) -> f64| {
        let (ours, peers) = (median(ours, of), median(peers, of));
        println!("| {name} | {ours:.2} | {peers:.2} | {:.1}x |", peers / ours);
        peers / ours
    };
    let ratio = row("until all are Ready", &|it| it.ready.as_secs_f64());
    row("until all are gone", &|it| it.gone.as_secs_f64());
    row("kubelet_pod_start_sli_duration, mean", &|it| it.counts.start.mean());
    row("the same, p50", &|it| it.counts.start.quantile(0.5));
    row("the same, p90", &|it| it.counts.start.quantile(0.9));
    row("kubelet_runtime_operations_duration, all", &|it| it.counts.operations.values().sum());
    let names: BTreeSet<&String> =
        ours.iter().chain(peers).flat_map(|it| it.counts.operations.keys()).collect();
    for name in names {
        let of = |it: &Filling| it.counts.operations.get(name).copied().unwrap_or_default();
        if median(ours, &of).max(median(peers, &of)) >= SHOWN {
            row(name, &of);
        }
    }
    pods != JUDGED || ratio >= BAR
}

fn median(of: &[&Filling], figure: &dyn Fn(&Filling) -> f64) -> f64 {
    let mut figures: Vec<f64> = of.iter().map(|it| figure(it)).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
