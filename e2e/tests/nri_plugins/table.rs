//! One scenario on each runtime, and a table of what came of it.

use crate::stage::Stage;
use e2e::runtime::{Kind, Options};
use e2e::tools;
use e2e::world::World;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

/// What a scenario runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Corten's own way of running containers.
    Native,
    /// Corten with runc.
    Runc,
    /// containerd with runc.
    Containerd,
}

impl Subject {
    const ALL: [Self; 3] = [Self::Native, Self::Runc, Self::Containerd];

    /// The runtime handler of its pods.
    pub(crate) fn handler(self) -> &'static str {
        if self == Self::Runc { "other" } else { "" }
    }

    fn world(self) -> Option<World> {
        let kind = if self == Self::Containerd { Kind::Containerd } else { Kind::Corten };
        let runc = tools::go_tool("runc", "bench").unwrap();
        let extra = format!("[handlers.other]\ntype = \"oci\"\nbinary = {runc:?}\n");
        World::with(|options| Options { kind, extra, ..options }).unwrap()
    }
}

/// Something that a plugin does, and what is seen of it.
pub(crate) type Effect = (&'static str, String);

/// What is shown in the table and not judged.
pub(crate) const ANY: &str = "";

/// Runs a scenario with a plugin on each runtime; every effect has to be the one that is wanted.
pub(crate) fn same(
    plugin: &'static str,
    wanted: &[(&'static str, &str)],
    scenario: fn(&mut Stage) -> Vec<Effect>,
) {
    if !is_possible(plugin) {
        let rows: Vec<_> = wanted.iter().map(|(effect, _)| row(plugin, effect, &["not built"; 3])).collect();
        return report(&rows);
    }
    let seen = Subject::ALL.map(|subject| on(subject, scenario));
    let mut rows = Vec::new();
    let mut differ = Vec::new();
    for (effect, wanted) in wanted {
        let told = seen.each_ref().map(|outcome| match outcome {
            Ok(effects) => {
                effects.iter().find(|(name, _)| name == effect).map_or("not seen", |(_, told)| told.as_str())
            }
            Err(problem) => problem.as_str(),
        });
        rows.push(row(plugin, effect, &told));
        if *wanted != ANY && told.iter().any(|told| told != wanted) {
            differ.push(format!("{effect}: {told:?}, and not {wanted:?}"));
        }
    }
    report(&rows);
    assert!(differ.is_empty(), "{plugin}: {}", differ.join("; "));
}

/// Whether there is what it takes; if not, the test of this thread is skipped.
fn is_possible(plugin: &str) -> bool {
    if !need::root("namespaces and mounts need root") {
        return false;
    }
    let built = e2e::plugin::program(plugin).and(tools::go_tool("containerd", "bench"));
    if let Err(error) = built {
        need::skip(need::Need::Tools, &error.to_string());
        return false;
    }
    true
}

fn on(subject: Subject, scenario: fn(&mut Stage) -> Vec<Effect>) -> Result<Vec<Effect>, String> {
    // An isolation is a thread's.
    let thread = thread::spawn(move || {
        let mut stage = Stage::new(subject.world().expect("asked before"), subject);
        catch_unwind(AssertUnwindSafe(|| scenario(&mut stage))).map_err(|panic| {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            println!(
                "--- {subject:?}: the daemon's log ends with ---\n{}\n---",
                stage.world.daemon.log_tail()
            );
            format!("failed: {}", said.unwrap_or_default())
        })
    });
    thread.join().unwrap_or_else(|_| Err("failed".to_owned()))
}

fn row(plugin: &str, effect: &str, told: &[&str; 3]) -> String {
    let cell = |text: &&str| text.replace(['\n', '|'], " ").chars().take(160).collect::<String>();
    format!("| {plugin} | {effect} | {} |\n", told.iter().map(cell).collect::<Vec<_>>().join(" | "))
}

/// Leaves the rows where `make nri` finds them.
fn report(rows: &[String]) {
    let directory = tools::repository().join("target/nextest");
    let rows = rows.concat();
    print!("{rows}");
    fs::create_dir_all(&directory).unwrap();
    let test = thread::current().name().unwrap_or("main").replace("::", "-");
    fs::write(directory.join(format!("nri-{test}.txt")), rows).unwrap();
}
