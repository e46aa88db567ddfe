//! What whoever asks is told of plugins that are not there.

use super::{World, join};
use crate::NriSettings;
use nri::testing::Manner;
use std::os::unix::fs::PermissionsExt;

/// A plugin that runs so, or is not executable.
fn install(dir: &std::path::Path, name: &str, program: &str, mode: u32) {
    let plugins = dir.join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::fs::write(plugins.join(name), format!("#!/bin/sh\n{program}\n")).unwrap();
    std::fs::set_permissions(plugins.join(name), PermissionsExt::from_mode(mode)).unwrap();
}

fn world(
    install: impl FnOnce(&std::path::Path) + Send + 'static,
    change: impl FnOnce(&mut NriSettings) + Send + 'static,
) -> World {
    World::with(move |settings, dir| {
        install(dir);
        settings.nri = NriSettings {
            socket_path: dir.join("nri/nri.sock"),
            plugin_path: dir.join("plugins"),
            plugin_config_path: dir.join("conf.d"),
            ..NriSettings::default()
        };
        change(&mut settings.nri);
    })
}

#[test]
fn a_pod_that_waits_for_a_plugin_that_starts_names_it() {
    let world = world(
        |dir| install(dir, "20-slow", "exec sleep 600", 0o755),
        |nri| nri.plugin_registration_timeout_ms = 3000,
    );
    let engine = world.engine();
    let making =
        world.spawn(async move { engine.pods().run_pod(super::super::pod("web"), String::new()).await });
    let sentence = "NRI plugin 20-slow is starting, and has not registered yet";
    world.until("it is named", || {
        world.engine().explain_pod("test/web").is_ok_and(|one| one.waits.iter().any(|wait| wait == sentence))
    });
    world.on(making).unwrap().unwrap();
    let explained = world.engine().explain_pod("test/web").unwrap();
    assert!(!explained.waits.iter().any(|wait| wait.contains("20-slow")), "{:?}", explained.waits);
    assert!(explained.notes[0].starts_with("NRI plugin 20-slow is not connected: "), "{:?}", explained.notes);
}

#[test]
fn a_pod_says_which_plugins_it_lacks_and_why_they_are_not_there() {
    let world = world(
        |dir| {
            install(dir, "10-broken", "echo no licence >&2; exit 3", 0o755);
            install(dir, "20-closed", "", 0o644);
        },
        |nri| {
            nri.default_validator.enable = true;
            nri.default_validator.required_plugins = vec!["broken".to_owned(), "policy".to_owned()];
        },
    );
    world.pod("web");
    let notes = || world.engine().explain_pod("test/web").unwrap().notes;
    let broken = "NRI plugin 10-broken is not connected: it exited with code 3 (last line: no licence)";
    world.until("it has ended", || notes().iter().any(|note| note == broken));
    let told = notes();
    assert_eq!(
        told[0],
        "no container of it is created: the required NRI plugins broken, policy are not connected"
    );
    assert!(told[2].starts_with("NRI plugin 20-closed is not started: nobody may execute it"), "{told:?}");
    // It is told by the details of the status, and keeps nothing from being ready.
    let status = world.engine().status();
    assert!(status.unfit.is_none());
    assert_eq!(
        status.info["nriRequiredPlugins"],
        "no container is created without broken, policy, not connected"
    );
    let _policy = join(&world, Manner::new("50", "policy"));
    assert_eq!(notes()[0], "no container of it is created: the required NRI plugin broken is not connected");
}

#[test]
fn where_none_is_required_or_installed_nothing_is_told() {
    let world = super::world();
    world.pod("web");
    let _other = join(&world, Manner::new("50", "other"));
    assert_eq!(world.engine().explain_pod("test/web").unwrap().notes, [""; 0]);
    assert!(!world.engine().status().info.contains_key("nriRequiredPlugins"));
}
