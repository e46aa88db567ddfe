//! What a durable record is of.

use model::{ContainerId, SandboxId};
use redb::TableDefinition;

/// A table: records by id.
pub(super) type Table = TableDefinition<'static, &'static str, &'static [u8]>;

const PODS: Table = TableDefinition::new("pods");
const CONTAINERS: Table = TableDefinition::new("containers");
const NODE: Table = TableDefinition::new("node");
const POD_RANGES: &str = "pod-ranges";
/// Where builds before 0.1.0 kept everything, as `pod/ID` and `container/ID`: read to be recognised, never written.
const FORMER: Table = TableDefinition::new("records");

/// Every table.
pub(super) const TABLES: [Table; 4] = [PODS, CONTAINERS, NODE, FORMER];

/// What a durable record is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// A pod, by id.
    Pod(SandboxId),
    /// A container, by id.
    Container(ContainerId),
    /// The pod ranges of the node.
    PodRanges,
}

impl Key {
    /// Where it lies.
    pub(super) fn place(&self) -> (Table, &str) {
        match self {
            Self::Pod(id) => (PODS, id.as_str()),
            Self::Container(id) => (CONTAINERS, id.as_str()),
            Self::PodRanges => (NODE, POD_RANGES),
        }
    }

    /// What lies there; `None` for what no release has put there.
    pub(super) fn at(table: Table, name: &str) -> Option<Self> {
        use redb::TableHandle as _;
        if table.name() == FORMER.name() {
            let (kind, id) = name.split_once('/')?;
            return match kind {
                "pod" => Some(Self::Pod(SandboxId::new(id))),
                "container" => Some(Self::Container(ContainerId::new(id))),
                _ => None,
            };
        }
        let keys =
            [Self::Pod(SandboxId::new(name)), Self::Container(ContainerId::new(name)), Self::PodRanges];
        keys.into_iter().find(|key| {
            let (own, id) = key.place();
            own.name() == table.name() && id == name
        })
    }
}
