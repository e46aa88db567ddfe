//! The security promises that a container can check from inside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::image::{self, Entry, Layer};
use e2e::pod::Pod;
use e2e::pods::{self, container, shell};
use e2e::proto::{Capability, ContainerConfig, Int64Value, LinuxContainerSecurityContext};
use e2e::runtime::Kind;
use e2e::world::{BUSYBOX, World, wait_exited};
use std::collections::VecDeque;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

fn secured(name: &str, change: impl FnOnce(&mut LinuxContainerSecurityContext)) -> ContainerConfig {
    pods::secured(container(name, BUSYBOX, &["/bin/sleep", "1000"]), change)
}

/// A line of a process's status, such as `CapInh`.
fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
}

fn descriptors(pid: i64) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_container_sees_its_own_descriptors_and_environment_only() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "fds").await;
        let id = pod.start(&secured("main", |_| {})).await;
        let pid = pod.cri.container_info(&id).await.unwrap()["pid"].as_i64().unwrap();
        // The program's own loader opens libraries at first.
        let end = Instant::now() + Duration::from_secs(30);
        while descriptors(pid) != ["0", "1", "2"] {
            assert!(Instant::now() < end, "the container's first process has {:?}", descriptors(pid));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
        let mut names: Vec<_> = environment
            .split(|byte| *byte == 0)
            .filter(|pair| !pair.is_empty())
            .map(|pair| String::from_utf8_lossy(pair).split('=').next().unwrap().to_owned())
            .collect();
        names.sort();
        names.retain(|name| name != "HOME");
        assert_eq!(names, ["HOSTNAME", "PATH"]);
        // 3 is ls's own, of the directory it lists.
        let listed = pod.cri.shell(&id, "ls /proc/self/fd | tr '\\n' ' '").await.unwrap();
        assert_eq!(listed.trim(), "0 1 2 3", "an exec");
        // S2: no descriptor is a way out, as a working directory either.
        for fd in [3, 7, 8, 9, 10, 63] {
            let mut config = shell(&format!("wd-{fd}"), BUSYBOX, "cat ../../../../etc/hostname");
            config.working_dir = format!("/proc/self/fd/{fd}");
            let Ok(id) = pod.cri.create(&pod.id, &config, &pod.config).await else { continue };
            if pod.cri.start(&id).await.is_ok() {
                let status = wait_exited(&pod.cri, &id, Duration::from_secs(5)).await.unwrap();
                assert_ne!(status.exit_code, 0, "fd {fd} led somewhere");
            }
        }
        pod.cri.end_pod(&pod.id).await.unwrap();
    });
}

fn identity(path: &Path) -> (u64, u64) {
    let meta = fs::metadata(path).unwrap();
    (meta.dev(), meta.ino())
}

#[test]
fn the_shim_and_the_daemon_hold_what_they_need_and_no_more() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "Corten's own promise");
        return;
    }
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "shim").await;
        let _id = pod.start(&secured("main", |_| {})).await;
        let processes = world.isolation.processes();
        // Its program is a mount that is attached nowhere, so that nothing can write through /proc/PID/exe.
        let is_shim = |line: &str| line.split(' ').next().is_some_and(|word| word.ends_with("corten-shim"));
        let shims: Vec<_> = processes.iter().filter(|(_, line)| is_shim(line)).collect();
        assert_eq!(shims.len(), 1, "one shim a pod: {processes:?}");
        let (pid, _) = &shims[0];
        // Of mount namespaces it has the one that containers' are made of.
        let others = ["self".to_owned(), pid.to_string()]
            .map(|pid| fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap());
        let is_bare =
            |target: &str| target.starts_with("mnt:[") && !others.iter().any(|own| own == Path::new(target));
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
            let entry = entry.unwrap();
            let target = fs::read_link(entry.path()).unwrap().display().to_string();
            let allowed = ["/dev/null", "socket:", "pipe:", "anon_inode:", "/memfd:", "pid:["];
            let own = target.starts_with(&world.isolation.root().display().to_string());
            // The container's root, which execs enter; never the host's.
            let number = Path::new(&format!("/proc/{pid}/fd")).join(entry.file_name());
            let root = target == "/" && identity(&number) != identity(Path::new("/"));
            let allowed = allowed.iter().any(|prefix| target.starts_with(prefix));
            assert!(
                own || root
                    || allowed
                    || is_bare(&target)
                    || target.starts_with("/sys/fs/cgroup")
                    || target.starts_with("/proc"),
                "{target}"
            );
        }
        assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"", "the shim needs no environment");
        pod.cri.end_pod(&pod.id).await.unwrap();
    });
}

#[test]
fn capabilities_no_new_privileges_and_seccomp() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "privileges").await;
        let default = pod.start(&secured("default", |_| {})).await;
        let status = pod.cri.shell(&default, "cat /proc/self/status; cat /proc/1/status").await.unwrap();
        assert_eq!(field(&status, "CapInh"), "0000000000000000");
        assert_eq!(field(&status, "CapAmb"), "0000000000000000");
        assert_eq!(field(&status, "NoNewPrivs"), "0");
        assert_eq!(field(&status, "Seccomp"), "2");
        if world.daemon.kind() == Kind::Corten {
            // CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE
            assert_eq!(field(&status, "CapEff"), "00000000000005fb");
            assert_eq!(field(&status, "CapBnd"), "00000000000005fb");
        }
        let config = secured("changed", |context| {
            context.no_new_privs = true;
            context.seccomp =
                Some(e2e::proto::SecurityProfile { profile_type: 1, localhost_ref: String::new() });
            context.capabilities = Some(Capability {
                drop_capabilities: vec!["ALL".into()],
                add_capabilities: vec!["NET_RAW".into()],
                ..Capability::default()
            });
        });
        let changed = pod.start(&config).await;
        for pid in ["1", "self"] {
            let status = pod.cri.shell(&changed, &format!("cat /proc/{pid}/status")).await.unwrap();
            assert_eq!(field(&status, "NoNewPrivs"), "1", "{pid}");
            assert_eq!(field(&status, "Seccomp"), "0", "{pid}");
            assert_eq!(field(&status, "CapEff"), "0000000000002000", "{pid}");
            assert_eq!(field(&status, "CapInh"), "0000000000000000", "{pid}");
        }
        // unshare(2) of a user namespace is for seccomp to refuse.
        let tried = pod.cri.exec(&default, &["unshare", "-U", "true"], 5).await.unwrap();
        assert_ne!(tried.exit_code, 0);
        pod.cri.end_pod(&pod.id).await.unwrap();
    });
}

/// A container with a profile of these bytes.
fn filtered(world: &World, name: &str, profile: &serde_json::Value) -> e2e::proto::ContainerConfig {
    let path = world.isolation.directory("profiles").unwrap().join(format!("{name}.json"));
    fs::write(&path, profile.to_string()).unwrap();
    secured(name, |context| {
        let path = path.display().to_string();
        context.seccomp = Some(e2e::proto::SecurityProfile { profile_type: 2, localhost_ref: path });
    })
}

#[test]
fn a_filter_that_kills_for_anything_ends_the_program_and_not_its_launch() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "killing").await;
        for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP"] {
            for no_new_privs in [false, true] {
                let name = format!("{}-{no_new_privs}", action.to_lowercase().replace('_', "-"));
                let mut config = filtered(&world, &name, &serde_json::json!({ "defaultAction": action }));
                config.linux.as_mut().unwrap().security_context.as_mut().unwrap().no_new_privs = no_new_privs;
                let id = pod.create(&config).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
                let state = pod.cri.container_status(&id).await.unwrap().state;
                assert_eq!(state, e2e::proto::ContainerState::ContainerCreated as i32, "{name}");
                pod.cri.start(&id).await.unwrap();
                let status = wait_exited(&pod.cri, &id, Duration::from_secs(10)).await.unwrap();
                assert_eq!(status.exit_code, 128 + 31, "{name}: SIGSYS");
            }
        }
        pod.cri.end_pod(&pod.id).await.unwrap();
    });
}

#[test]
fn a_filter_that_refuses_everything_hides_no_reason() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "refusing").await;
        for no_new_privs in [false, true] {
            let name = format!("all-{no_new_privs}");
            let profile = serde_json::json!({ "defaultAction": "SCMP_ACT_ERRNO" });
            let mut config = filtered(&world, &name, &profile);
            config.linux.as_mut().unwrap().security_context.as_mut().unwrap().no_new_privs = no_new_privs;
            let id = pod.create(&config).await.unwrap();
            let error = pod.cri.start(&id).await.unwrap_err().to_string();
            assert!(error.contains("operation not permitted"), "{error}");
            assert_eq!(wait_exited(&pod.cri, &id, Duration::from_secs(10)).await.unwrap().exit_code, 128, "{name}");
        }
        // What can be executed, and cannot be found, with a launcher that may neither speak nor end.
        let calls = serde_json::json!([{"names": ["sendmsg", "sendto", "sendmmsg", "exit", "exit_group", "tkill",
            "rt_sigprocmask", "rt_sigaction"], "action": "SCMP_ACT_ERRNO"}]);
        let profile = serde_json::json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": calls });
        let mut config = filtered(&world, "silent", &profile);
        config.command = vec!["/no/such/program".to_owned()];
        let id = pod.create(&config).await.unwrap();
        let error = pod.cri.start(&id).await.unwrap_err().to_string();
        assert!(error.contains("no such file or directory"), "{error}");
        assert_eq!(wait_exited(&pod.cri, &id, Duration::from_secs(10)).await.unwrap().exit_code, 128);
        pod.cri.end_pod(&pod.id).await.unwrap();
    });
}

#[test]
fn a_seccomp_agent_is_told_who_asks() {
    let Some(world) = World::new().unwrap() else { return };
    let dir = world.isolation.directory("agent").unwrap();
    let (socket, profile) = (dir.join("s"), dir.join("profile.json"));
    let listener = UnixListener::bind(&socket).unwrap();
    let rule = serde_json::json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"});
    let document = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket,
        "listenerMetadata": "for this test", "syscalls": [rule]});
    fs::write(&profile, document.to_string()).unwrap();
    // An agent that lets go of the listener: whoever would have asked hears that there is no such call.
    let agent = std::thread::spawn(move || {
        let state = || {
            let (stream, _) = listener.accept().unwrap();
            let (mut buffer, mut passed) = ([0; 16384], VecDeque::new());
            let length = sys::socket::read(stream.as_fd(), &mut buffer, &mut passed).unwrap();
            assert_eq!(passed.len(), 1, "the listener comes with the message");
            serde_json::from_slice::<serde_json::Value>(&buffer[..length]).unwrap()
        };
        [state(), state()]
    });
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "agent").await;
        let path = profile.display().to_string();
        let config = secured("asking", |context| {
            context.seccomp = Some(e2e::proto::SecurityProfile { profile_type: 2, localhost_ref: path });
        });
        let id = pod.start(&config).await;
        let pid = pod.cri.container_info(&id).await.unwrap()["pid"].as_i64().unwrap();
        let tried = pod.cri.exec(&id, &["mkdir", "/made"], 30).await.unwrap();
        assert_ne!(tried.exit_code, 0);
        let told = String::from_utf8_lossy(&tried.stderr).into_owned();
        assert!(told.contains("Function not implemented"), "{told}");
        let [first, command] = agent.join().unwrap();
        for (state, status) in [(&first, "creating"), (&command, "running")] {
            assert_eq!(state["metadata"], "for this test");
            assert_eq!(state["fds"], serde_json::json!(["seccompFd"]));
            assert_eq!(state["state"]["id"], id.as_str());
            assert_eq!(state["state"]["status"], status);
            assert_eq!(state["state"]["pid"].as_i64(), Some(pid));
            assert_eq!(state["state"]["annotations"]["io.kubernetes.cri.container-name"], "asking");
        }
        assert_eq!(first["pid"].as_i64(), Some(pid));
        assert_ne!(command["pid"].as_i64(), Some(pid));
        pod.cri.end_pod(&pod.id).await.unwrap();
    });
}

#[test]
fn masked_and_read_only_paths_are_exactly_those_asked_for() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "paths").await;
        let config = secured("listed", |context| {
            context.masked_paths =
                ["/proc/kcore", "/proc/acpi", "/proc/nothing-of-this-name"].map(str::to_owned).to_vec();
            context.readonly_paths = ["/proc/sys", "/proc/bus"].map(str::to_owned).to_vec();
        });
        let listed = pod.start(&config).await;
        let mounts = pod.cri.shell(&listed, "cut -d' ' -f2,4 /proc/mounts | grep '^/proc/'").await.unwrap();
        let points: Vec<_> = mounts.lines().map(|line| line.split(' ').next().unwrap()).collect();
        let mut expected = vec!["/proc/bus", "/proc/sys"];
        for path in ["/proc/acpi", "/proc/kcore"] {
            if fs::metadata(path).is_ok() {
                expected.push(path);
            }
        }
        let mut seen = points.clone();
        seen.sort_unstable();
        expected.sort_unstable();
        assert_eq!(seen, expected, "{mounts}");
        let tried =
            pod.cri.exec(&listed, &["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"], 5).await.unwrap();
        assert_ne!(tried.exit_code, 0);

        let open = pod.start(&secured("open", |_| {})).await;
        let mounts = pod.cri.shell(&open, "cut -d' ' -f2 /proc/mounts | grep -c '^/proc/'").await.unwrap();
        assert_eq!(mounts.trim(), "0", "empty lists mean none");
        pod.cri.end_pod(&pod.id).await.unwrap();
    });
}

#[test]
fn users_are_exact_or_refused() {
    let Some(world) = World::new().unwrap() else { return };
    // A passwd that has a row for every number that could wrap around.
    let rows = "root:x:0:0::/root:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n-1:x:0:0::/:/bin/sh\n+0:x:0:0::/:/bin/sh\n\
                alice:x:1000:1000::/:/bin/sh\n";
    for (tag, user) in [
        ("u31", "2147483648"),
        ("u32", "4294967296"),
        ("u64", "18446744073709551616"),
        ("minus", "-1"),
        ("plus", "+0"),
        ("name", "alice"),
        ("both", "1002:1003"),
    ] {
        let mut image = image::busybox().unwrap();
        let layer = Layer::default().with("etc/passwd", 0o644, Entry::File(rows.into()));
        image.layers.push(layer);
        image.config["User"] = user.into();
        world.registry.push("users", tag, &image).unwrap();
    }
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "users").await;
        let id_of = async |tag: &str| {
            let image = format!("registry.test/users:{tag}");
            pod.cri.pull(&image, None).await.unwrap();
            let id = pod
                .cri
                .create(&pod.id, &shell(tag, &image, "id -u; id -g; id -G"), &pod.config)
                .await
                .ok()?;
            pod.cri.start(&id).await.ok()?;
            wait_exited(&pod.cri, &id, Duration::from_secs(5)).await.unwrap();
            let lines = e2e::logs::read(&world.log("users", tag)).unwrap();
            Some(lines.into_iter().map(|line| line.text).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(id_of("name").await.as_deref(), Some("1000 1000 1000 50000"));
        assert_eq!(id_of("both").await.as_deref(), Some("1002 1003 1003"));
        if world.daemon.kind() == Kind::Corten {
            for (tag, exact) in
                [("u31", "2147483648 "), ("u32", "-"), ("u64", "-"), ("minus", "-"), ("plus", "-")]
            {
                let seen = id_of(tag).await;
                assert!(seen.as_ref().is_none_or(|seen| seen.starts_with(exact)), "{tag}: {seen:?}");
            }
        }
        let config = secured("requested", |context| {
            context.run_as_user = Some(Int64Value { value: 33 });
            context.run_as_group = Some(Int64Value { value: 44 });
            context.supplemental_groups = vec![55, 66];
        });
        let id = pod.start(&config).await;
        let said = pod.cri.shell(&id, "id -u; id -g; id -G").await.unwrap();
        assert_eq!(said.lines().collect::<Vec<_>>().join(" "), "33 44 44 55 66");
        pod.cri.end_pod(&pod.id).await.unwrap();
    });
}
