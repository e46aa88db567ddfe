//! Telling a plugin of everything that is there, in as many messages as it takes.

use super::JoinError;
use crate::api::{Container, ContainerUpdate, PodSandbox, SynchronizeRequest, SynchronizeResponse};
use crate::bounds;
use crate::link::CallError;
use crate::plugin::Plugin;
use crate::ttrpc::{self, code};
use prost::Message;
use prost::encoding::encoded_len_varint;
use std::time::Duration;

const METHOD: &str = "Synchronize";
const ROOM: usize = ttrpc::LIMIT - ttrpc::ENVELOPE;
/// A message with no more than this many is not made smaller.
const FEWEST: usize = 8;

/// Tells of it, and returns what the plugin wants changed.
pub(super) async fn tell(
    plugin: &Plugin,
    mut pods: Vec<PodSandbox>,
    mut containers: Vec<Container>,
    limit: Duration,
) -> Result<Vec<ContainerUpdate>, JoinError> {
    // One that fits into no message must not bar every plugin from joining.
    pods.retain(|pod| is_tellable(plugin, &pod.id, pod));
    containers.retain(|container| is_tellable(plugin, &container.id, container));
    let mut most = usize::MAX;
    loop {
        let (mut some_pods, mut some_containers) = batch(&mut pods, &mut containers, most);
        let count = some_pods.len() + some_containers.len();
        let more = !pods.is_empty() || !containers.is_empty();
        let request = SynchronizeRequest { pods: some_pods, containers: some_containers, more };
        match plugin.call(METHOD, request.encode_to_vec(), limit).await {
            Ok(bytes) => {
                let reply: SynchronizeResponse = bounds::decode(&bytes)
                    .map_err(|error| JoinError::Synchronize(CallError::Malformed(error)))?;
                if !more {
                    return Ok(reply.update);
                }
                if !reply.more || !reply.update.is_empty() {
                    return Err(JoinError::Split);
                }
            }
            Err(CallError::Status { code: code::RESOURCE_EXHAUSTED, .. }) if count > FEWEST => {
                most = (count / 2).max(FEWEST);
                (some_pods, some_containers) = (request.pods, request.containers);
                pods.splice(0..0, some_pods);
                containers.splice(0..0, some_containers);
            }
            Err(error) => return Err(JoinError::Synchronize(error)),
        }
    }
}

/// Takes the first of them: no more than are wanted, and than go into a message.
fn batch(
    pods: &mut Vec<PodSandbox>,
    containers: &mut Vec<Container>,
    most: usize,
) -> (Vec<PodSandbox>, Vec<Container>) {
    let mut room = ROOM;
    let of_pods = fitting(pods, &mut room, most);
    let of_containers =
        if of_pods == pods.len() { fitting(containers, &mut room, most - of_pods) } else { 0 };
    (pods.drain(..of_pods).collect(), containers.drain(..of_containers).collect())
}

/// What one of several takes in a message.
fn taken_by(one: &impl Message) -> usize {
    let length = one.encoded_len();
    1 + encoded_len_varint(length as u64) + length
}

fn is_tellable(plugin: &Plugin, id: &str, one: &impl Message) -> bool {
    let bytes = taken_by(one);
    if bytes > ROOM {
        tracing::warn!(plugin = plugin.name, id, bytes, "it is too long for a plugin to be told of");
    }
    bytes <= ROOM
}

/// How many there is room for.
fn fitting<M: Message>(all: &[M], room: &mut usize, most: usize) -> usize {
    let mut count = 0;
    for one in all.iter().take(most) {
        let needed = taken_by(one);
        if needed > *room {
            break;
        }
        (*room, count) = (*room - needed, count + 1);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(count: usize, bytes: usize) -> Vec<PodSandbox> {
        let pod =
            |number| PodSandbox { id: format!("{number}"), name: "x".repeat(bytes), ..Default::default() };
        (0..count).map(pod).collect()
    }

    #[test]
    fn batches_go_into_messages_and_lose_nothing() {
        let container = |number: usize| Container { id: format!("{number}"), ..Container::default() };
        let (mut left, mut containers) = (pods(100, 100_000), (0..5000).map(container).collect());
        let (mut of_pods, mut of_containers) = (Vec::new(), Vec::new());
        while !left.is_empty() || !Vec::is_empty(&containers) {
            let (pods, some) = batch(&mut left, &mut containers, usize::MAX);
            assert!(!pods.is_empty() || !some.is_empty());
            of_pods.extend(pods.iter().map(|pod| pod.id.clone()));
            of_containers.extend(some.iter().map(|container| container.id.clone()));
            let request = SynchronizeRequest { pods, containers: some, more: true };
            assert!(request.encoded_len() < ttrpc::LIMIT);
        }
        assert_eq!(of_pods, (0..100).map(|number| format!("{number}")).collect::<Vec<_>>());
        assert_eq!(of_containers, (0..5000).map(|number| format!("{number}")).collect::<Vec<_>>());
    }

    #[test]
    fn a_batch_is_as_large_as_the_room_and_no_larger_than_is_wanted() {
        let (mut left, mut none) = (pods(2, ROOM - 20), Vec::new());
        assert!(taken_by(&left[0]) <= ROOM);
        assert_eq!(batch(&mut left, &mut none, usize::MAX).0.len(), 1);
        let (mut left, mut none) = (pods(20, 1), Vec::new());
        assert_eq!(batch(&mut left, &mut none, 8).0.len(), 8);
    }
}
