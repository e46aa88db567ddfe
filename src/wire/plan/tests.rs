//! What the ids of a user namespace are outside.

use super::{IdMap, IdMaps, SchedulerPlan};

#[test]
fn ids_that_are_mapped_are_others_outside_and_the_rest_are_not() {
    let map = |inside, outside, count| vec![IdMap { inside, outside, count }];
    let ids = IdMaps { uids: map(10, 1000, 5), gids: map(20, 2000, 1) };
    let seen = [9, 10, 14, 15, 20].map(|id| ids.uid_outside(id));
    assert_eq!(seen, [9, 1000, 1004, 15, 20]);
    assert_eq!([10, 19, 20, 21].map(|id| ids.gid_outside(id)), [10, 19, 2000, 21]);
    // No id is beyond the last one.
    let last = IdMaps { uids: map(0, u32::MAX - 1, 5), gids: Vec::new() };
    assert_eq!([0, 1, 4].map(|id| last.uid_outside(id)), [u32::MAX - 1, u32::MAX, u32::MAX]);
}

#[test]
fn one_kind_of_id_makes_a_mapping() {
    let map = vec![IdMap { inside: 0, outside: 1000, count: 1 }];
    assert!(IdMaps::default().is_empty());
    assert!(!IdMaps { uids: map.clone(), gids: Vec::new() }.is_empty());
    assert!(!IdMaps { uids: Vec::new(), gids: map }.is_empty());
}

#[test]
fn a_scheduler_is_inherited_but_by_a_flag_or_the_policy_of_a_single_process() {
    let inherited =
        |policy, flags| SchedulerPlan { policy, flags, ..SchedulerPlan::default() }.is_inherited();
    // SCHED_OTHER, SCHED_RR, SCHED_DEADLINE; SCHED_FLAG_RESET_ON_FORK, SCHED_FLAG_RECLAIM.
    assert_eq!([0, 2, 6].map(|policy| inherited(policy, 0)), [true, true, false]);
    assert_eq!([1, 2, 3].map(|flags| inherited(2, flags)), [false, true, false]);
    assert!(!inherited(6, 2));
}
