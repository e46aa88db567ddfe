//! Filesystems of the host that stop answering, below volumes.

use e2e::client::Cri;
use e2e::pods::shell;
use e2e::proto::{ContainerConfig, Mount};
use e2e::world::{BUSYBOX, World, wait_exited};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A FUSE filesystem whose server answers so often and then never again. Whoever waits for it is freed when it is
/// dropped.
struct Hung {
    dir: PathBuf,
    end: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Hung {
    /// `None`: nothing is read from the kernel at all.
    fn mount(dir: &Path, answers: Option<u32>) -> Self {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        std::fs::create_dir_all(dir).unwrap();
        mount(Some("hung"), dir, Some("fuse"), MsFlags::empty(), Some(options.as_str())).unwrap();
        let end = Arc::new(AtomicBool::new(false));
        let told = end.clone();
        let server = std::thread::spawn(move || match answers {
            Some(answers) => serve(device, answers, &told),
            None => {
                while !told.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        });
        Self { dir: dir.to_owned(), end, server: Some(server) }
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(server) = self.server.take() {
            server.join().unwrap();
        }
        // The namespace ends soon in any case.
        let _ = umount2(&self.dir, MntFlags::MNT_DETACH);
        let _ = std::fs::remove_dir(&self.dir);
    }
}

/// The kernel's structures as words of 32 bits; what is not answered is taken and kept.
fn serve(mut device: File, mut answers: u32, end: &AtomicBool) {
    const LOOKUP: u32 = 1;
    const GETATTR: u32 = 3;
    const INIT: u32 = 26;
    const FORGET: u32 = 2;
    const INTERRUPT: u32 = 36;
    const BATCH_FORGET: u32 = 42;
    let attributes = {
        let mut words = [0u32; 22];
        // A directory of root's, with the inode number 1.
        (words[0], words[15], words[16]) = (1, 0o040_755, 2);
        words
    };
    let mut buffer = vec![0; 1 << 16];
    while !end.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(device.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(20u8)).unwrap() == 0 {
            continue;
        }
        let Ok(count) = device.read(&mut buffer) else { continue };
        let word = |at: usize| u32::from_le_bytes(buffer[at * 4..at * 4 + 4].try_into().unwrap());
        assert!(count >= 40);
        let (error, answer) = match word(1) {
            INIT => (0, [vec![7, 31, 0, 0, 0, 4096], vec![0; 10]].concat()),
            FORGET | INTERRUPT | BATCH_FORGET => continue,
            _ if answers == 0 => continue,
            // Nothing is valid for any time; what is looked up is inode 2.
            LOOKUP => (0, [vec![2, 0, 0, 0, 0, 0, 0, 0, 0, 0], attributes.to_vec()].concat()),
            GETATTR => (0, [vec![0; 4], attributes.to_vec()].concat()),
            _ => (-nix::libc::ENOSYS, Vec::new()),
        };
        if word(1) == LOOKUP || word(1) == GETATTR {
            answers -= 1;
        }
        let length = u32::try_from(answer.len() * 4 + 16).unwrap();
        let head = [length, error.cast_unsigned(), word(2), word(3)];
        let answer = [head.to_vec(), answer].concat();
        let bytes: Vec<u8> = answer.iter().flat_map(|word| word.to_le_bytes()).collect();
        // Whoever asked may have gone.
        let _ = device.write(&bytes);
    }
}

fn with_volume(name: &str, host_path: &Path) -> ContainerConfig {
    let mut config = shell(name, BUSYBOX, "exec sleep 1000");
    let host_path = host_path.display().to_string();
    config.mounts.push(Mount { container_path: "/volume".into(), host_path, ..Mount::default() });
    config
}

/// A whole life of another pod.
async fn live(world: &World, cri: &Cri, name: &str) {
    let config = world.pod(name).unwrap();
    let life = async {
        let pod = cri.run_pod(&config).await.unwrap();
        let id = cri.create(&pod, &shell("main", BUSYBOX, "echo lives"), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        wait_exited(cri, &id, Duration::from_secs(20)).await.unwrap();
        cri.end_pod(&pod).await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(30), life).await.expect("another pod stands still");
}

#[test]
fn a_silent_filesystem_keeps_no_other_pod_and_not_even_its_own_from_ending() {
    const PODS: usize = 34;
    let Some(world) = World::new().unwrap() else { return };
    let baseline = world.baseline().unwrap().without("fd");
    let dir = world.isolation.root().join("silent");
    let silent = Hung::mount(&dir, None);
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let (mut pods, mut creates) = (Vec::new(), Vec::new());
        for number in 0..PODS {
            let config = world.pod(&format!("hung-{number}")).unwrap();
            let pod = cri.run_pod(&config).await.unwrap();
            // More than the daemon may have threads for it.
            for name in ["a", "b", "c", "d", "e", "f"] {
                let (cri, pod, config) = (cri.clone(), pod.clone(), config.clone());
                let container = with_volume(name, &dir.join("sub"));
                creates.push(tokio::spawn(async move { cri.create(&pod, &container, &config).await }));
            }
            pods.push(pod);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        live(&world, &cri, "other").await;
        for pod in &pods {
            let end = cri.end_pod(pod);
            tokio::time::timeout(Duration::from_secs(30), end).await.expect("stop waits for create").unwrap();
        }
        for create in creates {
            let refused = tokio::time::timeout(Duration::from_secs(30), create).await.unwrap().unwrap();
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("being stopped") || error.contains("not ready"), "{error}");
        }
    });
    drop(silent);
    baseline.settle(&world.isolation, &world.daemon).unwrap();
}

#[test]
fn a_filesystem_that_falls_silent_at_any_step_holds_its_own_pod_for_a_bounded_time() {
    let extra = "[runtime]\nkill_timeout_seconds = 1\n".to_owned();
    let Some(world) = World::with(|options| e2e::runtime::Options { extra, ..options }).unwrap() else {
        return;
    };
    let baseline = world.baseline().unwrap().without("fd");
    let mut hung = Vec::new();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let mut pods = Vec::new();
        for answers in [0, 1, 3, 5, 6, 7, 9] {
            let dir = world.isolation.root().join(format!("hung-{answers}"));
            hung.push(Hung::mount(&dir, Some(answers)));
            let config = world.pod(&format!("hung-{answers}")).unwrap();
            let pod = cri.run_pod(&config).await.unwrap();
            let container = with_volume("main", &dir.join("sub"));
            let (asked, of, pod_config) = (cri.clone(), pod.clone(), config.clone());
            pods.push((pod, tokio::spawn(async move { asked.create(&of, &container, &pod_config).await })));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        live(&world, &cri, "other").await;
        // A process that the kernel does not let go may be told of, and keeps nobody waiting.
        let mut stops = tokio::task::JoinSet::new();
        for (pod, _) in &pods {
            let (cri, pod) = (cri.clone(), pod.clone());
            stops.spawn(async move {
                let stop = tokio::time::timeout(Duration::from_secs(30), cri.stop_pod(&pod)).await;
                stop.expect("stop waits").err().map(|error| error.to_string())
            });
        }
        for error in stops.join_all().await.into_iter().flatten() {
            assert!(error.contains("did not end"), "{error}");
        }
        live(&world, &cri, "another").await;
        hung.clear();
        for (pod, create) in pods {
            let end = tokio::time::timeout(Duration::from_secs(30), cri.end_pod(&pod)).await;
            end.expect("removal waits").unwrap();
            // It may have been made before the filesystem fell silent.
            let _ = tokio::time::timeout(Duration::from_secs(30), create).await.unwrap().unwrap();
        }
    });
    baseline.settle(&world.isolation, &world.daemon).unwrap();
}

/// Who waits for a filesystem that has taken a request cannot be killed; whoever typed the command waits for nothing.
#[test]
fn a_load_from_a_silent_filesystem_ends_when_it_is_told_to() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use std::os::unix::process::ExitStatusExt;
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() != e2e::runtime::Kind::Corten {
        return;
    }
    let dir = world.isolation.root().join("archives");
    let hung = Hung::mount(&dir, Some(0));
    let (program, config) = world.daemon.invocation();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut load = std::process::Command::new(program)
            .args(["image", "load"])
            .arg(dir.join("archive.tar"))
            .arg("--config")
            .arg(config)
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(load.try_wait().unwrap(), None);
        kill(Pid::from_raw(load.id().cast_signed()), signal).unwrap();
        let end = std::time::Instant::now() + Duration::from_secs(20);
        let status = loop {
            if let Some(status) = load.try_wait().unwrap() {
                break status;
            }
            if std::time::Instant::now() > end {
                drop(hung);
                panic!("it waits for the filesystem");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(status.signal(), Some(signal as i32));
    }
    drop(hung);
}
