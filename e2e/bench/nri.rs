//! What plugins of the Node Resource Interface add to the start of a pod, on Corten and on containerd.

use crate::figures::percentile;
use crate::scene::Scene;
use crate::subject::{POD_START, Subject};
use e2e::error::Context;
use e2e::isolation::Isolation;
use e2e::network::{self, Network};
use e2e::plugin::{self, Plugin};
use e2e::registry::Registry;
use e2e::runtime::{Daemon, Kind, Options};
use e2e::{Error, peer, tools, world};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Milliseconds that a plugin which subscribes to everything may add at half of the starts.
const BAR: f64 = 0.3;
const POLICY: &str = "apiVersion: config.nri/v1alpha1\nkind: TopologyAwarePolicy\nmetadata:\n  name: default\nspec:\n  \
                      pinCPU: true\n  pinMemory: true\n  reservedResources:\n    cpu: 500m\n";

/// Who is connected while pods start.
const COMPANY: [&str; 4] = ["no plugin", "a plugin in Rust", "logger", "topology-aware"];

/// A runtime with the plugin that is connected to it.
struct Setting {
    subject: Subject,
    /// It goes with this.
    _plugin: Option<Plugin>,
}

/// Starts pods on each runtime, one after the other, alternating, with each plugin.
///
/// # Errors
/// When something is missing, or a runtime fails.
pub(crate) fn measure(rounds: usize, limit: Duration) -> Result<(), Error> {
    let scene = Scene::set(limit)?;
    let Scene { tokio, registry, isolation } = &scene;
    registry.push(peer::PAUSE_REPOSITORY, peer::PAUSE_TAG, &world::pause_image()?)?;
    let mut settings = Vec::new();
    for (number, name) in COMPANY.into_iter().enumerate() {
        if ["logger", "topology-aware"].contains(&name) && plugin::program(name).is_err() {
            println!("{name} is not built, and left out");
            continue;
        }
        for kind in [Kind::Corten, Kind::Containerd] {
            let daemon = start(isolation, registry, kind, number)?;
            let plugin = join(&daemon, name)?;
            let subject = tokio.block_on(Box::pin(Subject::new(name, daemon, isolation)))?;
            settings.push(Setting { subject, _plugin: plugin });
        }
    }
    for round in 0..rounds {
        let count = settings.len();
        for turn in 0..count {
            // Each goes first equally often.
            let subject = &mut settings[(round + turn) % count].subject;
            tokio.block_on(Box::pin(subject.one(&format!("round-{round}"))))?;
        }
    }
    print(&settings, rounds);
    Ok(())
}

fn start(isolation: &Isolation, registry: &Registry, kind: Kind, number: usize) -> Result<Daemon, Error> {
    let (letter, net) = if kind == Kind::Corten { ("a", 90 + number) } else { ("c", 100 + number) };
    let root = isolation.directory(&format!("{letter}{number}"))?;
    let socket = socket(&root);
    if kind == Kind::Containerd {
        let directory = root.join("conf.d");
        fs::create_dir_all(&directory).at("create", &directory)?;
        let text = format!("version = 4\n[plugins.\"io.containerd.nri.v1.nri\"]\nsocket_path = {socket:?}\n");
        let path = directory.join("nri.toml");
        fs::write(&path, text).at("write", &path)?;
    }
    let list = network::bridge("1.0.0", &format!("ctb{net}"), &format!("10.{net}.0.0/16"), &root);
    let network = if kind == Kind::Corten {
        Network::List(list)
    } else {
        Network::Executed { list, plugins: tools::go_cni_directory() }
    };
    let options = Options {
        kind,
        network,
        mirror: Some(registry.address()),
        metrics: None,
        extra: format!("[nri]\nsocket_path = {socket:?}\n"),
        programs: tools::dist(),
    };
    Daemon::start(&root, &options)
}

fn socket(root: &Path) -> String {
    root.join("nri/nri.sock").display().to_string()
}

fn join(daemon: &Daemon, name: &str) -> Result<Option<Plugin>, Error> {
    let root = &daemon.place().root;
    let socket = socket(root);
    let own = |file: &str| root.join(file).display().to_string();
    let (mut command, told) = match name {
        "a plugin in Rust" => {
            let bench = std::env::current_exe().at("find", "the bench's own program")?;
            let program = bench.with_file_name("examples").join("nri-plugin");
            let mut command = Command::new(&program);
            command.arg(&socket);
            (command, "10-rust")
        }
        "logger" => {
            let mut command = Command::new(plugin::program("logger")?);
            command.args(["-idx", "10", "-socket-path", &socket, "-events", "all"]);
            (command, "10-logger")
        }
        "topology-aware" => {
            let policy = own("policy.yaml");
            fs::write(&policy, POLICY).at("write", Path::new(&policy))?;
            let mut command = Command::new(plugin::program("topology-aware")?);
            command.args(["-config-file", &policy, "-nri-socket", &socket, "-state-dir", &own("policy")]);
            command.args(["-nri-plugin-index", "90", "-nri-plugin-name", "topology-aware"]);
            command.args(["-pid-file", &own("policy.pid")]);
            (command, "90-topology-aware")
        }
        _ => return Ok(None),
    };
    command.current_dir(root);
    Plugin::join(daemon, command, &[told]).map(Some)
}

fn print(settings: &[Setting], rounds: usize) {
    let of = |kind: Kind| {
        let all = settings.iter().map(|setting| &setting.subject);
        all.filter(move |subject| subject.daemon.kind() == kind)
    };
    let value = |subject: &Subject, percent| percentile(&subject.times[POD_START], percent);
    println!(
        "\n| pod start, ms, of {rounds} pods | Corten p50 | p95 | added | containerd+runc p50 | p95 | added | ratio |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    let cells = |subject: &Subject| {
        let without = of(subject.daemon.kind()).next().map_or(0.0, |first| added(subject, first));
        format!("{:.2} | {:.2} | {without:+.2}", value(subject, 50), value(subject, 95))
    };
    for (ours, peer) in of(Kind::Corten).zip(of(Kind::Containerd)) {
        let ratio = value(peer, 50) / value(ours, 50);
        println!("| {} | {} | {} | {ratio:.1}x |", ours.name, cells(ours), cells(peer));
    }
    let mut ours = of(Kind::Corten);
    let added = ours.next().zip(ours.next()).map_or(0.0, |(without, with)| added(with, without));
    let met = if added <= BAR { "met" } else { "missed" };
    println!(
        "\nThe bar: a plugin in Rust that subscribes to everything adds {BAR} ms at most. It adds {added:.2}: {met}."
    );
}

/// Milliseconds that half of the pods took longer than those of the same round beside which no plugin was: so it says something
/// on a machine that others use, too.
#[allow(clippy::cast_precision_loss)]
fn added(with: &Subject, without: &Subject) -> f64 {
    let pairs = with.times[POD_START].iter().zip(&without.times[POD_START]);
    let mut differences: Vec<f64> =
        pairs.map(|(with, without)| (*with as f64 - *without as f64) / 1e6).collect();
    differences.sort_by(f64::total_cmp);
    differences.get(differences.len() / 2).copied().unwrap_or_default()
}
