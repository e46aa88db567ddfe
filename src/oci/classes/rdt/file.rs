//! A file of classes, checked as far as that goes on any host.

use super::document::{self, Document, Kubernetes};
use super::ids::ById;
use super::share::{Allocation, Bandwidth, Share, Side};
use std::collections::BTreeMap;

/// What the form calls the group that every process is in which nobody put elsewhere. It may also be called nothing.
pub(super) const ROOT: &str = "system/default";

/// The keys of what is given, in the order of [`Given`].
pub(super) const CACHE_KEYS: [&str; 2] = ["l2Allocation", "l3Allocation"];
pub(super) const BANDWIDTH_KEY: &str = "mbAllocation";

#[derive(Debug)]
pub(super) struct File {
    pub(super) partitions: BTreeMap<String, Partition>,
    /// Whether a host may lack the second level, the third, and bandwidth.
    pub(super) optional: [bool; 3],
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) given: Given,
    pub(super) classes: BTreeMap<String, Class>,
}

#[derive(Debug)]
pub(super) struct Class {
    pub(super) given: Given,
    pub(super) denied: Denied,
}

/// Whose annotations may not ask for a class.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Denied {
    pub(super) pod: bool,
    pub(super) container: bool,
}

/// Shares of the caches of the second and the third level, and of bandwidth.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) caches: [Option<ById<Allocation>>; 2],
    pub(super) bandwidth: Option<ById<Bandwidth>>,
}

impl File {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let document: Option<Document> = crate::yaml::parse(text)?;
        let Document { options, partitions } = document.unwrap_or_default();
        let options = options.unwrap_or_default();
        let optional = [options.l2, options.l3, options.mb];
        let optional = optional.map(|lack| lack.unwrap_or_default().optional.unwrap_or(false));
        let mut checked = BTreeMap::new();
        for (name, partition) in partitions.unwrap_or_default() {
            let partition = Partition::check(partition.unwrap_or_default());
            let partition = partition.map_err(|reason| format!("partition {name:?}: {reason}"))?;
            let others = checked.values().flat_map(|one: &Partition| one.classes.keys());
            if let Some(class) = others.into_iter().find(|class| partition.classes.contains_key(*class)) {
                return Err(format!("partition {name:?}: class {class:?} is in another partition too"));
            }
            checked.insert(name, partition);
        }
        Ok(Self { partitions: checked, optional })
    }

    /// Every class with its name.
    pub(super) fn classes(&self) -> impl Iterator<Item = (&String, &Class)> {
        self.partitions.values().flat_map(|partition| &partition.classes)
    }
}

impl Partition {
    fn check(asked: document::Partition) -> Result<Self, String> {
        let given = Given::check([asked.l2, asked.l3], asked.mb)?;
        for (cache, key) in given.caches.iter().zip(CACHE_KEYS) {
            let mut shares = cache.iter().flat_map(ById::values);
            let is_range =
                |one: &Allocation| Side::ALL.iter().any(|side| matches!(one.of(*side), Share::Range(..)));
            if shares.any(is_range) {
                return Err(format!(
                    "{key}: a partition has one percentage or bits, and no range of percentages"
                ));
            }
        }
        let mut classes = BTreeMap::new();
        for (name, class) in asked.classes.unwrap_or_default() {
            let name = if name.is_empty() { ROOT.to_owned() } else { name };
            let class = Class::check(&name, class.unwrap_or_default(), &given);
            let class = class.map_err(|reason| format!("class {name:?}: {reason}"))?;
            if classes.insert(name, class).is_some() {
                return Err(format!("class {ROOT:?} is there twice, also called \"\""));
            }
        }
        Ok(Self { given, classes })
    }
}

impl Class {
    fn check(name: &str, asked: document::Class, partition: &Given) -> Result<Self, String> {
        if name != ROOT && !super::is_name(name) {
            return Err("this is no name of a group".to_owned());
        }
        let given = Given::check([asked.l2, asked.l3], asked.mb)?;
        let caches = given.caches.iter().zip(&partition.caches).zip(CACHE_KEYS);
        let caches = caches.map(|((own, all), key)| (own.is_some(), all.is_some(), key));
        let bandwidth = (given.bandwidth.is_some(), partition.bandwidth.is_some(), BANDWIDTH_KEY);
        if let Some((.., key)) = caches.chain([bandwidth]).find(|(own, all, _)| *own && !*all) {
            return Err(format!("{key}: the partition has none that this could be a share of"));
        }
        let Kubernetes { deny_pod_annotation, deny_container_annotation } =
            asked.kubernetes.unwrap_or_default();
        let denied = Denied {
            pod: deny_pod_annotation.unwrap_or(false),
            container: deny_container_annotation.unwrap_or(false),
        };
        Ok(Self { given, denied })
    }
}

impl Given {
    fn check(
        caches: [Option<document::Cache>; 2],
        bandwidth: Option<document::Bandwidth>,
    ) -> Result<Self, String> {
        let [l2, l3] = caches;
        let cache = |asked: Option<document::Cache>, key| {
            let read = |document::Cache(asked)| ById::read(asked, Allocation::ALL, Allocation::read);
            asked.map(read).transpose().map_err(|reason| format!("{key}: {reason}"))
        };
        let [l2_key, l3_key] = CACHE_KEYS;
        let read = |document::Bandwidth(asked)| ById::read(asked, Bandwidth::ALL, Bandwidth::read);
        let bandwidth = bandwidth.map(read).transpose();
        Ok(Self {
            caches: [cache(l2, l2_key)?, cache(l3, l3_key)?],
            bandwidth: bandwidth.map_err(|reason| format!("{BANDWIDTH_KEY}: {reason}"))?,
        })
    }
}
