#![allow(clippy::unwrap_used)]

use super::progress::{Failure, Progress, told};
use serde_json::{Value, json};

fn set(observed: u64, updated: u64, ready: u64) -> Progress {
    Progress::of(&json!({"metadata": {"generation": 2}, "status": {
        "observedGeneration": observed, "updatedNumberScheduled": updated, "numberReady": ready, "desiredNumberScheduled": 3,
    }}))
}

fn pod(node: &str, ready: &str, container: &Value) -> Value {
    json!({"metadata": {}, "spec": {"nodeName": node}, "status": {
        "phase": "Running", "conditions": [{"type": "Ready", "status": ready}], "containerStatuses": [container],
    }})
}

#[test]
fn it_is_done_when_the_controller_has_seen_the_change_and_every_node_is_ready_with_it() {
    assert!(set(2, 3, 3).is_done());
    for unfinished in [set(1, 3, 3), set(2, 2, 3), set(2, 3, 2)] {
        assert!(!unfinished.is_done(), "{unfinished:?}");
    }
    assert!(
        Progress::of(&json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1}})).is_done(),
        "no node is to have it"
    );
}

#[test]
fn nodes_that_refuse_end_the_wait_once_all_others_are_done() {
    let refuses = pod(
        "b",
        "False",
        &json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"message": "pods run here\n"}}}),
    );
    let comes = pod("c", "False", &json!({"state": {"running": {}}}));
    let leaves = json!({"metadata": {"deletionTimestamp": "now"}, "status": {}});
    let of = |pods: &[&Value]| pods.iter().filter_map(|pod| Failure::of(pod)).collect::<Vec<_>>();
    let (one, both) = (of(&[&refuses, &leaves, &pod("a", "True", &json!({}))]), of(&[&refuses, &comes]));
    assert_eq!((one.len(), both.len()), (1, 2));
    assert!(set(2, 3, 2).is_settled(&one));
    assert!(!set(2, 3, 1).is_settled(&one), "one more may come");
    assert!(!set(1, 3, 2).is_settled(&one) && !set(2, 3, 2).is_settled(&[]));
    assert_eq!(told(set(2, 3, 1), &both), "1 of 3 nodes done; b: pods run here; c: its pod is Running");
    let many: Vec<Failure> = (0..23).filter_map(|_| Failure::of(&comes)).collect();
    assert!(told(set(2, 3, 1), &many).ends_with("; and 3 more"));
}

#[test]
fn what_is_no_change_of_a_set_is_an_error() {
    for patch in [json!(5), json!([]), json!({"spec": {"template": "x"}})] {
        super::marked(&mut patch.clone(), "now").unwrap_err();
    }
    let mut patch = json!({"spec": {"template": {"spec": {}}}});
    super::marked(&mut patch, "now").unwrap();
    assert_eq!(patch["spec"]["template"]["metadata"]["annotations"][super::MARK], "now");
}
