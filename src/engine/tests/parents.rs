//! Cgroups above those of pods: whoever is the last in one that was made for pods takes it along.

use super::{World, pod};
use model::ErrorKind;

#[test]
fn a_parent_that_several_pods_asked_for_goes_with_the_last_of_them_also_if_the_daemon_is_another_one() {
    for kills in [[false, false], [true, false], [false, true], [true, true]] {
        let mut world = World::new();
        let asking = |world: &World, name: &str, parent: &str| {
            let mut config = pod(name);
            config.linux.cgroup_parent = parent.to_owned();
            world.on(world.engine().pods().run_pod(config, String::new()))
        };
        let remove = |world: &World, id: &str| world.on(world.engine().pods().remove_pod(id)).unwrap();
        assert_eq!(asking(&world, "bad", "a/../b").unwrap_err().kind(), ErrorKind::InvalidArgument);
        let one = asking(&world, "one", "/shared/x").unwrap();
        if kills[0] {
            world.restart();
        }
        let other = asking(&world, "other", "/shared/x").unwrap();
        let third = asking(&world, "third", "/shared/y").unwrap();
        remove(&world, &one);
        assert!(world.path("cgroup/shared/x").is_dir());
        if kills[1] {
            world.restart();
        }
        remove(&world, &other);
        assert!(
            !world.path("cgroup/shared/x").exists() && world.path("cgroup/shared/y").is_dir(),
            "{kills:?}"
        );
        remove(&world, &third);
        assert!(!world.path("cgroup/shared").exists(), "{kills:?}");
        world.nothing_left();
    }
}

#[test]
fn a_parent_that_somebody_else_made_stays() {
    let mut world = World::new();
    let parent = world.path("cgroup/shared");
    std::fs::create_dir_all(&parent).unwrap();
    let mut config = pod("web");
    config.linux.cgroup_parent = "/shared/x".to_owned();
    let id = world.on(world.engine().pods().run_pod(config, String::new())).unwrap();
    world.restart();
    world.on(world.engine().pods().remove_pod(&id)).unwrap();
    assert!(parent.is_dir() && !parent.join("x").exists());
    std::fs::remove_dir(parent).unwrap();
    world.nothing_left();
}
