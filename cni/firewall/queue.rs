//! Keys that several attachments claim, such as a port of the host: the first has it, the others wait.
//!
//! The standard plugins append a rule for each claim, of which the first decides: a container never loses its port to
//! one that comes later, which gets it when the first goes. Here a claim that comes later is an element of a set of its
//! own, which nobody looks at until a key becomes free.

use super::{Changes, Element};
use std::collections::{HashMap, HashSet};

/// How a table keeps those who wait.
pub(crate) struct Queue {
    /// The set of those who wait. Its elements carry the time since when they do.
    pub(crate) set: &'static str,
    /// The sets whose keys are waited for.
    pub(crate) of: &'static [&'static str],
    /// The element by which the owner of an element of a set waits for its key, from now on.
    pub(crate) waiting: fn(&str, &Element) -> Element,
    /// What is waited for: since when, the set and the element.
    pub(crate) claim: fn(&Element) -> Option<(u32, &'static str, Element)>,
}

impl Queue {
    /// Whether keys of this set are waited for.
    pub(super) fn is_for(&self, set: &str) -> bool {
        self.of.contains(&set)
    }

    /// Whether an element is among those who wait.
    pub(super) fn has(&self, waiting: &[Element], set: &str, element: &Element) -> bool {
        let mut claims = waiting.iter().filter_map(self.claim);
        self.is_for(set) && claims.any(|(_, of, claimed)| of == set && claimed == *element)
    }

    /// Gives the keys of elements that are removed to those who have waited longest.
    pub(super) fn advance(
        &self,
        removed: &[(&'static str, Element)],
        waiting: &[Element],
        changes: &mut Changes,
    ) {
        let gone = removed.iter().filter(|(from, _)| *from == self.set);
        let gone: HashSet<&[u8]> = gone.map(|(_, element)| element.key.as_slice()).collect();
        let mut oldest = HashMap::new();
        for element in waiting.iter().filter(|element| !gone.contains(element.key.as_slice())) {
            let Some((since, of, claimed)) = (self.claim)(element) else { continue };
            let before = oldest.entry((of, claimed.key.clone())).or_insert((since, element, claimed.clone()));
            if since < before.0 {
                *before = (since, element, claimed);
            }
        }
        for (set, freed) in removed.iter().filter(|(set, _)| self.is_for(set)) {
            if let Some((_, element, claimed)) = oldest.remove(&(*set, freed.key.clone())) {
                changes.delete.push((self.set, element.key.clone()));
                changes.add.push((*set, claimed));
            }
        }
    }
}
