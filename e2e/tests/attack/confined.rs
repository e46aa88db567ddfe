//! Threads that read what strangers send, seen from the node while they work.

use e2e::image::{Entry, Image, Layer};
use e2e::runtime::Kind;
use e2e::wait;
use e2e::world::World;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// So much of a registry's answers comes through before the rest has to wait.
const FIRST: usize = 1 << 20;
/// Capabilities for making files of any owner and kind, and the attributes of an overlay.
const OF_FILES: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 21 | 1 << 27 | 1 << 31;

/// What the kernel says of each thread of a process whose name begins with `layer-`.
fn threads(pid: i32) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        // A thread may end meanwhile.
        let Ok(status) = fs::read_to_string(task.path().join("status")) else { continue };
        let lines: BTreeMap<_, _> = status
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        if lines.get("Name").is_some_and(|name| name.starts_with("layer-")) {
            found.insert(lines["Name"].clone(), lines);
        }
    }
    found
}

fn capabilities(status: &BTreeMap<String, String>) -> u64 {
    ["CapEff", "CapPrm", "CapInh", "CapAmb"]
        .iter()
        .fold(0, |all, set| all | u64::from_str_radix(&status[*set], 16).unwrap())
}

#[test]
fn threads_that_unpack_a_layer_can_do_nothing_else() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() != Kind::Corten {
        return;
    }
    let mut content = vec![0; 4 << 20];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut content).unwrap();
    let layer = Layer::default().with("content", 0o644, Entry::File(content));
    let image = Image { layers: vec![layer], ..Image::default() };
    world.registry.push("confined", "1", &image).unwrap();
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let address = e2e::pipe::to(world.registry.address(), move |_, passed| {
        while passed > FIRST && !gate.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
    })
    .unwrap();
    let directory = world.daemon.place().certs.join("gate.test");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("hosts.toml"), format!("server = \"http://{address}\"\n")).unwrap();

    std::thread::scope(|scope| {
        let pull = scope.spawn(|| {
            world.tokio.block_on(async {
                let cri = world.daemon.client().await.unwrap();
                cri.pull("gate.test/confined:1", None).await
            })
        });
        let mut at_work = BTreeMap::new();
        wait::until("three confined threads", Duration::from_secs(20), || {
            at_work = threads(world.daemon.pid());
            let names = ["layer-extract", "layer-inflate", "layer-intake"];
            names.iter().all(|name| at_work.get(*name).is_some_and(|status| status["Seccomp"] == "2"))
        })
        .unwrap();
        for (name, status) in &at_work {
            assert_eq!(status["NoNewPrivs"], "1", "{name}");
            let allowed = if name == "layer-extract" { OF_FILES } else { 0 };
            assert_eq!(capabilities(status) & !allowed, 0, "{name}: {status:?}");
        }
        open.store(true, Ordering::SeqCst);
        pull.join().unwrap().unwrap();
    });
    // Nobody else was bound with them.
    let main = fs::read_to_string(format!("/proc/{}/status", world.daemon.pid())).unwrap();
    assert!(main.contains("NoNewPrivs:\t0") && main.contains("Seccomp:\t0"), "{main}");
}
