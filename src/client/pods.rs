//! `corten pods`.

use crate::connection::Daemon;
use crate::error::Error;
use crate::node::{Labels, Node, pod_name, pod_state, short};
use crate::print::{has_colors, print, write};
use crate::table::{Color, painted};
use crate::{json, time};
use cli::daemon::Output;
use cli::pods::{PodState, PodsArgs};
use proto::{ContainerState, PodSandbox, PodSandboxState, PodSandboxStatusRequest, PodSandboxStatusResponse};
use serde_json::{Value, json};

/// Lists pods.
pub(crate) async fn run(daemon: &Daemon, arguments: &PodsArgs) -> Result<(), Error> {
    let node = Node::look(daemon).await?;
    let chosen = choose(&node, arguments)?;
    if arguments.quiet {
        return Ok(print(&chosen.iter().map(|pod| format!("{}\n", pod.id)).collect::<String>())?);
    }
    match arguments.output {
        Output::Json => {
            let items: Vec<Value> = chosen.iter().map(|pod| json::pod(pod)).collect();
            print(&json::pretty(&json!({"items": items})))?;
        }
        Output::Table => {
            let head = ["NAMESPACE", "NAME", "STATE", "AGE", "ATTEMPT", "CONTAINERS", "POD ID"];
            show(&head, &chosen.iter().map(|pod| row(&node, pod)).collect::<Vec<_>>())?;
        }
        Output::Wide => {
            let head = [
                "NAMESPACE",
                "NAME",
                "STATE",
                "AGE",
                "ATTEMPT",
                "CONTAINERS",
                "POD ID",
                "ADDRESSES",
                "HANDLER",
                "UID",
            ];
            let mut rows = Vec::with_capacity(chosen.len());
            for pod in chosen {
                rows.push(wide(daemon, &node, pod).await?);
            }
            show(&head, &rows)?;
        }
    }
    Ok(())
}

fn choose<'a>(node: &'a Node, arguments: &PodsArgs) -> Result<Vec<&'a PodSandbox>, Error> {
    let all = if arguments.pods.is_empty() {
        node.pods.iter().collect()
    } else {
        arguments.pods.iter().map(|name| node.pod(name)).collect::<Result<Vec<_>, Error>>()?
    };
    let labels = Labels::parse(&arguments.label);
    let passes = |pod: &&PodSandbox| {
        let state = match pod.state() {
            PodSandboxState::SandboxReady => PodState::Ready,
            PodSandboxState::SandboxNotready => PodState::Notready,
        };
        arguments.state.is_none_or(|wanted| wanted == state)
            && arguments.namespace.as_ref().is_none_or(|wanted| pod_name(pod).0 == wanted)
            && labels.are_among(&pod.labels)
    };
    Ok(all.into_iter().filter(passes).collect())
}

fn row(node: &Node, pod: &PodSandbox) -> Vec<String> {
    let (namespace, name) = pod_name(pod);
    let own: Vec<_> = node.containers.iter().filter(|one| one.pod_sandbox_id == pod.id).collect();
    let running = own.iter().filter(|one| one.state() == ContainerState::ContainerRunning).count();
    vec![
        namespace.to_owned(),
        name.to_owned(),
        pod_state(pod.state()).to_owned(),
        time::age(time::now() - pod.created_at),
        pod.metadata.as_ref().map_or(0, |metadata| metadata.attempt).to_string(),
        format!("{running}/{}", own.len()),
        short(&pod.id),
    ]
}

async fn wide(daemon: &Daemon, node: &Node, pod: &PodSandbox) -> Result<Vec<String>, Error> {
    let status = status(daemon, &pod.id, false).await?.status.unwrap_or_default();
    let network = status.network.unwrap_or_default();
    let first = std::iter::once(network.ip);
    let addresses: Vec<String> = first
        .chain(network.additional_ips.into_iter().map(|more| more.ip))
        .filter(|ip| !ip.is_empty())
        .collect();
    let mut row = row(node, pod);
    row.pop();
    row.extend([
        pod.id.clone(),
        if addresses.is_empty() { "-".to_owned() } else { addresses.join(",") },
        if pod.runtime_handler.is_empty() { "native".to_owned() } else { pod.runtime_handler.clone() },
        pod.metadata.as_ref().map(|metadata| metadata.uid.clone()).unwrap_or_default(),
    ]);
    Ok(row)
}

/// The status of a pod.
pub(crate) async fn status(
    daemon: &Daemon,
    id: &str,
    verbose: bool,
) -> Result<PodSandboxStatusResponse, Error> {
    let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose };
    let mut runtime = daemon.runtime.clone();
    daemon.answer(format!("inspect pod {id}"), runtime.pod_sandbox_status(request)).await
}

/// Prints a table in which states have colours.
pub(crate) fn show(head: &[&str], rows: &[Vec<String>]) -> Result<(), Error> {
    let colors = has_colors();
    let text = painted(head, rows, |column, cell| match (column, cell) {
        ("STATE", "Ready" | "Running") if colors => Some(Color::Green),
        ("STATE", "Unknown") if colors => Some(Color::Red),
        ("STATE", _) if colors => Some(Color::Yellow),
        _ => None,
    });
    match write(text.as_bytes()) {
        Err(error) if !error.is_reader_gone() => Err(error.into()),
        _ => Ok(()),
    }
}
