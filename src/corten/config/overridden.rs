//! Mistakes in what a later file overrides. They would show on the day on which that file goes.

use super::error::ConfigError;
use super::evaluate;
use super::tree::Node;
use std::collections::BTreeSet;

/// What is wrong with each file by itself, and would be wrong, too, if it were the last one: what only makes no sense beside
/// settings of others, or without them, is not held against it. `told` is known already.
pub(super) fn mistakes(parts: &[Node], told: &[ConfigError]) -> Vec<ConfigError> {
    let mut whole = Node::empty();
    parts.iter().for_each(|part| whole.merge(part.clone()));
    let mut told = texts(told);
    let mut found = Vec::new();
    for part in parts {
        let (_, mut alone) = evaluate(&mut part.clone());
        alone.retain(|mistake| !told.contains(&mistake.to_string()));
        if alone.is_empty() {
            continue;
        }
        let mut last = whole.clone();
        last.merge(part.clone());
        let as_last = texts(&evaluate(&mut last).1);
        alone.retain(|mistake| as_last.contains(&mistake.to_string()));
        told.extend(texts(&alone));
        found.extend(alone);
    }
    found
}

fn texts(mistakes: &[ConfigError]) -> BTreeSet<String> {
    mistakes.iter().map(ToString::to_string).collect()
}
