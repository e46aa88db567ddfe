//! Answers of one field, which may be large: who reads one gets what is in it as messages; who sends one may have encoded it
//! already, piece by piece, where it was found. What follows one another on the wire is one list.

use crate::{ContainerStats, PodSandboxMetrics, PodSandboxStats};
use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, message, skip_field};
use prost::{DecodeError, Message};

/// The number of that field.
pub const ITEMS: u32 = 1;

/// One message or several.
trait Items: Default {
    fn encode(&self, buf: &mut impl BufMut);
    fn encoded_len(&self) -> usize;
    fn merge(
        &mut self,
        kind: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError>;
}

impl<M: Message + Default> Items for Vec<M> {
    fn encode(&self, buf: &mut impl BufMut) {
        message::encode_repeated(ITEMS, self, buf);
    }

    fn encoded_len(&self) -> usize {
        message::encoded_len_repeated(ITEMS, self)
    }

    fn merge(
        &mut self,
        kind: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        message::merge_repeated(kind, self, buf, context)
    }
}

impl<M: Message + Default> Items for Option<M> {
    fn encode(&self, buf: &mut impl BufMut) {
        self.iter().for_each(|item| message::encode(ITEMS, item, buf));
    }

    fn encoded_len(&self) -> usize {
        self.as_ref().map_or(0, |item| message::encoded_len(ITEMS, item))
    }

    fn merge(
        &mut self,
        kind: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        message::merge(kind, self.get_or_insert_default(), buf, context)
    }
}

macro_rules! answers {
    ($($answer:ident { $field:ident: $items:ty })*) => {$(
        #[derive(Clone, PartialEq, Default, Debug)]
        pub struct $answer {
            /// As a client reads it.
            pub $field: $items,
            /// What is encoded already, each message with the field's key and its length before it; sent first.
            pub encoded: Vec<Vec<u8>>,
        }

        impl Message for $answer {
            fn encode_raw(&self, buf: &mut impl BufMut) {
                self.encoded.iter().for_each(|part| buf.put_slice(part));
                self.$field.encode(buf);
            }

            fn merge_field(
                &mut self,
                number: u32,
                kind: WireType,
                buf: &mut impl Buf,
                context: DecodeContext,
            ) -> Result<(), DecodeError> {
                if number != ITEMS {
                    return skip_field(kind, number, buf, context);
                }
                self.$field.merge(kind, buf, context).map_err(|mut error| {
                    error.push(stringify!($answer), stringify!($field));
                    error
                })
            }

            fn encoded_len(&self) -> usize {
                self.encoded.iter().map(Vec::len).sum::<usize>() + self.$field.encoded_len()
            }

            fn clear(&mut self) {
                *self = Self::default();
            }
        }
    )*};
}

answers! {
    ContainerStatsResponse { stats: Option<ContainerStats> }
    ListContainerStatsResponse { stats: Vec<ContainerStats> }
    StreamContainerStatsResponse { container_stats: Vec<ContainerStats> }
    PodSandboxStatsResponse { stats: Option<PodSandboxStats> }
    ListPodSandboxStatsResponse { stats: Vec<PodSandboxStats> }
    StreamPodSandboxStatsResponse { pod_sandbox_stats: Vec<PodSandboxStats> }
    ListPodSandboxMetricsResponse { pod_metrics: Vec<PodSandboxMetrics> }
    StreamPodSandboxMetricsResponse { pod_sandbox_metrics: Vec<PodSandboxMetrics> }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What is encoded already comes before the rest, and is read as if it had been encoded with it.
    #[test]
    fn parts_that_are_encoded_already_make_one_answer() {
        let item = |id: &str| PodSandboxMetrics { pod_sandbox_id: id.into(), ..Default::default() };
        let list = |ids: &[&str]| ListPodSandboxMetricsResponse {
            pod_metrics: ids.iter().map(|id| item(id)).collect(),
            encoded: Vec::new(),
        };
        let parts = ListPodSandboxMetricsResponse {
            encoded: [&["a", "b"][..], &["c"], &[]].map(|ids| list(ids).encode_to_vec()).to_vec(),
            ..list(&["d"])
        };
        let whole = list(&["a", "b", "c", "d"]);
        assert_eq!(
            (parts.encoded_len(), parts.encode_to_vec()),
            (whole.encoded_len(), whole.encode_to_vec())
        );
        let later = [whole.encode_to_vec(), vec![2 << 3, 7]].concat();
        assert_eq!(ListPodSandboxMetricsResponse::decode(&*later).unwrap(), whole, "with a field of later");
        let stats = PodSandboxStats { attributes: Some(Default::default()), ..Default::default() };
        let one = PodSandboxStatsResponse { stats: Some(stats), encoded: Vec::new() };
        let encoded = PodSandboxStatsResponse { encoded: vec![one.encode_to_vec()], stats: None };
        assert_eq!(PodSandboxStatsResponse::decode(&*encoded.encode_to_vec()).unwrap(), one);
        assert!(PodSandboxStatsResponse::decode(&[10, 200][..]).is_err());
    }
}
