//! What a durable record is of.

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
    Pod(String),
    /// A container, by id.
    Container(String),
    /// The pod ranges of the node.
    PodRanges,
}

impl Key {
    /// Where it lies.
    pub(super) fn place(&self) -> (Table, &str) {
        match self {
            Self::Pod(id) => (PODS, id),
            Self::Container(id) => (CONTAINERS, id),
            Self::PodRanges => (NODE, POD_RANGES),
        }
    }

    /// What lies there; `None` for what no release has put there.
    pub(super) fn at(table: Table, name: &str) -> Option<Self> {
        use redb::TableHandle as _;
        if table.name() == FORMER.name() {
            let (kind, id) = name.split_once('/')?;
            return match kind {
                "pod" => Some(Self::Pod(id.to_owned())),
                "container" => Some(Self::Container(id.to_owned())),
                _ => None,
            };
        }
        let keys = [Self::Pod(name.to_owned()), Self::Container(name.to_owned()), Self::PodRanges];
        keys.into_iter().find(|key| {
            let (own, id) = key.place();
            own.name() == table.name() && id == name
        })
    }
}
