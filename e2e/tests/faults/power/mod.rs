//! The loss of power, at once after a pull's answer, and in the middle of pulls.

mod disk;

use crate::{SOON, running, unlimited, world_with};
use disk::Disk;
use e2e::client::Cri;
use e2e::image::{self, Entry, Image, Layer};
use e2e::network::Network;
use e2e::pods::shell;
use e2e::proto::{ContainerState, ImageSpec, PodSandboxState, RemoveImageRequest};
use e2e::world::{World, wait_exited};
use e2e::{boot, wait};
use nix::mount::{MsFlags, mount};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const BLOCK: usize = 4096;
const OLD: &str = "registry.test/old:1";
/// How often the power goes; more of it with `POWER_CUTS=100`.
const CUTS: u64 = 4;

/// Numbers that look like chance and are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        // xorshift
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length / 8).flat_map(|_| self.roll().to_le_bytes()).collect()
    }
}

/// Busybox with a large file and many small ones, in a layer each, and the sums of all; and how the large one begins.
fn push(world: &World, name: &str, dice: &mut Dice) -> [u8; BLOCK] {
    let large = dice.bytes(3 << 20);
    let begin = large[..BLOCK].try_into().unwrap();
    let mut sums = format!("{}  /large\n", &image::digest(&large)["sha256:".len()..]);
    let mut small = Layer::default();
    for number in 0..200 {
        let bytes = dice.bytes(1 << 10);
        sums.push_str(&format!("{}  /small/{number}\n", &image::digest(&bytes)["sha256:".len()..]));
        small = small.with(&format!("small/{number}"), 0o644, Entry::File(bytes));
    }
    let mut whole = image::busybox().unwrap();
    whole.layers.push(Layer::default().with("large", 0o644, Entry::File(large)).plain());
    whole.layers.push(small.with("sums", 0o644, Entry::File(sums.into())));
    world.registry.push(name, "1", &Image { layers: whole.layers, ..image::busybox().unwrap() }).unwrap();
    begin
}

/// The node, with everything durable on one disk.
struct Node {
    world: World,
    disk: Option<Disk>,
    boots: u64,
}

impl Node {
    fn new() -> Option<Self> {
        // From 1.1.0 on a network is told which attachments there are; before, what was leased in the last moment and
        // is on no record stays leased.
        let mut world = world_with(|mut options| {
            if let Network::List(list) = &mut options.network {
                list["cniVersion"] = "1.1.0".into();
            }
            options
        })?;
        world.daemon.kill().unwrap();
        let root = world.isolation.root();
        let disk = Disk::new(&root.join("fuse"), &root.join("disk"));
        let mut node = Self { world, disk: Some(disk), boots: 0 };
        node.boot();
        Some(node)
    }

    /// What has to outlive the power: images and records, logs, the leases of addresses.
    fn durable(&self) -> [PathBuf; 3] {
        let network = self.world.isolation.root().join("networks");
        [self.world.daemon.place().data.clone(), self.world.logs.clone(), network]
    }

    fn disk(&self) -> &Disk {
        self.disk.as_ref().unwrap()
    }

    /// With an identification of its own, as each boot of a machine has one.
    fn boot(&mut self) {
        self.boots += 1;
        boot::comes_up(&self.world.isolation, self.boots).unwrap();
        for (number, directory) in self.durable().iter().enumerate() {
            let kept = self.world.isolation.root().join(format!("disk/{number}"));
            fs::create_dir_all(&kept).unwrap();
            fs::create_dir_all(directory).unwrap();
            bind(&kept, directory);
        }
        self.world.daemon.restart().unwrap();
    }

    /// The power goes, and comes back.
    fn lose_power(&mut self, dice: &mut Dice) {
        self.disk().cut(|| dice.roll().is_multiple_of(2));
        let (registry, mounts) = (self.world.registry.pid(), self.durable());
        boot::goes_down(&mut self.world.daemon, &self.world.isolation, &[registry], &mounts).unwrap();
        self.disk = self.disk.take().map(Disk::back);
        self.boot();
    }
}

fn bind(from: &Path, to: &Path) {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
}

/// How many pods had logs here.
fn pods_made(node: &Node) -> usize {
    fs::read_dir(&node.world.logs).unwrap().count()
}

async fn listed(cri: &Cri, image: &str) -> bool {
    let request = e2e::proto::ListImagesRequest::default();
    let images = cri.images.clone().list_images(request).await.unwrap().into_inner().images;
    images.iter().any(|found| found.repo_tags.iter().any(|tag| tag == image))
}

/// Every file of an image is what it was pushed as.
async fn is_whole(node: &Node, cri: &Cri, image: &str) {
    // A removal of the last moment may be lost with the power: the name is another one each time.
    let config = node.world.pod(&format!("check-{}", pods_made(node))).unwrap();
    let pod = cri.run_pod(&config).await.unwrap();
    let check = shell("check", image, "sha256sum -c -s /sums");
    let id = cri.create(&pod, &check, &config).await.unwrap();
    cri.start(&id).await.unwrap();
    let ended = wait_exited(cri, &id, SOON).await.unwrap();
    assert_eq!(ended.exit_code, 0, "{image}: a file is not what it was");
    cri.end_pod(&pod).await.unwrap();
}

/// F7. The disk loses what was not flushed: whole images are shown or none, the next pull mends, and what was there before is
/// listed as ended.
#[test]
fn f7_a_loss_of_power_shows_no_image_that_is_not_whole_and_forgets_no_pod() {
    if !["/dev/fuse", "/dev/loop-control"].iter().all(|device| Path::new(device).exists()) {
        return need::skip(need::Need::Kernel, "a disk of the test's own needs FUSE and loop devices");
    }
    let Some(mut node) = Node::new() else { return };
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let begin = push(&node.world, "old", &mut dice);
    let config = node.world.pod("old").unwrap();
    let (old, container) = node.world.tokio.block_on(async {
        let cri = node.world.daemon.client().await.unwrap();
        cri.pull(OLD, None).await.unwrap();
        running(&cri, &config, &unlimited("main", "while :; do echo a line; usleep 5000; done")).await
    });
    // Long ago: all of it is on the disk.
    wait::until("the image on the disk", SOON, || node.disk().keeps(&begin)).unwrap();
    wait::until("a calm disk", SOON, || node.disk().is_calm()).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    wait::until("a calm disk", SOON, || node.disk().is_calm()).unwrap();

    let cuts = std::env::var("POWER_CUTS").map_or(CUTS, |text| text.parse().unwrap());
    let mut pulled = Duration::from_millis(300);
    for cut in 0..cuts {
        let name = format!("new-{cut}");
        push(&node.world, &name, &mut dice);
        let image = format!("registry.test/{name}:1");
        let answered = cut.is_multiple_of(2);
        node.world.tokio.block_on(async {
            let cri = node.world.daemon.client().await.unwrap();
            let after = pulled.mul_f64((dice.roll() % 100) as f64 / 100.0);
            let start = std::time::Instant::now();
            if answered {
                cri.pull(&image, None).await.unwrap();
                pulled = start.elapsed();
            } else {
                // The client goes with the machine.
                let _ = tokio::time::timeout(after, cri.pull(&image, None)).await;
            }
        });
        node.lose_power(&mut dice);
        node.world.tokio.block_on(async {
            let cri = node.world.daemon.client().await.unwrap();
            assert!(listed(&cri, OLD).await, "cut {cut}: an image that was on the disk is gone");
            is_whole(&node, &cri, OLD).await;
            if listed(&cri, &image).await {
                is_whole(&node, &cri, &image).await;
            }
            cri.pull(&image, None).await.unwrap();
            is_whole(&node, &cri, &image).await;
            let status = cri.pod_status(&old).await.unwrap();
            assert_eq!(status.state(), PodSandboxState::SandboxNotready, "cut {cut}");
            let status = cri.container_status(&container).await.unwrap();
            assert_eq!(status.state(), ContainerState::ContainerExited, "cut {cut}");
        });
    }
    // The last block of a file may be older than its length.
    let log = fs::read(node.world.log("old", "main")).unwrap();
    let sure = &log[..log.len().saturating_sub(BLOCK)];
    let whole = |line: &[u8]| !line.ends_with(b"\n") || line.ends_with(b" a line\n");
    assert!(sure.split_inclusive(|byte| *byte == b'\n').all(whole), "a torn log");
    nothing_is_left(&node);
}

/// What was there can be removed, and takes no room then.
fn nothing_is_left(node: &Node) {
    node.world.tokio.block_on(async {
        let cri = node.world.daemon.client().await.unwrap();
        for pod in cri.pods().await.unwrap() {
            cri.end_pod(&pod.id).await.unwrap();
        }
        let request = e2e::proto::ListImagesRequest::default();
        for image in cri.images.clone().list_images(request).await.unwrap().into_inner().images {
            let image = Some(ImageSpec { image: image.id, ..ImageSpec::default() });
            cri.images.clone().remove_image(RemoveImageRequest { image }).await.unwrap();
        }
        assert!(cri.containers().await.unwrap().is_empty());
    });
    let [data, _, networks] = node.durable();
    let images = data.join("images");
    let left = || {
        let names = ["blobs/sha256", "layers/sha256", "unfinished", "ingest"];
        names.iter().map(|name| fs::read_dir(images.join(name)).unwrap().count()).sum::<usize>()
    };
    wait::until("files of images to go", SOON, || left() == 0).unwrap();
    let leases = fs::read_dir(networks.join("test")).unwrap();
    let addresses = leases.filter(|lease| {
        let name = lease.as_ref().unwrap().file_name();
        name.to_string_lossy().parse::<std::net::IpAddr>().is_ok()
    });
    assert_eq!(addresses.count(), 0, "an address is leased to nobody");
}
