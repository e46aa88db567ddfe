//! What a container or a user of the host can do to the files that Corten keeps for pods.

mod hung;

use e2e::pods::shell;
use e2e::world::{BUSYBOX, World, wait_exited};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Bytes in use on the filesystem of a path.
fn used(path: &Path) -> u64 {
    let found = nix::sys::statvfs::statvfs(path).unwrap();
    (found.blocks() - found.blocks_free()) * found.fragment_size()
}

fn mounts_below(path: &Path) -> usize {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let below = format!(" {}/", path.display());
    table.lines().filter(|line| line.contains(&below)).count()
}

#[test]
fn a_pod_s_files_cannot_fill_the_host_s_memory_of_pods() {
    let Some(mut world) = World::new().unwrap() else { return };
    let baseline = world.baseline().unwrap();
    let state = world.daemon.place().state.clone();
    let config = world.pod("filler").unwrap();
    let (pod, before) = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let before = (used(&state), mounts_below(&state));
        let pod = cri.run_pod(&config).await.unwrap();
        let script = "for file in /etc/hosts /etc/hostname /etc/resolv.conf; do \
            dd if=/dev/zero of=$file bs=1M count=128 2>/dev/null && echo filled $file; done; echo tried";
        let id = cri.create(&pod, &shell("main", BUSYBOX, script), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        let status = wait_exited(&cri, &id, Duration::from_secs(30)).await.unwrap();
        let log = fs::read_to_string(&status.log_path).unwrap();
        assert!(log.contains("tried") && !log.contains("filled"), "{log}");
        (pod, before)
    });
    let (bytes, mounts) = (used(&state) - before.0, mounts_below(&state) - before.1);
    assert!(bytes < 1 << 20, "{bytes} bytes of the daemon's own filesystem");
    assert_eq!(mounts, 2, "mounts that a pod adds to the host's: its files, its shared memory");
    // A daemon that comes back knows what to take down.
    world.daemon.kill().unwrap();
    world.daemon.restart().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let config = world.pod("other").unwrap();
        let other = cri.run_pod(&config).await.unwrap();
        cri.end_pod(&other).await.unwrap();
        cri.end_pod(&pod).await.unwrap();
    });
    baseline.without("process").settle(&world.isolation, &world.daemon).unwrap();
}

#[test]
fn a_full_shared_memory_leaves_room_for_files_and_the_other_way_round() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let config = world.pod("full").unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let id = cri.create(&pod, &shell("main", BUSYBOX, "exec sleep 1000"), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        let fill = |file: &str| format!("dd if=/dev/zero of={file} bs=64k count=4096 2>&1 | grep -o 'No space'");
        let script = format!(
            "cp /etc/hosts /hosts; {}; echo x 2>/dev/null >>/dev/shm/more || echo full; echo '10.9.9.9 more' >>/etc/hosts && \
             cat /hosts >/etc/hosts && cat /etc/hosts; rm /dev/shm/fill; {}; echo word >/dev/shm/word && \
             cat /dev/shm/word; stat -c %a /dev/shm",
            fill("/dev/shm/fill"),
            fill("/etc/resolv.conf"),
        );
        let said = cri.shell(&id, &script).await.unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.first(), Some(&"No space"), "{said}");
        assert!(lines.contains(&"full"), "{said}");
        assert!(said.contains("localhost") && !said.contains("10.9.9.9"), "{said}");
        assert_eq!(lines[lines.len() - 3..], ["No space", "word", "1777"], "{said}");
        let inodes = cri.shell(&id, "stat -f -c %c /etc/hosts").await.unwrap();
        assert!(inodes.trim().parse::<u64>().unwrap() < 100, "{inodes}");
        cri.end_pod(&pod).await.unwrap();
    });
}

/// Whether a user of the host without rights can do it.
fn stranger(script: &str) -> bool {
    let mut shell = Command::new("/bin/sh");
    let told = shell.args(["-c", script]).uid(65_534).gid(65_534).output().unwrap();
    told.status.success()
}

#[test]
fn users_of_the_host_reach_nothing_of_pods() {
    let Some(mut world) = World::new().unwrap() else { return };
    let state = world.daemon.place().state.clone();
    let (pod, container) = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let config = world.pod("private").unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let script = "echo secret >/dev/shm/word; chmod 666 /dev/shm/word; exec sleep 1000";
        let id = cri.create(&pod, &shell("main", BUSYBOX, script), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        (pod, id)
    });
    let dir = state.join("pods").join(&pod);
    let look = |pods_dir: &Path| {
        for name in ["", "files/", "files/shm/", "exits/", "containers/"] {
            let path = pods_dir.join(name);
            assert!(!stranger(&format!("ls {0} || echo x >{0}/new", path.display())), "{}", path.display());
        }
        for name in ["hosts", "files/hosts", "shm/word", "files/shm/word"] {
            let path = pods_dir.join(name);
            assert!(!stranger(&format!("cat {}", path.display())), "{}", path.display());
        }
        let network = state.join("network");
        assert!(!stranger(&format!("ls {0} || cat {0}/attachments/*", network.display())), "network records");
    };
    look(&dir);
    // What an earlier daemon left open is closed when the next one starts.
    for dir in [&dir, &state.join("network")] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
    world.daemon.kill().unwrap();
    world.daemon.restart().unwrap();
    look(&dir);
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        assert_eq!(cri.shell(&container, "cat /dev/shm/word").await.unwrap().trim(), "secret");
        cri.end_pod(&pod).await.unwrap();
    });
}

#[test]
fn no_log_is_written_through_a_link_below_the_directory_of_logs() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let config = world.pod("linked").unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let (logs, outside) =
            (Path::new(&config.log_directory), world.isolation.directory("outside").unwrap());
        std::os::unix::fs::symlink(&outside, logs.join("link")).unwrap();
        let mut container = shell("main", BUSYBOX, "while :; do echo line; sleep 0.1; done");
        container.log_path = "link/0.log".to_owned();
        let error = cri.create(&pod, &container, &config).await.unwrap_err().to_string();
        assert!(error.contains("link/0.log"), "{error}");
        container.log_path = "link/deeper/0.log".to_owned();
        cri.create(&pod, &container, &config).await.unwrap_err();
        // Nor another file's second name.
        let other = outside.join("other");
        fs::write(&other, "the host's\n").unwrap();
        fs::hard_link(&other, logs.join("second.log")).unwrap();
        let mut second = shell("second", BUSYBOX, "echo line");
        second.log_path = "second.log".to_owned();
        let id = cri.create(&pod, &second, &config).await.unwrap();
        cri.start(&id).await.unwrap();
        wait_exited(&cri, &id, Duration::from_secs(30)).await.unwrap();
        assert!(fs::read_to_string(logs.join("second.log")).unwrap().ends_with("stdout F line\n"));
        assert_eq!(fs::read_to_string(&other).unwrap(), "the host's\n");
        fs::remove_file(other).unwrap();
        // One that takes the place of the directory later is not followed either.
        container.log_path = "own/0.log".to_owned();
        let id = cri.create(&pod, &container, &config).await.unwrap();
        cri.start(&id).await.unwrap();
        fs::rename(logs.join("own"), logs.join("aside")).unwrap();
        std::os::unix::fs::symlink(&outside, logs.join("own")).unwrap();
        let reopen = || {
            let request = e2e::proto::ReopenContainerLogRequest { container_id: id.clone() };
            let mut runtime = cri.runtime.clone();
            async move { runtime.reopen_container_log(request).await }
        };
        reopen().await.unwrap_err();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        // A directory that is gone is made again.
        fs::remove_file(logs.join("own")).unwrap();
        reopen().await.unwrap();
        assert!(logs.join("own/0.log").is_file());
        cri.end_pod(&pod).await.unwrap();
    });
}
