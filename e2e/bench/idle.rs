//! Memory: what the idle daemon's private and shared pages are.

use crate::scene::Scene;
use crate::subject::{Subject, smaps};
use e2e::Error;
use std::collections::BTreeMap;
use std::time::Duration;

/// KiB that the idle daemon may take.
const BAR: u64 = 15 << 10;

/// Measures Corten alone, idle after its first two pods, as the whole benchmark does.
///
/// # Errors
/// When something is missing, or the daemon takes more than it may.
pub(crate) fn measure(limit: Duration) -> Result<(), Error> {
    let scene = Scene::set(limit)?;
    let daemon = scene.daemon()?;
    let pid = daemon.pid();
    let subject = scene.tokio.block_on(Box::pin(Subject::new("Corten", daemon, &scene.isolation)))?;
    println!("\n| KiB of the idle daemon | PSS | of it private and dirty |\n|---|---:|---:|");
    for (name, part) in parts(&smaps(pid)) {
        println!("| {name} | {} | {} |", part.pss, part.dirty);
    }
    println!("| all | {} | |", subject.idle_pss);
    println!("\nThe bar: {BAR} KiB.");
    if subject.idle_pss > BAR {
        let reason = format!("the idle daemon takes {} KiB, more than {BAR}", subject.idle_pss);
        return Err(Error::Invalid { reason });
    }
    Ok(())
}

/// KiB of a kind of mapping.
#[derive(Debug, Default)]
struct Part {
    pss: u64,
    dirty: u64,
}

/// The mappings of a process by what they hold.
fn parts(smaps: &str) -> BTreeMap<&'static str, Part> {
    let (mut parts, mut name) = (BTreeMap::<_, Part>::new(), "");
    for line in smaps.lines() {
        let (first, rest) = line.split_once(' ').unwrap_or_default();
        let value =
            || rest.split_whitespace().next().and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
        match first {
            "Pss:" => parts.entry(name).or_default().pss += value(),
            "Private_Dirty:" => parts.entry(name).or_default().dirty += value(),
            range if range.contains('-') => name = kind(rest),
            _ => {}
        }
    }
    parts
}

/// What a mapping holds, by the rest of its first line: modes, offset, device, inode and what is mapped.
fn kind(rest: &str) -> &'static str {
    let mut fields = rest.split_whitespace();
    let (modes, mapped) = (fields.next().unwrap_or_default(), fields.nth(3).unwrap_or_default());
    match mapped {
        "" => "heaps of threads, and stacks",
        "[heap]" => "heap",
        _ if mapped.starts_with('[') => "main stack and the kernel's",
        _ if !mapped.ends_with("/corten") => "libraries and files",
        _ if modes.contains('x') => "the program's code",
        _ if modes.contains('w') => "the program's variables",
        _ => "the program's constants, some of them relocated",
    }
}
