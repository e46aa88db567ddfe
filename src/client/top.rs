//! `corten top`: what pods and containers use of CPU and memory, over the time between two looks.

use crate::connection::Daemon;
use crate::error::Error;
use crate::node::{Node, pod_name, short};
use crate::print::{print, write};
use crate::table::{size, table};
use crate::terminal::window;
use crate::time;
use cli::top::{TopArgs, TopOrder, TopOutput};
use proto::{
    ContainerStats, CpuUsage, ListPodSandboxStatsRequest, MemoryUsage, PodSandboxStats, UInt64Value,
};
use serde_json::json;
use std::collections::HashMap;
use std::io::{self, IsTerminal as _};
use std::time::Duration;
use tokio::time::sleep;

/// Moves to the upper left, and clears what is below.
const PICTURE: &str = "\x1b[H\x1b[J";

/// What CPU somebody had used up, in nanoseconds, and when that was.
#[derive(Debug, Clone, Copy)]
struct Used {
    at: i64,
    nanoseconds: u64,
}

/// A pod or a container.
struct Entry {
    id: String,
    used: Option<Used>,
    /// Thousandths of a core.
    cpu: Option<u64>,
    /// Bytes in the working set.
    memory: u64,
    name: String,
}

/// A pod with its containers.
struct Group {
    namespace: String,
    pod: Entry,
    processes: u64,
    containers: Vec<Entry>,
}

/// Shows it until it is interrupted; once where nobody looks.
pub(crate) async fn run(daemon: &Daemon, arguments: &TopArgs) -> Result<(), Error> {
    let once = arguments.once || !io::stdout().is_terminal();
    let mut before = look(daemon, arguments).await?;
    let mut pause = if once { Duration::from_secs(1) } else { Duration::from_millis(500) };
    loop {
        sleep(pause).await;
        let mut groups = look(daemon, arguments).await?;
        compare(&before, &mut groups);
        sort(&mut groups, arguments.sort);
        match arguments.output {
            TopOutput::Json => print(&json_line(&groups))?,
            TopOutput::Table if once => print(&text(&groups, arguments.pods))?,
            TopOutput::Table => write(picture(&text(&groups, arguments.pods)).as_bytes())?,
        }
        if once {
            return Ok(());
        }
        before = groups;
        pause = Duration::from_secs(arguments.interval);
    }
}

async fn look(daemon: &Daemon, arguments: &TopArgs) -> Result<Vec<Group>, Error> {
    let mut runtime = daemon.runtime.clone();
    let call = runtime.list_pod_sandbox_stats(ListPodSandboxStatsRequest::default());
    let stats = daemon.answer("list the usage of the pods", call).await?.stats;
    let pod = match &arguments.pod {
        Some(name) => Some(Node::look(daemon).await?.pod(name)?.clone()),
        None => None,
    };
    let passes = |group: &Group| {
        let is_pod = pod.as_ref().is_none_or(|pod| {
            pod_name(pod) == (group.namespace.as_str(), group.pod.name.as_str()) && pod.id == group.pod.id
        });
        is_pod && arguments.namespace.as_ref().is_none_or(|wanted| *wanted == group.namespace)
    };
    Ok(stats.into_iter().map(group).filter(passes).collect())
}

fn group(stats: PodSandboxStats) -> Group {
    let attributes = stats.attributes.unwrap_or_default();
    let metadata = attributes.metadata.unwrap_or_default();
    let linux = stats.linux.unwrap_or_default();
    let pod = entry((attributes.id, metadata.name), linux.cpu.as_ref(), linux.memory.as_ref());
    let container = |stats: ContainerStats| {
        let attributes = stats.attributes.unwrap_or_default();
        let name = attributes.metadata.unwrap_or_default().name;
        entry((attributes.id, name), stats.cpu.as_ref(), stats.memory.as_ref())
    };
    Group {
        namespace: metadata.namespace,
        pod,
        processes: number(linux.process.and_then(|process| process.process_count)).unwrap_or(0),
        containers: linux.containers.into_iter().map(container).collect(),
    }
}

fn number(value: Option<UInt64Value>) -> Option<u64> {
    value.map(|value| value.value)
}

fn entry((id, name): (String, String), cpu: Option<&CpuUsage>, memory: Option<&MemoryUsage>) -> Entry {
    let used = cpu
        .and_then(|cpu| Some(Used { at: cpu.timestamp, nanoseconds: number(cpu.usage_core_nano_seconds)? }));
    let memory = memory.and_then(|memory| number(memory.working_set_bytes)).unwrap_or(0);
    Entry { id, used, cpu: None, memory, name }
}

/// Thousandths of a core between two looks.
fn rate(before: Used, now: Used) -> Option<u64> {
    let time = u64::try_from(now.at.checked_sub(before.at)?).ok().filter(|time| *time > 0)?;
    // Whoever was made anew begins at 0.
    let used = u128::from(now.nanoseconds.checked_sub(before.nanoseconds)?);
    u64::try_from(used * 1000 / u128::from(time)).ok()
}

fn compare(before: &[Group], now: &mut [Group]) {
    let entries = before.iter().flat_map(|group| std::iter::once(&group.pod).chain(&group.containers));
    let known: HashMap<&str, Used> =
        entries.filter_map(|entry| Some((entry.id.as_str(), entry.used?))).collect();
    for group in now {
        for entry in std::iter::once(&mut group.pod).chain(&mut group.containers) {
            let then = known.get(entry.id.as_str());
            entry.cpu = then.zip(entry.used).and_then(|(then, used)| rate(*then, used));
        }
    }
}

fn sort(groups: &mut [Group], order: TopOrder) {
    use std::cmp::Reverse;
    groups.sort_by(|a, b| (&a.namespace, &a.pod.name).cmp(&(&b.namespace, &b.pod.name)));
    let key = |entry: &Entry| match order {
        TopOrder::Cpu => Reverse(entry.cpu.unwrap_or(0)),
        TopOrder::Memory => Reverse(entry.memory),
        TopOrder::Name => Reverse(0),
    };
    groups.sort_by_key(|group| key(&group.pod));
    for group in groups {
        group.containers.sort_by(|a, b| a.name.cmp(&b.name));
        group.containers.sort_by_key(key);
    }
}

fn text(groups: &[Group], pods_only: bool) -> String {
    let cpu = |entry: &Entry| entry.cpu.map_or_else(|| "-".to_owned(), |cpu| format!("{cpu}m"));
    let mut rows = Vec::new();
    for Group { namespace, pod, processes, containers } in groups {
        let mut add = |entry: &Entry, container: &str, processes: String| {
            rows.push(vec![
                namespace.clone(),
                pod.name.clone(),
                container.to_owned(),
                cpu(entry),
                size(entry.memory),
                processes,
                short(&entry.id),
            ]);
        };
        add(pod, "", processes.to_string());
        if !pods_only {
            containers.iter().for_each(|container| add(container, &container.name, String::new()));
        }
    }
    table(&["NAMESPACE", "POD", "CONTAINER", "CPU", "MEMORY", "PROCESSES", "ID"], &rows)
}

/// As many lines as the terminal has, none longer than it is wide.
fn picture(text: &str) -> String {
    let (columns, rows) = window().unwrap_or((80, 24));
    let lines = text.lines().take(usize::from(rows).saturating_sub(1));
    let cut = |line: &str| line.chars().take(columns.into()).collect::<String>();
    let lines: Vec<String> = lines.map(cut).collect();
    format!("{PICTURE}{}\n", lines.join("\n"))
}

fn json_line(groups: &[Group]) -> String {
    let entry = |entry: &Entry| json!({"id": entry.id, "name": entry.name, "cpuMillicores": entry.cpu, "memoryBytes": entry.memory});
    let pods: Vec<_> = groups
        .iter()
        .map(|group| {
            let mut pod = entry(&group.pod);
            pod["namespace"] = group.namespace.clone().into();
            pod["processes"] = group.processes.into();
            pod["containers"] = group.containers.iter().map(entry).collect();
            pod
        })
        .collect();
    format!("{}\n", json!({"time": time::rfc3339(time::now(), 3), "pods": pods}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_what_was_used_between_two_looks() {
        let used = |at, nanoseconds| Used { at, nanoseconds };
        assert_eq!(rate(used(0, 0), used(2_000_000_000, 500_000_000)), Some(250));
        assert_eq!(rate(used(0, 10), used(1_000, 5)), None);
        assert_eq!(rate(used(7, 10), used(7, 20)), None);
    }

    #[test]
    fn what_uses_most_comes_first() {
        let entry = |name: &str, cpu, memory| {
            let (id, name) = (name.to_owned(), name.to_owned());
            Entry { id, used: None, cpu: Some(cpu), memory, name }
        };
        let group = |pod| Group { namespace: "n".into(), pod, processes: 3, containers: vec![] };
        let mut groups =
            vec![group(entry("b", 1, 3)), group(entry("c", 9, 2)), group(entry("a", 1, 1 << 20))];
        groups[0].containers = vec![entry("small", 0, 1), entry("large", 0, 2)];
        for (order, told) in [(TopOrder::Cpu, "cab"), (TopOrder::Memory, "abc"), (TopOrder::Name, "abc")] {
            sort(&mut groups, order);
            assert_eq!(groups.iter().map(|group| group.pod.name.as_str()).collect::<String>(), told);
        }
        sort(&mut groups, TopOrder::Memory);
        assert_eq!(
            text(&groups[..2], false),
            "NAMESPACE  POD  CONTAINER  CPU  MEMORY   PROCESSES  ID\n\
             n          a               1m   1.0 MiB  3          a\n\
             n          b               1m   3 B      3          b\n\
             n          b    large      0m   2 B                 large\n\
             n          b    small      0m   1 B                 small\n"
        );
        assert_eq!(text(&groups, true).lines().count(), 4);
    }
}
