#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::bounds::Bounds;
use crate::inlet::{Inlet, Life};
use crate::link::{Format, Outgoing};
use std::sync::Arc;

fn stream(id: u32, kind: &str, request: &str) -> Incoming {
    let life = Arc::new(Life::default());
    let (_, reader) = Inlet::new(Bounds::default().forwarding().share(), None, life.clone());
    let headers = Headers::of(&[("streamtype", kind), ("port", "80"), ("requestid", request)]);
    let writer = Writer::new(Outgoing::nowhere(), Format::Spdy(id), life);
    Incoming { id, headers, reader, writer }
}

#[test]
fn a_connection_s_number_is_told_or_follows_from_the_order() {
    let told = Headers::of(&[("requestid", "7")]);
    assert_eq!(request(&told, 3, "data"), "7");
    let untold = Headers::default();
    assert_eq!(request(&untold, 5, "data"), request(&untold, 3, "error"));
}

#[test]
fn two_halves_are_a_connection_in_any_order() {
    let mut lonely = Lonely::default();
    for (first, second) in [("data", "error"), ("error", "data")] {
        assert!(matches!(lonely.admit(stream(1, first, "7")), Admission::Waits));
        let Admission::Complete(pair) = lonely.admit(stream(3, second, "7")) else { panic!("no pair") };
        assert_eq!(pair.port.get(), 80);
    }
    assert!(lonely.0.is_empty());
    assert!(matches!(lonely.admit(stream(1, "data", "7")), Admission::Waits));
    assert!(matches!(lonely.admit(stream(3, "data", "7")), Admission::Refused(_)), "the former one");
    assert_eq!(lonely.0.values().map(|single| single.stream).collect::<Vec<_>>(), [3]);
}

#[test]
fn halves_that_are_reset_leave_nothing() {
    let mut lonely = Lonely::default();
    for id in (1..20_000).step_by(2) {
        assert!(matches!(lonely.admit(stream(id, "error", &id.to_string())), Admission::Waits));
        lonely.forget(id);
    }
    assert!(lonely.0.is_empty());
    assert!(matches!(lonely.admit(stream(1, "error", &"7".repeat(10_000))), Admission::Refused(_)));
}

#[tokio::test(start_paused = true)]
async fn halves_that_stay_alone_are_given_up() {
    let mut lonely = Lonely::default();
    assert!(matches!(lonely.admit(stream(1, "error", "7")), Admission::Waits));
    assert!(lonely.expire().is_empty());
    tokio::time::advance(PAIRING).await;
    assert_eq!(lonely.expire().len(), 1);
    assert!(lonely.0.is_empty());
}
