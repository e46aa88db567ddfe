//! The parts of a bundle.

use super::{Part, Sources};
use crate::{config, redact, status_cli};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take.
const OF_A_PROGRAM: Duration = Duration::from_secs(15);
/// The most bytes that are read of a program.
const MOST: u64 = 8 << 20;
/// The most files of one directory.
const MOST_FILES: usize = 2000;

type Gather = fn(&Sources) -> Vec<Part>;

/// Each with the name under which it is noted when it takes too long.
pub(super) const ALL: [(&str, Gather); 10] = [
    ("status.json", status),
    ("config.txt", settings),
    ("check.txt", check),
    ("kernel", kernel),
    ("processes.txt", processes),
    ("cgroups.txt", cgroups),
    ("journal.txt", logs),
    ("network", network),
    ("cni", cni),
    ("records", records),
];

/// What the daemon says of itself.
fn status(sources: &Sources) -> Vec<Part> {
    let socket = crate::admin::socket(&sources.config.state_dir);
    let ask = |path: &str| {
        let answer: Result<serde_json::Value, _> = status_cli::get(&socket, path);
        answer.map_err(|error| crate::error::chain(&error))
    };
    let pretty =
        |value: serde_json::Value| serde_json::to_vec_pretty(&value).map_err(|error| error.to_string());
    let plain = |value: serde_json::Value| Ok(value.as_str().unwrap_or_default().as_bytes().to_vec());
    vec![
        ("status.json".to_owned(), ask("/v1/status").and_then(pretty)),
        ("pulls.json".to_owned(), ask("/v1/pulls").and_then(pretty)),
        ("metrics.txt".to_owned(), ask("/v1/metrics").and_then(plain)),
    ]
}

fn settings(sources: &Sources) -> Vec<Part> {
    let loaded = config::load(sources.file.as_deref());
    let dump =
        loaded.map(|loaded| config::dump_text(&loaded.dump())).map_err(|mistakes| mistakes.to_string());
    let mut parts = vec![("config.txt".to_owned(), dump.map(|text| redact::text(&text).into_bytes()))];
    let directories = sources.config.images.certs_dir.paths();
    for host in directories.iter().flat_map(|directory| entries(directory)) {
        let file = host.join("hosts.toml");
        if file.exists() {
            parts.push((named("certs.d", &file), read(&file).map(|bytes| redacted(&bytes))));
        }
    }
    parts
}

fn check(sources: &Sources) -> Vec<Part> {
    let findings = crate::check::report(sources.file.as_deref());
    vec![("check.txt".to_owned(), Ok(redact::urls(findings.as_bytes())))]
}

fn kernel(_: &Sources) -> Vec<Part> {
    let files = [
        "/proc/version",
        "/proc/cmdline",
        "/proc/meminfo",
        "/proc/loadavg",
        "/proc/mounts",
        "/proc/self/mountinfo",
        "/proc/filesystems",
        "/proc/cgroups",
        "/proc/locks",
        "/proc/net/unix",
        "/proc/pressure/cpu",
        "/proc/pressure/io",
        "/proc/pressure/memory",
        "/etc/os-release",
    ];
    files.into_iter().map(|file| (named("kernel", Path::new(file)), read(Path::new(file)))).collect()
}

/// Names, states and where each waits: not their arguments, which may hold secrets.
fn processes(_: &Sources) -> Vec<Part> {
    let mut text = "pid ppid state wchan name\n".to_owned();
    for process in entries(Path::new("/proc")) {
        let Some(pid) = process.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()) else {
            continue;
        };
        let of = |file: &str| fs::read_to_string(process.join(file)).unwrap_or_default();
        let stat = of("stat");
        let Some((head, rest)) = stat.rsplit_once(") ") else { continue };
        let mut fields = rest.split(' ');
        let (state, parent) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let name = head.split_once(" (").map(|(_, name)| name).unwrap_or_default();
        text += &format!("{pid} {parent} {state} {} {name}\n", of("wchan").trim());
    }
    vec![("processes.txt".to_owned(), Ok(text.into_bytes()))]
}

/// The tree, with what says most of each of ours.
fn cgroups(sources: &Sources) -> Vec<Part> {
    let paths =
        engine::Paths { state: sources.config.state_dir.clone(), data: sources.config.data_dir.clone() };
    let mut ids: Vec<String> = Vec::new();
    for pod in paths.recorded() {
        ids.extend(pod.containers);
        ids.push(pod.id);
    }
    let mut text = String::new();
    tree(Path::new("/sys/fs/cgroup"), 8, &ids, &mut text);
    vec![("cgroups.txt".to_owned(), Ok(text.into_bytes()))]
}

fn tree(directory: &Path, depth: usize, ids: &[String], text: &mut String) {
    const TOLD: [&str; 8] = [
        "cgroup.procs",
        "memory.events",
        "memory.max",
        "memory.current",
        "cpu.stat",
        "pids.current",
        "pids.max",
        "cgroup.freeze",
    ];
    for path in entries(directory).into_iter().filter(|path| path.is_dir()) {
        let name = path.to_string_lossy().into_owned();
        if ids.iter().any(|id| name.contains(id.as_str())) {
            *text += &format!("{name}\n");
            for file in TOLD {
                let said = fs::read_to_string(path.join(file)).unwrap_or_default();
                if !said.is_empty() {
                    *text += &format!("  {file}: {}\n", said.trim().replace('\n', ", "));
                }
            }
        }
        if depth > 0 {
            tree(&path, depth - 1, ids, text);
        }
    }
}

fn logs(_: &Sources) -> Vec<Part> {
    let journal = ["-u", "corten", "-n", "5000", "--no-pager", "-o", "short-iso"];
    vec![
        ("journal.txt".to_owned(), program("journalctl", &journal).map(|bytes| redact::urls(&bytes))),
        ("kernel-log.txt".to_owned(), program("dmesg", &[])),
    ]
}

fn network(_: &Sources) -> Vec<Part> {
    vec![
        ("network/nft.txt".to_owned(), program("nft", &["list", "ruleset"])),
        ("network/links.txt".to_owned(), program("ip", &["-d", "address"])),
        ("network/routes.txt".to_owned(), program("ip", &["route", "show", "table", "all"])),
    ]
}

/// Configurations, and what ADD of each pod answered.
fn cni(sources: &Sources) -> Vec<Part> {
    let attachments = sources.config.state_dir.join("network/attachments");
    let files = entries(&sources.config.network.conf_dir).into_iter().map(|file| ("cni/conf", file));
    let files = files.chain(entries(&attachments).into_iter().map(|file| ("cni/attachments", file)));
    let files = files.filter(|(_, file)| file.is_file());
    let part = |(below, file): (&str, PathBuf)| {
        let bytes = read(&file).and_then(|bytes| redact::json(&bytes));
        (named(below, &file), bytes)
    };
    files.take(MOST_FILES).map(part).collect()
}

/// Records without their first line, which is not JSON, and the supervisors' logs.
fn records(sources: &Sources) -> Vec<Part> {
    let mut parts = Vec::new();
    for pod in entries(&sources.config.state_dir.join("pods")) {
        let below = format!("records/{}", pod.file_name().unwrap_or_default().to_string_lossy());
        let files = entries(&pod).into_iter().chain(entries(&pod.join("containers")));
        for file in files.filter(|file| file.is_file()) {
            let part = match file.extension().and_then(|extension| extension.to_str()) {
                Some("json") => read(&file).and_then(|bytes| redact::json(content(&bytes))),
                Some("log") => read(&file).map(|bytes| redact::urls(&bytes)),
                _ => continue,
            };
            parts.push((named(&below, &file), part));
        }
        if parts.len() > MOST_FILES {
            parts.push(("records".to_owned(), Err(format!("only the first {MOST_FILES} are taken"))));
            break;
        }
    }
    parts
}

fn content(bytes: &[u8]) -> &[u8] {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) if bytes.starts_with(b"corten ") => &bytes[end + 1..],
        _ => bytes,
    }
}

fn redacted(bytes: &[u8]) -> Vec<u8> {
    redact::text(&String::from_utf8_lossy(bytes)).into_bytes()
}

fn named(below: &str, file: &Path) -> String {
    let parts: Vec<_> = file.iter().rev().take(2).filter_map(|part| part.to_str()).collect();
    let name: Vec<&str> =
        parts.into_iter().rev().map(|part| part.trim_matches('/')).filter(|part| !part.is_empty()).collect();
    format!("{below}/{}", name.join("-"))
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let opened = sys::regular::open_regular(file).map_err(|error| error.to_string())?;
    opened.take(MOST).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// What a program says; it is killed when it takes too long.
fn program(name: &str, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("{name} cannot be run: {error}"))?;
    let output = child.stdout.take();
    let reading = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before a failure is worth having.
        let _ = output.map(|output| output.take(MOST).read_to_end(&mut bytes));
        bytes
    });
    let begin = Instant::now();
    while !reading.is_finished() && begin.elapsed() < OF_A_PROGRAM {
        std::thread::sleep(Duration::from_millis(10));
    }
    // One that has ended is only collected.
    let _ = child.kill();
    let _ = child.wait();
    let bytes = reading.join().unwrap_or_default();
    if bytes.is_empty() { Err(format!("{name} said nothing")) } else { Ok(bytes) }
}
