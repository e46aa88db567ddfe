//! Updates on the side, and of the container at hand.

use super::*;
use crate::api::{
    ContainerEviction, ContainerUpdate, LinuxContainerUpdate, LinuxCpu, LinuxPids, OptionalUInt64,
};

fn shares(value: u64) -> LinuxResources {
    let cpu = LinuxCpu { shares: Some(OptionalUInt64 { value }), ..Default::default() };
    LinuxResources { cpu: Some(cpu), ..Default::default() }
}

fn pids(limit: i64) -> LinuxResources {
    LinuxResources { pids: Some(LinuxPids { limit }), ..Default::default() }
}

fn update(id: &str, resources: LinuxResources) -> ContainerUpdate {
    ContainerUpdate {
        container_id: id.to_owned(),
        linux: Some(LinuxContainerUpdate { resources: Some(resources) }),
        ignore_failure: false,
    }
}

fn harmless(id: &str, resources: LinuxResources) -> ContainerUpdate {
    ContainerUpdate { ignore_failure: true, ..update(id, resources) }
}

fn asks(updates: Vec<ContainerUpdate>) -> CreateContainerResponse {
    CreateContainerResponse { update: updates, ..Default::default() }
}

#[test]
fn updates_of_others_are_gathered_by_container_with_their_owners() {
    let mut creation = of(Container::default());
    creation.take("10-a", asks(vec![update("one", shares(2)), update("two", shares(3))])).unwrap();
    creation.take("20-b", asks(vec![harmless("one", pids(7))])).unwrap();
    let made = creation.finish();
    let both = LinuxResources { pids: Some(LinuxPids { limit: 7 }), ..shares(2) };
    // The first did not say that its failure is harmless.
    assert_eq!(made.updates.updates, [update("one", both), update("two", shares(3))]);
    assert_eq!(made.owners.owners.keys().collect::<Vec<_>>(), ["one", "two"]);
}

#[test]
fn a_conflict_fails_the_request_unless_its_failure_is_harmless() {
    let mut creation = of(Container::default());
    creation.take("10-a", asks(vec![update("one", shares(2))])).unwrap();
    let before = creation.clone();
    let both = LinuxResources { pids: Some(LinuxPids { limit: 7 }), ..shares(9) };
    creation.take("20-b", asks(vec![harmless("one", both)])).unwrap();
    assert_eq!(creation.clone().finish().updates, before.clone().finish().updates);
    assert_eq!(creation.clone().finish().owners, before.finish().owners, "nothing of it is left");
    let error = creation.take("20-b", asks(vec![update("one", shares(9))])).unwrap_err();
    assert_eq!(error.to_string(), r#"NRI plugins "10-a" and "20-b" both set CPUShares"#);
}

#[test]
fn a_container_that_is_being_created_has_no_update() {
    let error = of(Container::default()).take("10-a", asks(vec![harmless(ID, shares(2))])).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"NRI plugin "10-a" asks for an update of container "container", which is being created"#
    );
}

#[test]
fn an_update_is_what_plugins_make_of_it() {
    let reply = |updates| UpdateContainerResponse { update: updates, ..Default::default() };
    let container = Container { id: ID.to_owned(), ..Container::default() };
    let mut request = Update::new(UpdateContainerRequest {
        container: Some(container),
        linux_resources: Some(LinuxResources { pids: Some(LinuxPids { limit: 1 }), ..shares(1) }),
        ..Default::default()
    });
    request.take("10-a", reply(vec![update(ID, shares(5)), update("other", shares(6))])).unwrap();
    let seen = request.request().linux_resources.clone().unwrap();
    assert_eq!(seen, LinuxResources { pids: Some(LinuxPids { limit: 1 }), ..shares(5) });
    // Nobody has claimed the limit of processes, though it is in the request.
    request.take("20-b", reply(vec![update(ID, pids(2))])).unwrap();
    request.clone().take("30-c", reply(vec![update(ID, pids(3))])).unwrap_err();
    let (limits, others) = request.finish();
    assert_eq!(limits, LinuxResources { pids: Some(LinuxPids { limit: 2 }), ..shares(5) });
    assert_eq!(others.updates, [update("other", shares(6))]);
}

#[test]
fn a_stop_changes_others_and_evictions_are_passed_on() {
    let mut stop = Stop::default();
    let reply = StopContainerResponse { update: vec![update("one", shares(2))] };
    stop.take("10-a", reply.clone()).unwrap();
    stop.clone().take("20-b", reply).unwrap_err();
    assert_eq!(stop.finish().updates, [update("one", shares(2))]);
    let eviction = ContainerEviction { container_id: "one".into(), reason: "because".into() };
    let mut creation = of(Container::default());
    let evicts = CreateContainerResponse { evict: vec![eviction.clone()], ..Default::default() };
    creation.take("10-a", evicts).unwrap();
    let own = ContainerEviction { container_id: ID.into(), reason: String::new() };
    let error = creation
        .clone()
        .take("20-b", CreateContainerResponse { evict: vec![own], ..Default::default() })
        .unwrap_err();
    assert!(error.to_string().contains("\"20-b\" evicts container"), "{error}");
    assert_eq!(creation.finish().updates.evictions, [Eviction::of("10-a", eviction)]);
}
