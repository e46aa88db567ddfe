//! `corten image …` on a running daemon.

use crate::{hosts, world};
use e2e::command::{self, Finished};
use e2e::runtime::Kind;
use e2e::world::World;
use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn image(world: &World, arguments: &[&str]) -> Finished {
    let (program, config) = world.daemon.invocation();
    let mut line = Command::new(program);
    line.arg("image").args(arguments).arg("--config").arg(config).env("HOME", world.isolation.root());
    for name in ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE"] {
        line.env_remove(name);
    }
    command::finish(&mut line, Duration::from_secs(60)).unwrap()
}

fn done(world: &World, arguments: &[&str]) -> String {
    let finished = image(world, arguments);
    assert!(finished.status.success(), "{arguments:?}: {}", finished.stderr);
    finished.stdout
}

/// Archives of every kind that skopeo writes, and a layout's directory.
fn load(world: &World) {
    let work = world.isolation.directory("archives").unwrap();
    let from = format!("docker://{}/team/app:1", world.registry.address());
    let id = done(world, &["inspect", "registry.test/team/app:1"]);
    let id = serde_json::from_str::<serde_json::Value>(&id).unwrap()["id"].as_str().unwrap().to_owned();
    for (kind, place, name) in [
        ("oci-archive", "oci.tar:loaded.test/oci:1", None),
        ("docker-archive", "docker.tar:loaded.test/docker:1", None),
        ("oci", "layout:1", Some("loaded.test/layout:1")),
    ] {
        let to = format!("{kind}:{}/{place}", work.display());
        let mut skopeo = Command::new(e2e::tools::system("skopeo").unwrap());
        skopeo.args(["--insecure-policy", "copy", "-q", "--src-tls-verify=false", &from, &to]);
        command::run(&mut skopeo, Duration::from_secs(60)).unwrap();
        let file = work.join(place.split(':').next().unwrap());
        let mut arguments = vec!["load", file.to_str().unwrap()];
        arguments.extend(name.iter().flat_map(|name| ["--name", *name]));
        if name.is_some() {
            // All that is in there is a tag.
            let nameless = image(world, &arguments[..2]);
            assert!(nameless.stderr.contains("--name"), "{}", nameless.stderr);
        }
        let loaded = done(world, &arguments);
        let wanted = name.unwrap_or_else(|| place.split_once(':').unwrap().1);
        assert!(loaded.contains(&id) && loaded.contains(wanted), "{kind}: {loaded}");
        assert!(done(world, &["ls"]).contains(wanted), "{kind}");
    }
    // What is refused is refused for its reason, however much of it is still to be sent.
    let (xz, large) = (work.join("oci.tar.xz"), work.join("large"));
    std::fs::write(&xz, [b"\xfd7zXZ\0".as_slice(), &[0; 100]].concat()).unwrap();
    let refused = image(world, &["load", xz.to_str().unwrap()]);
    assert!(
        refused.stderr.contains("packed with xz") && refused.stderr.contains("xz -d"),
        "{}",
        refused.stderr
    );
    std::fs::write(&large, b"no archive\n".repeat(1 << 20)).unwrap();
    let refused = image(world, &["load", large.to_str().unwrap()]);
    assert!(!refused.status.success() && refused.stderr.contains("archive"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("Broken pipe"), "{}", refused.stderr);
    let junk = work.join("junk.tar");
    std::fs::write(&junk, [0; 10_240]).unwrap();
    let refused = image(world, &["load", junk.to_str().unwrap()]);
    assert!(!refused.status.success() && refused.stderr.contains("is empty"), "{}", refused.stderr);
}

/// What is saved is read by skopeo in both of its forms, as a directory too, and loaded again.
fn save(world: &World, name: &str, id: &str) {
    let work = world.isolation.directory("saved").unwrap();
    let (archive, layout) = (work.join("saved.tar"), work.join("layout"));
    done(world, &["save", "--output", archive.to_str().unwrap(), name]);
    done(world, &["save", "--layout", "--output", layout.to_str().unwrap(), name]);
    assert!(layout.join("oci-layout").is_file() && !layout.join("manifest.json").exists());
    for from in [
        format!("oci-archive:{}", archive.display()),
        format!("docker-archive:{}", archive.display()),
        format!("oci:{}:1", layout.display()),
    ] {
        let mut skopeo = Command::new(e2e::tools::system("skopeo").unwrap());
        let to = format!("dir:{}", work.join(from.split(':').next().unwrap()).display());
        skopeo.args(["--insecure-policy", "copy", "-q", &from, &to]);
        command::run(&mut skopeo, Duration::from_secs(60)).unwrap();
        let manifest = work.join(from.split(':').next().unwrap()).join("manifest.json");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        assert!(manifest.contains(id), "{from}: {manifest}");
    }
    places(world, name, &archive);
    done(world, &["rm", name]);
    let loaded = done(world, &["load", archive.to_str().unwrap()]);
    assert!(loaded.contains(id) && loaded.contains(name), "{loaded}");
    assert_eq!(std::fs::read_dir(&work).unwrap().count(), 5, "no half archive stays");
    let absent = image(world, &["save", "--output", work.join("x").to_str().unwrap(), "absent:1"]);
    assert!(!absent.status.success() && absent.stderr.contains("absent:1"), "{}", absent.stderr);
}

/// What is named as the place stays what it is: a device and a pipe are written into, a link leads to its file, and the
/// file keeps its mode and owner.
fn places(world: &World, name: &str, archive: &Path) {
    let directory = world.isolation.directory("places").unwrap();
    let place = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let make = |arguments: &[&str]| {
        let mut command = Command::new(e2e::tools::system(arguments[0]).unwrap());
        command::run(command.args(&arguments[1..]), Duration::from_secs(10)).unwrap();
    };
    // A node of its own with the numbers of the null device.
    make(&["mknod", &place("node"), "c", "1", "3"]);
    make(&["mkfifo", &place("pipe")]);
    std::fs::write(place("file"), "old").unwrap();
    std::fs::set_permissions(place("file"), std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(place("file"), Some(7), Some(8)).unwrap();
    std::os::unix::fs::symlink("file", place("link")).unwrap();
    let reader = std::thread::spawn({
        let pipe = place("pipe");
        move || std::fs::read(pipe).unwrap()
    });
    for one in ["node", "pipe", "link"] {
        done(world, &["save", "--output", &place(one), name]);
    }
    let whole = std::fs::read(archive).unwrap();
    assert!(reader.join().unwrap() == whole, "through the pipe");
    assert!(std::fs::read(place("file")).unwrap() == whole, "at the end of the link");
    let kind = |name: &str| std::fs::symlink_metadata(place(name)).unwrap();
    assert!(kind("node").file_type().is_char_device() && kind("pipe").file_type().is_fifo());
    assert!(kind("link").is_symlink());
    assert_eq!((kind("file").mode() & 0o7777, kind("file").uid(), kind("file").gid()), (0o640, 7, 8));
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 4, "no part stays");
}

/// A damaged layer is named, by the exit code too, and comes back from the registry.
fn verify(world: &World, name: &str) {
    assert!(done(world, &["verify"]).contains("whole"));
    let last = |text: &str| serde_json::from_str::<serde_json::Value>(text.lines().last().unwrap()).unwrap();
    assert_eq!(last(&done(world, &["verify", "--json", name]))["done"]["whole"], 1);
    let inspected: serde_json::Value = serde_json::from_str(&done(world, &["inspect", name])).unwrap();
    let layer = inspected["layers"][0].as_str().unwrap();
    std::fs::write(std::path::Path::new(layer).join("hello"), "HELLO\n").unwrap();
    let found = image(world, &["verify", name]);
    assert_eq!(found.status.code(), Some(1), "{}", found.stdout);
    let told = last(&image(world, &["verify", "--json", name]).stdout);
    assert!(told["done"]["damaged"][0].as_str().unwrap().contains(name), "{told}");
    assert!(found.stderr.contains(name) && found.stdout.contains("damaged"), "{}", found.stdout);
    assert!(found.stdout.contains(layer.rsplit('/').next().unwrap()), "{}", found.stdout);
    let directory = world.isolation.directory("refused").unwrap();
    let archive = directory.join("damaged.tar");
    let refused = image(world, &["save", "--output", archive.to_str().unwrap(), name]);
    assert!(!refused.status.success() && refused.stderr.contains("is damaged"), "{}", refused.stderr);
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0, "nothing of it stays");
    assert!(done(world, &["verify", "--repair"]).contains("repaired"));
    assert!(done(world, &["verify", name]).contains("whole"));
}

/// What every command prints with --json: values, one a line.
fn json(world: &World, name: &str) {
    let archive = world.isolation.directory("json").unwrap().join("app.tar");
    let archive = archive.to_str().unwrap();
    let values = |arguments: &[&str]| -> Vec<serde_json::Value> {
        let printed = done(world, &[arguments, &["--json"]].concat());
        printed.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    };
    let ls = values(&["ls"]);
    assert!(ls.iter().any(|image| image["tags"][0] == name), "{ls:?}");
    let pulled = values(&["pull", name]);
    assert_eq!(pulled.last().unwrap()["done"], ls[0]["id"], "{pulled:?}");
    assert_eq!(values(&["ps"]).len(), 0);
    assert_eq!(values(&["inspect", name]).len(), 1);
    assert_eq!(values(&["df"]).len(), 1);
    assert_eq!(values(&["explain", name]).len(), 1);
    assert_eq!(values(&["save", name, "-o", archive])[0]["images"][0], name);
    assert_eq!(values(&["load", archive])[0]["images"][0]["names"][0], name);
    assert!(values(&["verify"]).last().unwrap()["done"]["whole"].is_u64());
    assert_eq!(values(&["prune"]).len(), 1);
    assert_eq!(values(&["rm", name])[0]["found"], true);
    done(world, &["pull", name]);
}

#[test]
fn images_are_looked_after_from_the_command_line() {
    let Some((world, _)) = world() else { return };
    if world.daemon.kind() != Kind::Corten {
        return;
    }
    let name = "registry.test/team/app:1";
    hosts(&world, "registry.test", &format!("server = \"http://{}\"\n", world.registry.address()));
    let docker = world.isolation.directory(".docker").unwrap().join("config.json");
    // "user:secret" in base64.
    std::fs::write(&docker, r#"{"auths":{"registry.test":{"auth":"dXNlcjpzZWNyZXQ="}}}"#).unwrap();

    let explained = done(&world, &["explain", name]);
    let address = world.registry.address().to_string();
    for part in
        [name, &address, "registry.test/hosts.toml", "/.docker/config.json", "linux/", "here          no"]
    {
        assert!(explained.contains(part), "{part} in {explained}");
    }
    assert!(!explained.contains("secret"), "{explained}");

    let id = done(&world, &["pull", name]);
    assert!(id.starts_with("sha256:"), "{id}");
    let id = id.trim();
    let list = done(&world, &["ls"]);
    assert!(list.contains(name) && list.contains(&id[7..19]), "{list}");
    assert!(done(&world, &["explain", name]).contains(id));
    let inspected: serde_json::Value = serde_json::from_str(&done(&world, &["inspect", name])).unwrap();
    assert_eq!((inspected["id"].as_str(), inspected["tags"][0].as_str()), (Some(id), Some(name)));
    let usage: serde_json::Value = serde_json::from_str(&done(&world, &["df", "--json"])).unwrap();
    json(&world, name);
    assert!(usage["layers"].as_u64() > Some(0) && usage["images"][0]["containers"] == 0, "{usage}");
    assert!(done(&world, &["ps"]).starts_with("IMAGE"));

    let missing = image(&world, &["pull", "registry.test/team/nothing:1"]);
    assert!(!missing.status.success() && missing.stderr.contains("404"), "{}", missing.stderr);
    for (wrong, told) in [
        ("https://registry.test/team/app:1", "write \"registry.test/team/app:1\""),
        ("REGISTRY/app:1", "\"REGISTRY\" is taken for the host of a registry"),
    ] {
        let refused = image(&world, &["pull", wrong]).stderr;
        assert!(refused.contains(told) && !refused.contains("RegistryUnavailable"), "{refused}");
    }
    let malformed = image(&world, &["explain", "Not/Good"]);
    assert!(!malformed.status.success() && malformed.stderr.contains("lower case"), "{}", malformed.stderr);

    load(&world);
    verify(&world, name);
    save(&world, name, &id[7..]);

    // A tagged image stays without --all.
    done(&world, &["prune"]);
    assert!(done(&world, &["ls"]).contains(name));
    assert!(done(&world, &["prune", "--all"]).contains(id));
    assert!(!done(&world, &["ls"]).contains(name));
    done(&world, &["pull", name]);
    // All its names go with one, and are told.
    let archive = world.isolation.directory("again").unwrap().join("app.tar");
    done(&world, &["save", "--output", archive.to_str().unwrap(), name]);
    done(&world, &["load", archive.to_str().unwrap(), "--name", "registry.test/team/again:1"]);
    let removed = done(&world, &["rm", name]);
    assert_eq!(
        removed.lines().collect::<BTreeSet<_>>(),
        BTreeSet::from([name, "registry.test/team/again:1"])
    );
    assert!(!image(&world, &["rm", name]).status.success());
}

/// A daemon that is not there, that belongs to root, or that does not answer, is told of in time and in words.
#[test]
fn a_daemon_that_does_not_answer_is_not_waited_for() {
    let Some(mut world) = World::new().unwrap() else { return };
    if world.daemon.kind() != Kind::Corten {
        return;
    }
    let directory = world.isolation.directory("sockets").unwrap();
    let told = |world: &World, socket: &Path| {
        let begin = std::time::Instant::now();
        let finished = image(world, &["ls", "--admin", socket.to_str().unwrap()]);
        assert!(
            !finished.status.success() && begin.elapsed() < Duration::from_secs(40),
            "{}",
            finished.stderr
        );
        finished.stderr
    };
    let absent = told(&world, &directory.join("absent.sock"));
    assert!(absent.contains("systemctl status corten") && absent.contains("--admin"), "{absent}");
    // It listens, and nobody takes what comes.
    let silent = directory.join("silent.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&silent).unwrap();
    let stopped = told(&world, &silent);
    assert!(stopped.contains("does not answer within 10 s"), "{stopped}");
    world.daemon.kill().unwrap();
    let down = image(&world, &["ls"]);
    assert!(down.stderr.contains("is it running?"), "{}", down.stderr);
    world.daemon.restart().unwrap();
}
