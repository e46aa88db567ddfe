//! `corten inspect`.

use crate::connection::Daemon;
use crate::error::Error;
use crate::node::{Node, Thing};
use crate::print::print;
use crate::{json, pods, ps};
use cli::inspect::InspectArgs;
use serde_json::Value;

/// Shows pods and containers: one as an object, several as a list.
pub(crate) async fn run(daemon: &Daemon, arguments: &InspectArgs) -> Result<(), Error> {
    let node = Node::look(daemon).await?;
    let mut shown = Vec::with_capacity(arguments.names.len());
    for name in &arguments.names {
        shown.push(match node.thing(name)? {
            Thing::Pod(pod) => {
                let answer = pods::status(daemon, &pod.id, true).await?;
                json::inspected(json::pod_status(&answer.status.unwrap_or_default()), &answer.info)
            }
            Thing::Container(container) => {
                let answer = ps::status(daemon, &container.id, true).await?;
                json::inspected(json::container_status(&answer.status.unwrap_or_default()), &answer.info)
            }
        });
    }
    let value = match <[Value; 1]>::try_from(shown) {
        Ok([one]) => one,
        Err(several) => several.into(),
    };
    Ok(print(&json::pretty(&value))?)
}
