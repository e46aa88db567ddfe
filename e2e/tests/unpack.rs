//! What is unpacked, beside GNU tar and umoci, for images in every form that skopeo writes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::command;
use e2e::runtime::Kind;
use e2e::tools;
use e2e::world::World;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

/// What makes trees differ: types, modes, owners, times, links, attributes.
const TREE: &str = r#"set -e
umask 022
mkdir -p tree/etc tree/dir/deep tree/sticky tree/empty
printf 'one\n' > tree/etc/one; printf '' > tree/etc/nothing
head -c 300000 /dev/urandom > tree/dir/large
chmod 4755 tree/etc/one; chmod 2750 tree/dir; chmod 1777 tree/sticky; chmod 000 tree/etc/nothing
ln -s ../etc/one tree/dir/relative; ln -s /etc/absolute tree/dir/dangling
ln tree/dir/large tree/dir/deep/again; ln tree/etc/one tree/linked
mkfifo tree/fifo; mknod tree/null c 1 3
chown 1000:1001 tree/dir/large; chown 4000000:5 tree/empty; chown -h 12:34 tree/dir/dangling
long=$(printf 'n%.0s' $(seq 150)); mkdir tree/$long; printf 'x' > tree/$long/$long
printf 'u' > "tree/dir/ümlaut
and a line"
setfattr -n user.note -v 'a value' tree/dir/large || true
setcap cap_net_raw+ep tree/dir/deep/again || true
touch -h -d '2001-02-03 04:05:06.123456789 UTC' tree/etc/one tree/dir/dangling
touch -d '1969-12-31 23:59:58 UTC' tree/dir/large
touch -d '2012-12-12 12:12:12 UTC' tree/dir tree/sticky tree
tar --format=posix --numeric-owner --xattrs --xattrs-include='*' --sort=name -C tree -cf layer.tar .
"#;

/// A line for each entry, whatever order the directory has them in.
const LISTING: &str = r#"set -e
find . \( -type d -printf '%P\0 d %m %U %G %T@\n' \) -o -printf '%P\0 %y %m %U %G %T@ %s %n %l\n' | tr '\0' '|' | sort
find . -type f -print0 | sort -z | xargs -0 sha256sum
find . -type c -print0 | sort -z | xargs -0 -r stat -c '%n %t %T'
find . -print0 | sort -z | xargs -0 getfattr -h -d -m '^(user|security)' -e hex 2>/dev/null
"#;

fn shell(directory: &Path, script: &str) -> String {
    let mut bash = Command::new(tools::system("bash").unwrap());
    command::run(bash.arg("-c").arg(script).current_dir(directory), DEADLINE).unwrap()
}

fn skopeo(arguments: &[&str]) {
    let mut skopeo = Command::new(tools::system("skopeo").unwrap());
    skopeo.args(["--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"]);
    command::run(skopeo.args(arguments), DEADLINE).unwrap();
}

fn image_command(world: &World, arguments: &[&str]) -> String {
    let (program, config) = world.daemon.invocation();
    let mut corten = Command::new(program);
    command::run(corten.arg("image").args(arguments).arg("--config").arg(config), DEADLINE).unwrap()
}

/// The one layer's directory of an image in the daemon's store.
fn unpacked(world: &World, image: &str) -> PathBuf {
    let text = image_command(world, &["inspect", image]);
    let view: Value = serde_json::from_str(&text).unwrap();
    let layers = view["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1, "{view}");
    PathBuf::from(layers[0].as_str().unwrap())
}

#[test]
fn unpacked_trees_equal_those_of_gnu_tar_and_umoci() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() != Kind::Corten {
        return;
    }
    let work = world.isolation.directory("work").unwrap();
    shell(&work, TREE);
    let tar = fs::read(work.join("layer.tar")).unwrap();
    let by_tar = world.isolation.directory("by-tar").unwrap();
    shell(&by_tar, "tar --numeric-owner --same-owner -p --xattrs --xattrs-include='*' -xf ../work/layer.tar");
    let expected = shell(&by_tar, LISTING);
    assert!(expected.contains("4755") && expected.contains("4000000"), "{expected}");

    source(&world, &tar);
    let registry = world.registry.address();
    let from = format!("docker://{registry}/source:1");
    let oci = world.isolation.directory("oci").unwrap();
    for (name, options) in [
        ("gzip", &["--format", "oci", "--dest-compress", "--dest-compress-format", "gzip"][..]),
        ("zstd", &["--format", "oci", "--dest-compress", "--dest-compress-format", "zstd"]),
        ("chunked", &["--format", "oci", "--dest-compress", "--dest-compress-format", "zstd:chunked"]),
        ("docker", &["--format", "v2s2"]),
    ] {
        let to = format!("docker://{registry}/{name}:1");
        skopeo(&[options, &[from.as_str(), to.as_str()]].concat());
        check(&world, name, &expected);
    }
    for name in ["gzip", "source"] {
        // umoci takes the modes and times of directories that are not its user's too, as it runs as root.
        let place = format!("oci:{}:{name}", oci.display());
        skopeo(&[&format!("docker://{registry}/{name}:1"), &place]);
        let bundle = world.isolation.root().join(format!("umoci-{name}"));
        let mut umoci = Command::new(tools::system("umoci").unwrap());
        umoci.args(["unpack", "--image", &format!("{}:{name}", oci.display())]).arg(&bundle);
        command::run(&mut umoci, DEADLINE).unwrap();
        assert_eq!(shell(&bundle.join("rootfs"), LISTING), expected, "umoci, {name}");
    }
    check(&world, "source", &expected);
}

/// GNU tar writes holes in four forms and reads each; so does the daemon.
#[test]
fn files_with_holes_equal_those_of_gnu_tar() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() != Kind::Corten {
        return;
    }
    let work = world.isolation.directory("holes").unwrap();
    shell(
        &work,
        "mkdir tree; cd tree; truncate -s 3M empty; printf x | dd of=end bs=1 seek=2M 2>/dev/null
        for at in $(seq 0 40); do printf \"part $at\" | dd of=many bs=1 seek=$((at * 65536)) conv=notrunc 2>/dev/null; done
        touch -d '2012-12-12 12:12:12 UTC' empty end many .",
    );
    let expected = shell(&work.join("tree"), LISTING);
    for (name, options) in [
        ("old", "--format=gnu"),
        ("pax-0.0", "--format=posix --sparse-version=0.0"),
        ("pax-0.1", "--format=posix --sparse-version=0.1"),
        ("pax-1.0", "--format=posix --sparse-version=1.0"),
    ] {
        shell(&work, &format!("tar {options} --sparse --numeric-owner --sort=name -C tree -cf {name}.tar ."));
        let tar = fs::read(work.join(format!("{name}.tar"))).unwrap();
        assert!(tar.len() < 1 << 20, "{name} has {} bytes", tar.len());
        source(&world, &tar);
        check(&world, "source", &expected);
    }
}

/// Pulls the image by the daemon and compares.
fn check(world: &World, name: &str, expected: &str) {
    let image = format!("registry.test/{name}:1");
    world.tokio.block_on(async { world.daemon.client().await.unwrap().pull(&image, None).await.unwrap() });
    let actual = shell(&unpacked(world, &image), LISTING);
    assert_eq!(actual, expected, "{name}");
    // Otherwise the next form's layer would be there already: it has the same diff id.
    assert!(image_command(world, &["prune", "--all"]).contains("sha256:"));
}

/// Pushes the archive uncompressed, as `source:1`.
fn source(world: &World, tar: &[u8]) {
    let config = serde_json::json!({
        "architecture": e2e::image::architecture(), "os": "linux", "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [e2e::image::digest(tar)]},
    });
    let config = config.to_string().into_bytes();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": kind,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                   "digest": e2e::image::digest(&config), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": e2e::image::digest(tar), "size": tar.len()}],
    });
    for bytes in [tar, &config] {
        world.registry.push_blob("source", &e2e::image::digest(bytes), bytes).unwrap();
    }
    world.registry.push_manifest("source", "1", kind, manifest.to_string().as_bytes()).unwrap();
}
