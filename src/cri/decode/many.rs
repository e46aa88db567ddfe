//! What a request may have tens of thousands of takes time in proportion to it.

#![allow(clippy::unwrap_used)]

use super::{Field, mounts, resources};
use crate::proto;
use std::time::Instant;

/// Eight times as many of what grows with the square take 64 times as long.
const BOUND: f64 = 30.0;

fn check(what: &str, few: usize, mut work: impl FnMut(usize)) {
    let mut quickest = |count| {
        let runs = (0..3).map(|_| {
            let start = Instant::now();
            work(count);
            start.elapsed().as_secs_f64()
        });
        runs.fold(f64::INFINITY, f64::min)
    };
    // A busy machine lends its time unevenly.
    let growths: Vec<f64> = (0..5).map(|_| quickest(8 * few) / quickest(few)).collect();
    let least = growths.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(least < BOUND, "eight times as many {what} take {growths:.0?} times as long");
}

#[test]
fn names_of_devices() {
    let (field, annotations) = (Field::root("CDI_devices"), Field::root("annotations"));
    check("names", 1_000, |count| {
        let names = (0..count).map(|n| proto::CdiDevice { name: format!("vendor.com/class=device-{n}") });
        let found = mounts::cdi_devices(&field, names.collect(), &annotations, &Default::default()).unwrap();
        assert_eq!(found.len(), count);
    });
}

#[test]
fn sizes_of_pages() {
    let field = Field::root("resources");
    check("sizes", 1_000, |count| {
        let limit = |n| proto::HugepageLimit { page_size: format!("{n}MB"), limit: 1 };
        let message = proto::LinuxContainerResources {
            hugepage_limits: (0..count).map(limit).collect(),
            ..Default::default()
        };
        assert_eq!(resources::resources(&field, Some(message)).unwrap().hugepages.len(), count);
    });
}
