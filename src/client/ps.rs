//! `corten ps`.

use crate::connection::Daemon;
use crate::error::Error;
use crate::node::{Labels, Node, container_state, short};
use crate::pods::show;
use crate::print::print;
use crate::{json, time};
use cli::daemon::Output;
use cli::ps::{self, PsArgs};
use proto::{Container, ContainerState, ContainerStatusRequest, ContainerStatusResponse};
use serde_json::{Value, json};

const HEAD: [&str; 9] = ["NAMESPACE", "POD", "NAME", "STATE", "AGE", "ATTEMPT", "IMAGE", "ID", "POD ID"];

/// Lists containers.
pub(crate) async fn run(daemon: &Daemon, arguments: &PsArgs) -> Result<(), Error> {
    let node = Node::look(daemon).await?;
    let chosen = choose(&node, arguments)?;
    if arguments.quiet {
        return Ok(print(&chosen.iter().map(|one| format!("{}\n", one.id)).collect::<String>())?);
    }
    match arguments.output {
        Output::Json => {
            let containers: Vec<Value> = chosen.iter().map(|one| json::container(one)).collect();
            print(&json::pretty(&json!({"containers": containers})))?;
        }
        Output::Table => show(&HEAD, &chosen.iter().map(|one| row(&node, one)).collect::<Vec<_>>())?,
        Output::Wide => {
            let mut rows = Vec::with_capacity(chosen.len());
            for container in chosen {
                rows.push(wide(daemon, &node, container).await?);
            }
            let head: Vec<&str> = HEAD.into_iter().chain(["EXIT", "REASON"]).collect();
            show(&head, &rows)?;
        }
    }
    Ok(())
}

fn choose<'a>(node: &'a Node, arguments: &PsArgs) -> Result<Vec<&'a Container>, Error> {
    let is_named = !arguments.containers.is_empty();
    let all = if is_named {
        arguments.containers.iter().map(|name| node.container(name)).collect::<Result<Vec<_>, Error>>()?
    } else {
        node.containers.iter().collect()
    };
    let pod = arguments.pod.as_ref().map(|name| node.pod(name)).transpose()?;
    let labels = Labels::parse(&arguments.label);
    let passes = |one: &&Container| {
        let state = match one.state() {
            ContainerState::ContainerCreated => ps::ContainerState::Created,
            ContainerState::ContainerRunning => ps::ContainerState::Running,
            ContainerState::ContainerExited => ps::ContainerState::Exited,
            ContainerState::ContainerUnknown => ps::ContainerState::Unknown,
        };
        let by_state = match arguments.state {
            Some(wanted) => wanted == state,
            None => arguments.all || is_named || state == ps::ContainerState::Running,
        };
        by_state
            && pod.is_none_or(|pod| one.pod_sandbox_id == pod.id)
            && arguments.namespace.as_ref().is_none_or(|wanted| node.names(one).0 == wanted)
            && labels.are_among(&one.labels)
    };
    Ok(all.into_iter().filter(passes).collect())
}

fn row(node: &Node, container: &Container) -> Vec<String> {
    let (namespace, pod, name) = node.names(container);
    vec![
        namespace.to_owned(),
        pod.to_owned(),
        name.to_owned(),
        container_state(container.state()).to_owned(),
        time::age(time::now() - container.created_at),
        container.metadata.as_ref().map_or(0, |metadata| metadata.attempt).to_string(),
        container.image.as_ref().map_or_else(|| container.image_ref.clone(), |image| image.image.clone()),
        short(&container.id),
        short(&container.pod_sandbox_id),
    ]
}

async fn wide(daemon: &Daemon, node: &Node, container: &Container) -> Result<Vec<String>, Error> {
    let status = status(daemon, &container.id, false).await?.status.unwrap_or_default();
    let has_ended = status.state() == ContainerState::ContainerExited;
    let mut row = row(node, container);
    row.truncate(row.len() - 2);
    row.extend([
        container.id.clone(),
        container.pod_sandbox_id.clone(),
        if has_ended { status.exit_code.to_string() } else { "-".to_owned() },
        if status.reason.is_empty() { "-".to_owned() } else { status.reason },
    ]);
    Ok(row)
}

/// The status of a container.
pub(crate) async fn status(
    daemon: &Daemon,
    id: &str,
    verbose: bool,
) -> Result<ContainerStatusResponse, Error> {
    let request = ContainerStatusRequest { container_id: id.to_owned(), verbose };
    let mut runtime = daemon.runtime.clone();
    daemon.answer(format!("inspect container {id}"), runtime.container_status(request)).await
}
