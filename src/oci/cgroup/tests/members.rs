//! How many processes a cgroup has.

use super::{Parent, run_in};
use crate::cgroup::Resources;
use std::time::{Duration, Instant};

#[test]
fn processes_are_counted_wherever_they_are_below_a_cgroup() {
    let Some(parent) = Parent::new("members") else { return };
    let (host, id) = (&parent.host, parent.path.join("container"));
    let plan = host.create(&id, &Resources::default()).unwrap();
    let mut child = run_in(&plan, "sleep 100 & echo ready; wait");
    let meter = host.meter(&id).unwrap();
    assert_eq!(meter.processes(), 2);
    let (hierarchy, below) = (host.listing().unwrap(), id.join("below"));
    hierarchy.mkdir(below.relative()).unwrap();
    hierarchy.write(below.relative(), "cgroup.procs", child.id().to_string()).unwrap();
    assert_eq!(meter.processes(), 2, "one of them below");
    host.kill(&id).unwrap();
    child.wait().unwrap();
    // The signals are sent; what the shell started is nobody's here to wait for.
    let end = Instant::now() + Duration::from_secs(10);
    while meter.processes() != 0 {
        assert!(Instant::now() < end, "{} are left", meter.processes());
        std::thread::yield_now();
    }
    host.remove(&id).unwrap();
}
