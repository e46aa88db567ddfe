//! The kill matrix: at every failpoint the daemon or the pod's supervisor dies, or the step fails, while a pod lives its
//! life; whatever was under way, the next daemon finds its way, retries succeed, nothing that was told is lost, and
//! everything can be removed without a trace.
//!
//! `CORTEN_FAILPOINT=engine.run` runs those alone that begin so.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cases;
mod kubelet;
mod node;
mod plugin;
mod verbs;

use cases::Case;
use e2e::baseline::Snapshot;
use e2e::error::Chain;
use e2e::evidence;
use e2e::network::{self, Network};
use e2e::runtime::{Kind, Options};
use e2e::tools;
use e2e::world::World;
use node::Node;
use plugin::Guest;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

/// How a case ended.
struct Row {
    case: Case,
    took: Duration,
    problem: Option<String>,
}

fn world() -> Option<World> {
    World::with(|options| Options { programs: tools::failpoints(), ..options }).unwrap()
}

/// Runs cases, one after the other on one node, and on another one behind a case that did not converge.
fn run(cases: Vec<Case>, with_plugin: bool) -> Vec<Row> {
    let mut cases = cases.into_iter().peekable();
    let mut rows = Vec::new();
    while cases.peek().is_some() {
        // An isolation is a thread's.
        let (done, rest) = thread::spawn(move || run_on_one_node(cases, with_plugin)).join().unwrap();
        rows.extend(done);
        cases = rest;
    }
    rows
}

type Cases = std::iter::Peekable<std::vec::IntoIter<Case>>;

fn run_on_one_node(mut cases: Cases, with_plugin: bool) -> (Vec<Row>, Cases) {
    let mut rows = Vec::new();
    let world = world().expect("asked before");
    // The daemon is another process afterwards.
    let baseline = world.baseline().unwrap().without("process").without("fd");
    let guest = with_plugin.then(|| Guest::come(&world));
    let mut node = Node::new(world, guest);
    for case in cases.by_ref() {
        let begin = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| carry_out(&mut node, &case, &baseline)));
        let problem = outcome.err().map(|panic| match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => panic.downcast_ref::<&str>().map_or_else(String::new, |text| (*text).to_owned()),
        });
        let failed = problem.is_some();
        let row = Row { case, took: begin.elapsed(), problem };
        println!("{}", row.line());
        if let Some(problem) = &row.problem {
            println!("{problem}\n--- the daemon's log ends with ---\n{}\n---", node.world.daemon.log_tail());
            match evidence::save(&node.world, &row.file(), &format!("{}\n{problem}\n", row.line())) {
                Ok(directory) => println!("everything that tells of it: {}", directory.display()),
                Err(error) => println!("not all that tells of it could be saved: {}", Chain(&error)),
            }
        }
        rows.push(row);
        if failed {
            break;
        }
    }
    (rows, cases)
}

fn carry_out(node: &mut Node, case: &Case, baseline: &Snapshot) {
    node.begin(case);
    node.live(case);
    node.end(case);
    let left = baseline.settle(&node.world.isolation, &node.world.daemon);
    left.unwrap_or_else(|error| panic!("{error}"));
    node.nothing_runs();
}

impl Row {
    /// A name for what is kept of it.
    fn file(&self) -> String {
        let kept = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
        format!("kill-{}-{}", self.case.name, self.case.mode()).chars().map(kept).collect()
    }

    fn line(&self) -> String {
        let outcome = if self.problem.is_none() { "converged" } else { "DID NOT CONVERGE" };
        format!(
            "{:<34} {:<28} {outcome} ({:.1} s)",
            self.case.name,
            self.case.mode(),
            self.took.as_secs_f64()
        )
    }
}

/// Leaves the table where `make kill` finds it.
fn report(rows: &[Row], of_what: &str) {
    let directory = tools::repository().join("target/nextest");
    let cases: Vec<_> = rows.iter().map(|row| &row.case).collect();
    let sum = format!("{} cases at {} failpoints", rows.len(), cases::points(&cases));
    println!("{sum}");
    let lines: Vec<_> = rows.iter().map(Row::line).chain([sum, String::new()]).collect();
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(format!("kill-{of_what}.txt")), lines.join("\n")).unwrap();
}

fn matrix(of_what: &str, cases: impl FnOnce() -> Vec<Case>) {
    if Kind::from_environment() == Kind::Containerd {
        return need::skip(need::Need::Corten, "the peer has other failpoints");
    }
    if !need::root("namespaces and mounts need root") {
        return;
    }
    if !tools::failpoints().join("corten").exists() {
        return need::skip(need::Need::Tools, "e2e/failpoints.sh has not built target/failpoints");
    }
    let rows = run(cases(), of_what.starts_with("plugin"));
    report(&rows, of_what);
    let failed: Vec<_> = rows.iter().filter(|row| row.problem.is_some()).map(Row::line).collect();
    assert!(failed.is_empty(), "of {}:\n{}", rows.len(), failed.join("\n"));
}

fn is_of_plugins(name: &str) -> bool {
    name.starts_with("engine.plugins.")
}

#[test]
fn whenever_an_engine_s_verb_dies_or_fails_the_node_converges() {
    matrix("engine", || cases::all(|name| name.starts_with("engine.") && !is_of_plugins(name)));
}

#[test]
fn whenever_a_supervisor_a_network_or_a_pull_dies_or_fails_the_node_converges() {
    matrix("other", || cases::all(|name| !name.starts_with("engine.")));
}

#[test]
fn whenever_the_daemon_dies_or_fails_at_what_plugins_want_the_node_converges() {
    matrix("plugins", || {
        let kills = cases::of_plugins(|manner| manner == cases::KILLS);
        cases::all(is_of_plugins).into_iter().chain(kills).collect()
    });
}

#[test]
fn whenever_a_plugin_dies_or_hangs_or_answers_nonsense_the_node_converges() {
    matrix("plugin-manners", || cases::of_plugins(|manner| manner != cases::KILLS));
}

#[test]
fn a_failpoint_that_does_not_exist_keeps_the_daemon_from_starting() {
    if !need::root("namespaces and mounts need root") {
        return;
    }
    if !tools::failpoints().join("corten").exists() {
        return need::skip(need::Need::Tools, "e2e/failpoints.sh has not built target/failpoints");
    }
    let isolation = e2e::isolation::Isolation::enter().unwrap();
    let options = Options {
        kind: Kind::Corten,
        network: Network::List(network::bridge("1.0.0", "cte0", "10.88.0.0/16", isolation.root())),
        mirror: None,
        metrics: None,
        extra: String::new(),
        programs: tools::failpoints(),
    };
    let environment = vec![("CORTEN_FAILPOINTS".to_owned(), "engine.run.recroded=abort".to_owned())];
    let started = e2e::runtime::Daemon::start_with(&isolation.directory("r").unwrap(), &options, environment);
    let error = started.expect_err("it starts").to_string();
    assert!(error.contains("none with the name \"engine.run.recroded\""), "{error}");
}

#[test]
fn an_installed_program_has_no_failpoints() {
    for program in ["corten", "corten-shim"] {
        let (Ok(installed), armed) = (tools::corten(program), tools::failpoints().join(program)) else {
            return;
        };
        let has = |path: &std::path::Path| {
            let bytes = std::fs::read(path).unwrap();
            bytes.windows(MARK.len()).any(|window| window == MARK)
        };
        assert!(!has(&installed), "{} was built with failpoints", installed.display());
        // The mark is one.
        assert!(!armed.exists() || has(&armed), "{} was built without failpoints", armed.display());
    }
}

/// What every program with failpoints reads.
const MARK: &[u8] = b"CORTEN_FAILPOINTS";
