//! What the daemon and its supervisors do while nothing happens: how often they wake, and for how long.

use crate::scene::Scene;
use crate::subject::Subject;
use e2e::Error;
use e2e::error::Context;
use std::fs;
use std::time::Duration;

/// Until what the pods' start has set going has come to rest: supervisors that wait for more of them are kept for a minute.
const SETTLES: Duration = Duration::from_secs(90);

/// Of all threads of a process, since each began.
#[derive(Debug, Default, Clone, Copy)]
struct Awake {
    /// Milliseconds on a CPU.
    ran: f64,
    times: u64,
}

/// Starts so many pods and watches them and the daemon for so long.
///
/// # Errors
/// When something is missing, or a pod fails.
pub(crate) fn measure(pods: usize, time: Duration, limit: Duration) -> Result<(), Error> {
    let scene = Scene::set(limit)?;
    let daemon = scene.daemon()?;
    let (daemon, supervisors) = scene.tokio.block_on(async {
        let subject = Box::pin(Subject::new("Corten", daemon, &scene.isolation)).await?;
        let all = subject.fill("rest", pods, 8).await?;
        tokio::time::sleep(SETTLES).await;
        let daemon = subject.daemon.pid();
        let supervisors = supervisors()?;
        let before = (of(&[daemon]), of(&supervisors));
        tokio::time::sleep(time).await;
        let after = (of(&[daemon]), of(&supervisors));
        subject.empty(all, 8).await?;
        Ok::<_, Error>((since(before.0, after.0), (supervisors.len(), since(before.1, after.1))))
    })?;
    println!("| beside {pods} idle pods, {} s | wake-ups a second | CPU, ms a minute |", time.as_secs());
    println!("|---|---:|---:|");
    print("daemon", daemon, time);
    print(&format!("{} supervisors together", supervisors.0), supervisors.1, time);
    Ok(())
}

#[allow(clippy::cast_precision_loss)]
fn print(name: &str, awake: Awake, time: Duration) {
    let seconds = time.as_secs_f64();
    println!("| {name} | {:.2} | {:.2} |", awake.times as f64 / seconds, awake.ran * 60.0 / seconds);
}

fn since(before: Awake, after: Awake) -> Awake {
    Awake { ran: after.ran - before.ran, times: after.times.saturating_sub(before.times) }
}

/// Those of this host's: nobody else's daemon is in these namespaces.
fn supervisors() -> Result<Vec<i32>, Error> {
    let entries = fs::read_dir("/proc").at("list", "/proc")?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let own = fs::read_link("/proc/self/ns/mnt").at("read", "/proc/self/ns/mnt")?;
    let is_one = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == "corten-shim")
            && fs::read_link(format!("/proc/{pid}/ns/mnt")).is_ok_and(|mounts| mounts == own)
    };
    Ok(pids.filter(is_one).collect())
}

#[allow(clippy::cast_precision_loss)]
fn of(processes: &[i32]) -> Awake {
    let mut all = Awake::default();
    for pid in processes {
        // One that ends meanwhile has no more to tell.
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
            // Nanoseconds on a CPU, those in wait for one, and how often it got one (sched-stats.rst).
            let mut fields = text.split_whitespace().filter_map(|field| field.parse::<u64>().ok());
            all.ran += fields.next().unwrap_or(0) as f64 / 1e6;
            all.times += fields.nth(1).unwrap_or(0);
        }
    }
    all
}
