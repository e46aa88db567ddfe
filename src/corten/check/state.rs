//! What lies in the state and is of the wrong kind: the daemon does without it, or does not start.

use super::finding::Finding;
use crate::config::Config;
use crate::{cadvisor, images_root, lock};
use std::path::{Path, PathBuf};
use sys::aside::Wanted;

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let locks = [&config.state_dir, &config.data_dir].map(|directory| directory.join(lock::FILE));
    let locks = locks.iter().filter(|path| Wanted::File.is_missed_at(path)).map(|path| locked(path));
    let mut found: Vec<_> = locks.collect();
    found.extend(config.network.lost_leases().iter().map(|path| unleased(path)));
    found.extend(misplaced(config).iter().map(|(path, wanted)| aside(path, *wanted)));
    if found.is_empty() {
        found.push(Finding::ok("state", "everything is of the kind that the daemon makes"));
    }
    found
}

fn misplaced(config: &Config) -> Vec<(PathBuf, Wanted)> {
    let paths = engine::Paths { state: config.state_dir.clone(), data: config.data_dir.clone() };
    let mut found = paths.misplaced();
    found.extend(config.network.misplaced());
    let others = [
        config.state_dir.join(cadvisor::MARK),
        config.data_dir.join(images_root::RECORD),
        config.images.root.join(images_root::DATABASE),
    ];
    found.extend(
        others.into_iter().filter(|path| Wanted::File.is_missed_at(path)).map(|path| (path, Wanted::File)),
    );
    found
}

fn locked(path: &Path) -> Finding {
    Finding::error("state", is_no(path, Wanted::File))
        .costs("the daemon does not start")
        .mend("remove it while no daemon runs")
}

fn unleased(path: &Path) -> Finding {
    Finding::warning("state", is_no(path, Wanted::Directory))
        .costs("pods of the built-in network that start get no address")
        .mend("stop the pods of this node first, whose addresses lay there, then remove it")
}

fn aside(path: &Path, wanted: Wanted) -> Finding {
    Finding::warning("state", is_no(path, wanted))
        .costs(
            "a daemon that starts sets it aside or does without it: a record is taken from its durable copy, what can be \
             made again is, and where neither is so, nothing is freed that might belong to it",
        )
        .mend("while no daemon runs, put back what was there, or remove what is there")
}

fn is_no(path: &Path, wanted: Wanted) -> String {
    let kind = match wanted {
        Wanted::File => "regular file",
        Wanted::Directory => "directory",
    };
    format!("{} is no {kind}", path.display())
}
