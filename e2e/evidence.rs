//! What is kept when an invariant is broken: what `corten debug bundle` gathers, and what only the harness has.

use crate::baseline::Snapshot;
use crate::error::{Context, Error};
use crate::world::World;
use crate::{command, tools};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(180);

/// Saves it below `target/evidence`, in the place of what was there under this name; the directory.
///
/// # Errors
/// When a file cannot be written, or the bundle not made.
pub fn save(world: &World, name: &str, story: &str) -> Result<PathBuf, Error> {
    let directory = tools::repository().join("target/evidence").join(name);
    // It may not be there.
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).at("create", &directory)?;
    let write = |file: &str, text: &str| {
        let path = directory.join(file);
        fs::write(&path, text).at("write", &path)
    };
    write("story.txt", story)?;
    let processes = world.isolation.processes();
    write(
        "processes.txt",
        &processes.iter().map(|(pid, line)| format!("{pid} {line}\n")).collect::<String>(),
    )?;
    write("host.txt", &format!("{:#?}\n", Snapshot::take(&world.isolation, &world.daemon)?))?;
    copy(&world.daemon.place().log, &directory.join("daemon.log"))?;
    copy_all(&world.logs, &directory.join("logs"))?;
    let (program, config) = world.daemon.invocation();
    let mut bundle = Command::new(program);
    bundle.args(["debug", "bundle", "--config"]).arg(config);
    bundle.arg("--output").arg(directory.join("bundle.tar.gz"));
    command::run(&mut bundle, PATIENCE)?;
    Ok(directory)
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    fs::copy(from, to).map(drop).at("copy", from)
}

fn copy_all(from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir_all(to).at("create", to)?;
    for entry in fs::read_dir(from).at("read", from)?.flatten() {
        let to = to.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => copy_all(&entry.path(), &to)?,
            Ok(kind) if kind.is_file() => copy(&entry.path(), &to)?,
            _ => {}
        }
    }
    Ok(())
}
