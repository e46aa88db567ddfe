//! How much a message of a plugin may hold: an entry takes two bytes in it and hundreds here, so that its length alone bounds
//! no memory.

use crate::api;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// More than there is anywhere: limits of two thousand containers, or every variable that a process can have.
const MOST: usize = 1 << 14;

/// What a plugin sends.
pub(crate) trait Sent: Message + Default {
    /// Which of its fields hold entries.
    const SHAPE: Shape;
}

/// Messages whose fields count, one by one; those of which a message has one or a few are looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Creation,
    Adjustment,
    Linux,
    Seccomp,
    Updates,
    Update,
    UpdateLinux,
    /// Nothing in it is looked into.
    Plain,
}

impl Sent for api::CreateContainerResponse {
    const SHAPE: Shape = Shape::Creation;
}

impl Sent for api::UpdateContainerResponse {
    const SHAPE: Shape = Shape::Updates;
}

impl Sent for api::StopContainerResponse {
    const SHAPE: Shape = Shape::Updates;
}

impl Sent for api::SynchronizeResponse {
    const SHAPE: Shape = Shape::Updates;
}

impl Sent for api::UpdateContainersRequest {
    const SHAPE: Shape = Shape::Updates;
}

impl Sent for api::ValidateContainerAdjustmentResponse {
    const SHAPE: Shape = Shape::Plain;
}

impl Shape {
    /// What a field is to be looked into as, by its number in the protocol.
    fn of(self, field: u32) -> Option<Self> {
        match (self, field) {
            (Self::Creation, 1) => Some(Self::Adjustment),
            (Self::Creation, 2) | (Self::Updates, 1) => Some(Self::Update),
            // Hooks.
            (Self::Adjustment, 5) => Some(Self::Plain),
            (Self::Adjustment, 6) => Some(Self::Linux),
            // Limits.
            (Self::Linux, 2) | (Self::UpdateLinux, 1) => Some(Self::Plain),
            (Self::Linux, 6) => Some(Self::Seccomp),
            // The rules of a filter, with their arguments.
            (Self::Seccomp, 7) => Some(Self::Plain),
            (Self::Update, 2) => Some(Self::UpdateLinux),
            _ => None,
        }
    }
}

/// Decodes a message, unless it holds more than there can be.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn decode<S: Sent>(bytes: &[u8]) -> Result<S, String> {
    if entries(bytes, S::SHAPE) > MOST {
        return Err(format!("it has more than {MOST} entries"));
    }
    S::decode(bytes).map_err(|error| error.to_string())
}

/// How many fields there are; where it is no message, those before that.
fn entries(mut bytes: &[u8], shape: Shape) -> usize {
    let mut count = 0;
    while !bytes.is_empty() && count <= MOST {
        let Ok((field, kind)) = decode_key(&mut bytes) else { break };
        count += 1;
        if kind != WireType::LengthDelimited {
            if skip_field(kind, field, &mut bytes, DecodeContext::default()).is_err() {
                break;
            }
            continue;
        }
        let length = decode_varint(&mut bytes).ok().and_then(|length| usize::try_from(length).ok());
        let Some((inner, rest)) = length.and_then(|length| bytes.split_at_checked(length)) else { break };
        count += shape.of(field).map_or(0, |shape| entries(inner, shape));
        bytes = rest;
    }
    count
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use api::{
        ContainerAdjustment, ContainerUpdate, CreateContainerResponse, Hook, Hooks, KeyValue,
        LinuxContainerAdjustment, LinuxContainerUpdate, LinuxResources, LinuxSeccomp, LinuxSyscall,
        SynchronizeResponse,
    };

    fn adjusted(adjustment: ContainerAdjustment) -> CreateContainerResponse {
        CreateContainerResponse { adjust: Some(adjustment), ..Default::default() }
    }

    #[test]
    fn what_nobody_can_want_is_refused_wherever_it_is() {
        let many = MOST + 1;
        let linux = |linux| adjusted(ContainerAdjustment { linux: Some(linux), ..Default::default() });
        let seccomp = LinuxSeccomp { syscalls: vec![LinuxSyscall::default(); many], ..Default::default() };
        let unified = (0..many).map(|number| (number.to_string(), String::new())).collect();
        let bombs = [
            CreateContainerResponse { update: vec![ContainerUpdate::default(); many], ..Default::default() },
            CreateContainerResponse { evict: vec![Default::default(); many], ..Default::default() },
            adjusted(ContainerAdjustment { env: vec![KeyValue::default(); many], ..Default::default() }),
            adjusted(ContainerAdjustment {
                hooks: Some(Hooks { poststop: vec![Hook::default(); many], ..Default::default() }),
                ..Default::default()
            }),
            linux(LinuxContainerAdjustment { devices: vec![Default::default(); many], ..Default::default() }),
            linux(LinuxContainerAdjustment { seccomp_policy: Some(seccomp), ..Default::default() }),
            linux(LinuxContainerAdjustment {
                resources: Some(LinuxResources { unified, ..Default::default() }),
                ..Default::default()
            }),
        ];
        for bomb in bombs {
            let error = decode::<CreateContainerResponse>(&bomb.encode_to_vec()).unwrap_err();
            assert_eq!(error, "it has more than 16384 entries");
        }
    }

    #[test]
    fn what_a_large_node_needs_is_taken() {
        let limits = LinuxResources { pids: Some(Default::default()), ..Default::default() };
        let update = |number: usize| ContainerUpdate {
            container_id: format!("{number:064}"),
            linux: Some(LinuxContainerUpdate { resources: Some(limits.clone()) }),
            ignore_failure: true,
        };
        let update = (0..2000).map(update).collect();
        let reply = SynchronizeResponse { update, more: false };
        assert_eq!(decode::<SynchronizeResponse>(&reply.encode_to_vec()).unwrap(), reply);
        // A text is one entry, whatever it looks like.
        let annotations = [("key".to_owned(), "a\0".repeat(1 << 20))].into();
        let reply = adjusted(ContainerAdjustment { annotations, ..Default::default() });
        assert_eq!(decode::<CreateContainerResponse>(&reply.encode_to_vec()).unwrap(), reply);
    }

    #[test]
    fn what_is_no_message_is_no_message() {
        assert!(decode::<CreateContainerResponse>(&[0x0a, 0xff]).is_err());
        assert!(decode::<CreateContainerResponse>(&[0xff; 20]).is_err());
    }
}
