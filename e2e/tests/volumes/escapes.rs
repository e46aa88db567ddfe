//! Links of images that point out of the root filesystem: what is mounted or made through them stays inside.

use crate::{Pod, bind, directory, host_mounts, mounted};
use e2e::image::{Entry, Image, Layer};
use e2e::pods::shell;
use e2e::proto::{ContainerConfig, Device, ImageSpec, LinuxContainerSecurityContext, Mount};
use e2e::world::World;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// A directory of the host that nothing may touch.
pub(crate) struct Canary {
    path: PathBuf,
    before: Vec<(PathBuf, i64, i64, u64, Vec<u8>)>,
}

impl Canary {
    pub(crate) fn new(world: &World) -> Self {
        let path = world.isolation.directory("canary").unwrap();
        for directory in ["inner", "in"] {
            fs::create_dir(path.join(directory)).unwrap();
        }
        fs::write(path.join("hosts"), "canary\n").unwrap();
        fs::write(path.join("passwd"), "outsider:x:4711:4711::/:/bin/sh\n").unwrap();
        let before = Self::look(&path);
        Self { path, before }
    }

    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    fn look(path: &Path) -> Vec<(PathBuf, i64, i64, u64, Vec<u8>)> {
        let mut found = Vec::new();
        let mut todo = vec![path.to_path_buf()];
        while let Some(path) = todo.pop() {
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            if meta.is_dir() {
                todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            found.push((path, meta.ctime(), meta.ctime_nsec(), meta.ino(), content));
        }
        found.sort();
        found
    }

    /// Nothing was made, written or mounted there, in any mount namespace that leads to it.
    pub(crate) fn check(&self, world: &World) {
        assert_eq!(Self::look(&self.path), self.before);
        let table = host_mounts(world);
        assert!(!table.contains(self.path()), "{table}");
    }
}

/// Links to a path of the host, in every way of writing one.
const WAYS: [&str; 6] = ["absolute", "relative", "chain", "proc", "self", "fd"];

fn links(outside: &str) -> Image {
    let mut image = e2e::image::busybox().unwrap();
    let link = |target: String| Entry::Symlink(target);
    image.layers.push(
        Layer::default()
            .with("absolute", 0o777, link(outside.to_owned()))
            .with("relative", 0o777, link(format!("../../../../../..{outside}")))
            .with("chain", 0o777, link("usr/../relative".to_owned()))
            .with("proc", 0o777, Entry::Directory)
            .with("via-proc", 0o777, link(format!("/proc/1/root{outside}")))
            .with("via-self", 0o777, link(format!("/proc/self/root{outside}")))
            .with("via-fd", 0o777, link(format!("/proc/self/fd/7{outside}"))),
    );
    image
}

fn place(way: &str) -> String {
    if matches!(way, "proc" | "self" | "fd") { format!("/via-{way}") } else { format!("/{way}") }
}

fn of(config: ContainerConfig, image: &str) -> ContainerConfig {
    ContainerConfig { image: Some(ImageSpec { image: image.into(), ..ImageSpec::default() }), ..config }
}

#[test]
fn mounts_through_links_stay_in_the_root() {
    let Some(world) = World::new().unwrap() else { return };
    let canary = Canary::new(&world);
    world.registry.push("links", "1", &links(canary.path())).unwrap();
    let image = "registry.test/links:1";
    let volume = directory(&world, "volume");
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "links").await;
        pod.cri.pull(image, None).await.unwrap();
        for way in WAYS {
            for (kind, host, behind) in [
                ("over", &volume, ""),
                ("below", &volume, "/inner"),
                ("file", &volume.join("name"), "/hosts"),
            ] {
                let target = format!("{}{behind}", place(way));
                let name = format!("{way}-{kind}");
                let script =
                    format!("cat {target}/name {target} 2>/dev/null; echo x >{target}/made; echo end");
                let config = of(mounted(&name, vec![bind(host, &target)], &script), image);
                match pod.create(&config).await {
                    Ok(id) => {
                        pod.cri.start(&id).await.unwrap();
                        assert_eq!(pod.ended(&id, &config).await[0], "volume", "{name}");
                    }
                    Err(error) => {
                        // What leads through a process is no path of the root at all.
                        assert!(place(way).starts_with("/via-"), "{name}: {error}");
                        assert!(error.to_string().contains(&target), "{error}");
                    }
                }
                canary.check(&world);
            }
        }
        pod.end().await;
    });
}

#[test]
fn nothing_else_of_a_container_leaves_through_links() {
    let Some(world) = World::new().unwrap() else { return };
    let canary = Canary::new(&world);
    world.registry.push("links", "1", &links(canary.path())).unwrap();
    let mut files = links(canary.path());
    let outside = |file: &str| Entry::Symlink(format!("../../../..{}/{file}", canary.path()));
    files.layers.push(
        Layer::default()
            .with("etc/passwd", 0o777, outside("passwd"))
            .with("etc/hosts", 0o777, outside("hosts"))
            .with("etc/resolv.conf", 0o777, outside("in/resolv.conf")),
    );
    world.registry.push("links", "files", &files).unwrap();
    let (image, files) = ("registry.test/links:1", "registry.test/links:files");
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "others").await;
        pod.cri.pull(image, None).await.unwrap();
        pod.cri.pull(files, None).await.unwrap();
        let mut lived = 0;
        for way in WAYS {
            let target = place(way);
            let secured = |name: &str, change: &dyn Fn(&mut LinuxContainerSecurityContext)| {
                let mut config = of(shell(&format!("{way}-{name}"), "", "echo end"), image);
                change(config.linux.as_mut().unwrap().security_context.as_mut().unwrap());
                config
            };
            let device = Device {
                host_path: "/dev/zero".into(),
                container_path: format!("{target}/zero"),
                permissions: "r".into(),
            };
            let configs = [
                ContainerConfig { working_dir: format!("{target}/made"), ..secured("work", &|_| {}) },
                ContainerConfig { devices: vec![device], ..secured("device", &|_| {}) },
                secured("masked", &|security| {
                    security.masked_paths = vec![format!("{target}/inner"), format!("{target}/hosts")];
                    security.readonly_paths = vec![target.clone()];
                }),
            ];
            for config in configs {
                if let Ok(id) = pod.create(&config).await {
                    pod.cri.start(&id).await.unwrap();
                    assert_eq!(pod.ended(&id, &config).await, ["end"]);
                    lived += 1;
                }
                canary.check(&world);
            }
        }
        assert!(lived >= 9, "links inside of the root are no fault: {lived}");
        // The users are those of the image, and its files the pod's.
        let mut outsider = of(shell("outsider", "", "id -u"), files);
        outsider.linux.as_mut().unwrap().security_context.as_mut().unwrap().run_as_username =
            "outsider".into();
        let refused = pod.create(&outsider).await.unwrap_err().to_string();
        assert!(refused.contains("outsider"), "{refused}");
        let config = of(shell("files", "", "cat /etc/hosts; echo x >>/etc/hosts; echo end"), files);
        let said = pod.output(&config).await;
        assert!(!said.iter().any(|line| line == "canary") && said.last().unwrap() == "end", "{said:?}");
        canary.check(&world);
        pod.end().await;
    });
    canary.check(&world);
}

/// Images whose own `/dev`, `/proc` or `/sys` is something else.
#[test]
fn devices_and_filesystems_of_the_kernel_are_what_they_seem() {
    let Some(world) = World::new().unwrap() else { return };
    let canary = Canary::new(&world);
    let relative = format!("../../../..{}/in", canary.path());
    let inner = format!("{}/in", canary.path());
    let tricks: [(&str, &str, &str); 9] = [
        ("dev-absolute", "dev", &inner),
        ("dev-relative", "dev", &relative),
        ("dev-proc", "dev", "/proc/1/root/dev"),
        ("dev-self", "dev", "/proc/self"),
        ("null", "dev/null", &relative),
        ("console", "dev/console", "/proc/sysrq-trigger"),
        ("pts", "dev/pts", "/proc/1"),
        ("proc", "proc", "/tmp"),
        ("sys", "sys", &inner),
    ];
    for (tag, path, target) in tricks {
        let mut image = e2e::image::busybox().unwrap();
        image.layers.push(Layer::default().with(path, 0o777, Entry::Symlink(target.into())));
        world.registry.push("tricks", tag, &image).unwrap();
    }
    let mut kernel = e2e::image::busybox().unwrap();
    let link = |target: &str| Entry::Symlink(target.into());
    let layer = Layer::default().with("kernel", 0o777, link("/proc/sys/kernel"));
    kernel.layers.push(layer.with("status", 0o777, link("/proc/self/status")));
    world.registry.push("tricks", "kernel", &kernel).unwrap();
    let file = directory(&world, "volume").join("name");
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "tricks").await;
        let mut lived = Vec::new();
        for (tag, _, _) in tricks {
            for tty in [false, true] {
                let image = format!("registry.test/tricks:{tag}");
                pod.cri.pull(&image, None).await.unwrap();
                let script = "stat -L -c '%t:%T' /dev/null /dev/zero; stat -f -c %T /proc /sys; echo x >/dev/null; echo end";
                let config = ContainerConfig { tty, ..shell(&format!("{tag}-{tty}"), &image, script) };
                if let Ok(id) = pod.create(&config).await {
                    pod.cri.start(&id).await.unwrap();
                    let said = pod.ended(&id, &config).await;
                    let said: Vec<_> = said.iter().map(|line| line.trim_end()).collect();
                    assert_eq!(said, ["1:3", "1:5", "proc", "sysfs", "end"], "{tag}");
                    lived.push((tag, tty));
                }
                canary.check(&world);
            }
        }
        let tricked = lived.iter().filter(|(tag, _)| matches!(*tag, "dev-proc" | "dev-self" | "proc" | "sys"));
        assert_eq!(tricked.count(), 0, "{lived:?}");
        // Below the tmpfs of /dev nothing of the image is seen.
        for tag in ["null", "console", "pts"] {
            assert!(lived.contains(&(tag, false)) && lived.contains(&(tag, true)), "{tag}: {lived:?}");
        }
        // What the request may not cover, links may not either.
        let image = "registry.test/tricks:kernel";
        pod.cri.pull(image, None).await.unwrap();
        let volume = directory(&world, "volume");
        for place in ["/kernel", "/kernel/new", "/status"] {
            let mount = bind(if place == "/status" { &file } else { &volume }, place);
            let config = of(mounted(&format!("kernel{}", place.replace('/', "-")), vec![mount], "true"), image);
            let refused = pod.create(&config).await.unwrap_err().to_string();
            assert!(refused.contains(place), "{refused}");
        }
        pod.end().await;
    });
}

#[test]
fn a_volume_at_dev_cannot_pass_for_devices() {
    let Some(world) = World::new().unwrap() else { return };
    let canary = Canary::new(&world);
    let volume = directory(&world, "volume");
    symlink(format!("{}/hosts", canary.path()), volume.join("null")).unwrap();
    symlink(format!("{}/in/console", canary.path()), volume.join("console")).unwrap();
    symlink(format!("{}/in", canary.path()), volume.join("pts")).unwrap();
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "own-dev").await;
        for tty in [false, true] {
            let mount: Mount = bind(&volume, "/dev");
            let config = ContainerConfig {
                tty,
                ..mounted(&format!("main-{tty}"), vec![mount], "echo x >/dev/null; echo end")
            };
            if let Ok(id) = pod.create(&config).await {
                // The program's own writes go where the links lead in its root.
                if pod.cri.start(&id).await.is_ok() {
                    let said = pod.ended(&id, &config).await;
                    assert_eq!(said.last().map(|line| line.trim_end()), Some("end"), "{said:?}");
                }
            }
            canary.check(&world);
        }
        pod.end().await;
    });
    canary.check(&world);
}
