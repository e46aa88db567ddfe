//! The floor: what the kernel takes for a pod when nobody is asked and nothing is remembered.
//!
//! One single-threaded process does by hand what design and issue list: network namespace, veth, address, route, a
//! pause, cgroups with limits, an overlay, seccomp, exec. The bench starts it as a process of its own and has it make
//! one pod a line of input, so that its pods alternate with those of the runtimes.

use e2e::error::Context;
use e2e::{Error, image, tools};
use std::fs;
use std::io::{BufRead, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;
use sys::netlink::{Address, Batch, BridgeLink, Mac, Peer, RouteSpec, Socket, VethPair, link_info};
use sys::process::{Child, Forked, SingleThread, fork};
use sys::{SysError, SysResult, cgroup, exec, fd, mount, netns, privilege, process, resolve};

const CLONE_NEWNS: i32 = 0x0002_0000;
const CLONE_NEWUTS: i32 = 0x0400_0000;
const CLONE_NEWIPC: i32 = 0x0800_0000;
const CLONE_NEWPID: i32 = 0x2000_0000;
const CLONE_NEWNET: i32 = 0x4000_0000;
const MS_REC_PRIVATE: u64 = 0x4000 | 0x4_0000;
const SIGKILL: i32 = 9;
/// The capabilities that stay, by number: Corten's default set.
const CAPABILITIES: u64 = 0x5fb;
const BRIDGE: &str = "ctf0";
/// The file by which a process joins a cgroup of v2.
const V2: &str = "cgroup.procs";

/// What stays the same from pod to pod.
struct Floor {
    thread: SingleThread,
    root: PathBuf,
    layers: Vec<Vec<u8>>,
    hierarchies: Vec<(PathBuf, &'static str)>,
    parent: String,
    filter: Vec<u8>,
    host: Socket,
    bridge: u32,
    pause: Option<PathBuf>,
}

struct Pod {
    container: Child,
    pause: Child,
    netns: PathBuf,
    cgroups: Vec<PathBuf>,
    scratch: PathBuf,
}

/// Makes one pod for each line of standard input; prints the nanoseconds that it took.
///
/// # Errors
/// When a step fails.
pub(crate) fn serve(root: &Path, parent: &str) -> Result<(), Error> {
    let thread = SingleThread::claim().map_err(failed)?;
    let floor = Floor::prepare(thread, root, parent)?;
    let mut out = std::io::stdout();
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        line.at("read", "standard input")?;
        let begin = Instant::now();
        let pod = floor.make(number).map_err(failed)?;
        let took = begin.elapsed();
        floor.end(&pod).map_err(failed)?;
        writeln!(out, "{}", took.as_nanos()).and_then(|()| out.flush()).at("write", "standard output")?;
    }
    Ok(())
}

fn failed(error: SysError) -> Error {
    let path = error.path.clone();
    Error::Io { operation: "make the floor's pod with", path, source: std::io::Error::other(error) }
}

impl Floor {
    fn prepare(thread: SingleThread, root: &Path, parent: &str) -> Result<Self, Error> {
        let mut layers = Vec::new();
        for (number, layer) in image::busybox()?.layers.iter().enumerate() {
            let directory = root.join(format!("layer-{number}"));
            fs::create_dir_all(&directory).at("create", &directory)?;
            layer.unpack(&directory)?;
            layers.insert(0, directory.into_os_string().into_encoded_bytes());
        }
        let rootfs = root.join("rootfs");
        fs::create_dir_all(&rootfs).at("create", &rootfs)?;
        let host = Socket::route().map_err(failed)?;
        let bridge = make_bridge(&host).map_err(failed)?;
        Ok(Self {
            thread,
            root: root.to_path_buf(),
            layers,
            hierarchies: hierarchies(),
            parent: parent.trim_start_matches('/').to_owned(),
            filter: filter(),
            host,
            bridge,
            pause: tools::corten("corten-pause").ok(),
        })
    }

    fn make(&self, number: usize) -> SysResult<Pod> {
        let pin = PathBuf::from(format!("/run/netns/floor-{number}"));
        let namespace = netns::create(&pin)?;
        self.connect(number, &namespace)?;
        let cgroups = self.cgroups(number)?;
        let scratch = self.root.join(format!("pod-{number}"));
        for name in ["upper", "work"] {
            let path = scratch.join(name);
            fs::create_dir_all(&path).map_err(SysError::io("create", &path))?;
        }
        let pause = self.launch(CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID, &namespace, &cgroups, || {
            self.run_pause(&cgroups)
        })?;
        let flags = CLONE_NEWNS | CLONE_NEWPID;
        let container =
            self.launch(flags, &namespace, &cgroups, || self.run_container(&cgroups, &scratch))?;
        Ok(Pod { container, pause, netns: pin, cgroups, scratch })
    }

    /// Forks a child into the pod's network; returns when its exec has succeeded.
    fn launch(
        &self,
        namespaces: i32,
        network: &netns::Netns,
        cgroups: &[PathBuf],
        run: impl FnOnce() -> SysError,
    ) -> SysResult<Child> {
        let (read, write) = fd::pipe()?;
        // Born in its v2 cgroup: to join that later takes longer than all the others together.
        let v2 = self.hierarchies.iter().zip(cgroups).find(|((_, file), _)| *file == V2);
        let v2 = v2
            .map(|(_, directory)| resolve::open(directory.as_os_str().as_encoded_bytes(), fd::flag::O_PATH));
        let v2 = v2.transpose()?;
        match fork(&self.thread, namespaces, v2.as_ref().map(AsFd::as_fd))? {
            Forked::Parent(child) => {
                drop(write);
                let mut text = String::new();
                std::io::Read::read_to_string(&mut fs::File::from(read), &mut text)
                    .map_err(SysError::io("read", "the child's pipe"))?;
                // Exec closes the pipe; a child that failed has written why.
                if text.is_empty() { Ok(child) } else { Err(SysError::new("start a process", text, 0)) }
            }
            Forked::Child => {
                let error = match process::enter(network.fd(), CLONE_NEWNET) {
                    Ok(()) => run(),
                    Err(error) => error,
                };
                report(write, &error);
                process::exit(127)
            }
        }
    }

    fn run_pause(&self, cgroups: &[PathBuf]) -> SysError {
        let steps = || -> SysResult<exec::Program> {
            self.join(cgroups)?;
            process::set_hostname(b"floor")?;
            let path = self.pause.as_deref().map(|path| path.as_os_str().as_encoded_bytes().to_vec());
            let argv =
                path.map_or_else(|| vec![b"/bin/sleep".to_vec(), b"1000000".to_vec()], |path| vec![path]);
            exec::Program::new(&argv, &[])
        };
        steps().map_or_else(|error| error, |program| program.run())
    }

    fn run_container(&self, cgroups: &[PathBuf], scratch: &Path) -> SysError {
        let steps = || -> SysResult<exec::Program> {
            self.join(cgroups)?;
            mount::classic(b"", b"/", b"", MS_REC_PRIVATE, b"")?;
            let bytes = |name: &str| scratch.join(name).into_os_string().into_encoded_bytes();
            let target = self.root.join("rootfs").into_os_string().into_encoded_bytes();
            mount::overlay_classic(&self.layers, &bytes("upper"), &bytes("work"), &target, b"")?;
            let proc = [target.as_slice(), b"/proc"].concat();
            mount::classic(b"proc", &proc, b"proc", 0, b"")?;
            mount::pivot_into(resolve::open(&target, 0)?.as_fd(), false)?;
            privilege::limit_bounding_set(CAPABILITIES)?;
            let program = exec::Program::new(&[b"/bin/sleep".to_vec(), b"1000000".to_vec()], &[])?;
            privilege::load_seccomp(&self.filter, 0)?;
            let (effective, permitted) = (CAPABILITIES, CAPABILITIES);
            privilege::set_capabilities(privilege::Capabilities { effective, permitted, inheritable: 0 })?;
            Ok(program)
        };
        steps().map_or_else(|error| error, |program| program.run())
    }

    fn join(&self, cgroups: &[PathBuf]) -> SysResult<()> {
        let files = self.hierarchies.iter().map(|(_, file)| file);
        let mut v1 = cgroups.iter().zip(files).filter(|(_, file)| **file != V2);
        v1.try_for_each(|(directory, file)| cgroup::join_self(directory, file))
    }

    fn connect(&self, number: usize, namespace: &netns::Netns) -> SysResult<()> {
        let low = u8::try_from(number % 200 + 2).unwrap_or(2);
        let mac = |kind| Mac::local([2, kind, 0, 0, 0, low]);
        let name = format!("ctf-{number}");
        let mut batch = Batch::new();
        batch.create_veth(&VethPair {
            name: &name,
            mac: mac(1),
            bridge: Some(self.bridge),
            mtu: 0,
            peer: Peer { name: "eth0", mac: mac(2), netns: namespace.fd() },
        });
        self.host.run(&mut batch)?;
        let mut batch = Batch::new();
        let index = link_info(&namespace.rtnl().run(batch.get_link("eth0"))?).map_or(2, |link| link.index);
        let mut batch = Batch::new();
        batch.set_up("eth0", index, true);
        batch.add_address("eth0", index, Address { ip: [10, 99, 0, low].into(), prefix: 16 }, false);
        batch.add_route(
            index,
            &RouteSpec {
                dst: Address { ip: [0, 0, 0, 0].into(), prefix: 0 },
                gateway: Some([10, 99, 0, 1].into()),
                mtu: 0,
                advmss: 0,
                priority: 0,
                table: None,
                scope: None,
            },
        );
        namespace.rtnl().run(&mut batch).map(drop)
    }

    fn cgroups(&self, number: usize) -> SysResult<Vec<PathBuf>> {
        let mut made = Vec::new();
        for (hierarchy, _) in &self.hierarchies {
            let parent = hierarchy.join(&self.parent);
            let directory = parent.join(format!("floor-{number}"));
            fs::create_dir_all(&directory).map_err(SysError::io("create", &directory))?;
            for (file, value) in [
                ("cpuset.cpus", ""),
                ("cpuset.mems", ""),
                ("cpu.cfs_quota_us", "100000"),
                ("cpu.shares", "512"),
                ("memory.limit_in_bytes", "134217728"),
                ("cpu.max", "100000 100000"),
                ("memory.max", "134217728"),
            ] {
                let name = hierarchy.file_name().unwrap_or_default().to_string_lossy();
                if hierarchy.ends_with("cgroup") || file.starts_with(&format!("{name}.")) {
                    limit(hierarchy, &parent, &directory, file, value)?;
                }
            }
            made.push(directory);
        }
        Ok(made)
    }

    fn end(&self, pod: &Pod) -> SysResult<()> {
        for child in [&pod.container, &pod.pause] {
            process::signal(child.pidfd.as_fd(), SIGKILL)?;
        }
        let mut reaped = 0;
        while reaped < 2 {
            match process::reap() {
                Some(_) => reaped += 1,
                None => std::thread::yield_now(),
            }
        }
        netns::remove(&pod.netns)?;
        for directory in &pod.cgroups {
            cgroup::remove(directory)?;
        }
        fs::remove_dir_all(&pod.scratch).map_err(SysError::io("remove", &pod.scratch))
    }
}

/// A limit, where the hierarchy has it; cpusets start with what their parent has.
fn limit(hierarchy: &Path, parent: &Path, directory: &Path, file: &str, value: &str) -> SysResult<()> {
    let write = |path: PathBuf, value: &str| fs::write(&path, value).map_err(SysError::io("write", path));
    if !file.starts_with("cpuset.") {
        let path = directory.join(file);
        return if path.exists() { write(path, value) } else { Ok(()) };
    }
    let own = fs::read_to_string(hierarchy.join(file)).unwrap_or_default();
    if !own.trim().is_empty() {
        write(parent.join(file), own.trim())?;
        write(directory.join(file), own.trim())?;
    }
    Ok(())
}

fn report(write: OwnedFd, error: &SysError) {
    // The parent sees the pipe's end in any case.
    let _ = fs::File::from(write).write_all(error.to_string().as_bytes());
}

/// The cgroup hierarchies, all of them as for every container, each with the file by which a process joins.
fn hierarchies() -> Vec<(PathBuf, &'static str)> {
    let top = PathBuf::from("/sys/fs/cgroup");
    if top.join("cgroup.controllers").exists() {
        return vec![(top, V2)];
    }
    let v1 = ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd"];
    let v1 = v1.iter().map(|name| (top.join(name), "tasks"));
    v1.chain([(top.join("unified"), V2)]).filter(|(path, _)| path.is_dir()).collect()
}

fn make_bridge(host: &Socket) -> SysResult<u32> {
    let mut batch = Batch::new();
    batch.create_bridge(&BridgeLink {
        name: BRIDGE,
        mac: Mac::local([2, 9, 9, 9, 9, 9]),
        mtu: 0,
        promiscuous: false,
    });
    host.run(&mut batch)?;
    let mut batch = Batch::new();
    let index = link_info(&host.run(batch.get_link(BRIDGE))?).map_or(0, |link| link.index);
    let mut batch = Batch::new();
    batch.add_address(BRIDGE, index, Address { ip: [10, 99, 0, 1].into(), prefix: 16 }, false);
    host.run(&mut batch)?;
    Ok(index)
}

/// A filter of the size of the runtimes' default profile: it lets every number below 360 through but a few, which is
/// what matters for the time that loading takes.
fn filter() -> Vec<u8> {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const REFUSE: u32 = 0x0005_0001;
    let mut program = Vec::new();
    let mut push = |code: u16, if_true: u8, if_false: u8, k: u32| {
        program.extend_from_slice(&code.to_ne_bytes());
        program.extend_from_slice(&[if_true, if_false]);
        program.extend_from_slice(&k.to_ne_bytes());
    };
    push(LOAD, 0, 0, 0);
    for number in (0..360).filter(|number| *number != 165 && *number != 169) {
        push(JUMP_IF_EQUAL, 0, 1, number);
        push(RETURN, 0, 0, ALLOW);
    }
    push(RETURN, 0, 0, REFUSE);
    program
}
