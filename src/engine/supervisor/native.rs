//! The shim as a pod's supervisor: a process of its own behind a Unix socket in the pod's directory.

use super::connection::Connection;
use super::greeting::Greeted;
use super::living::LivingSupervisor;
use super::request::{
    Attach, CloseStdin, Create, Exec, Greeting, KillExec, OpenExec, Remove, ReopenLog, Sandbox, Shutdown,
    Signal, Start, WaitExec,
};
use super::warm::{Meter, Warm, end_now};
use super::{
    Answer, Command, Connected, Executed, Hello, Launcher, Notify, Opened, Standing, Started, Stray,
    Supervisor, SupervisorError,
};
use crate::error::{EngineError, chain};
use crate::record::PodFiles;
use crate::stats::{Interface, Traffic};
use futures::future::BoxFuture;
use prometheus::Registry;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};
use std::collections::HashMap;
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sys::shim_spawn::{Given, ShimProcess, spawn_shim};
use sys::sync::lock;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use wire::msg::Streams;
use wire::plan::{ContainerPlan, ExecPlan, SandboxPlan};

/// What a shim's arguments begin with; the pod's id follows.
pub(super) const SHIM_NAME: &str = "corten-shim";
/// How long a shim may take to answer its first question. One that has ended closes its connection, so this is only for
/// one that hangs; to take a slow machine for that would end the pods of a daemon that comes back.
const GREETING: Duration = Duration::from_secs(60);
/// How long a thread waits for the same.
const MOMENT: Duration = Duration::from_secs(1);
/// How long it may take to send a signal: one in a frozen cgroup never answers.
const SIGNAL: Duration = Duration::from_secs(2);
/// How long one that cannot be talked to may take to die.
const DEATH: Duration = Duration::from_secs(5);

/// The shim of a pod.
pub(crate) struct Shim {
    connection: Connection,
    process: Mutex<Option<(i32, Arc<OwnedFd>)>>,
    traffic: Traffic,
}

impl Shim {
    fn process(&self) -> Option<(i32, Arc<OwnedFd>)> {
        lock(&self.process).clone()
    }
}

impl Supervisor for Shim {
    fn sandbox(&self, plan: SandboxPlan) -> Answer<'_, Standing> {
        Box::pin(self.connection.ask(self.connection.pod(), Sandbox(plan)))
    }

    fn create(&self, plan: ContainerPlan) -> Answer<'_, i32> {
        let id = plan.id.clone();
        Box::pin(async move { self.connection.ask(&id, Create(plan)).await })
    }

    fn start<'a>(&'a self, id: &'a str) -> Answer<'a, Started> {
        Box::pin(self.connection.ask(id, Start(id.to_owned())))
    }

    fn signal<'a>(&'a self, id: &'a str, signal: i32, all: bool) -> Answer<'a, ()> {
        Box::pin(self.connection.ask_within(SIGNAL, id, Signal(id.to_owned(), signal, all)))
    }

    fn exec(&self, plan: ExecPlan, unwanted: CancellationToken) -> Answer<'_, Executed> {
        let id = plan.container.clone();
        Box::pin(async move { self.connection.ask_while_wanted(&id, Exec(plan), &unwanted, KillExec).await })
    }

    fn open_exec(&self, command: Command) -> Answer<'_, Opened> {
        let id = command.plan.container.clone();
        Box::pin(async move { self.connection.ask(&id, OpenExec(command)).await })
    }

    fn wait_exec<'a>(&'a self, id: &'a str, number: u64) -> Answer<'a, i32> {
        Box::pin(self.connection.ask(id, WaitExec(number)))
    }

    fn attach<'a>(&'a self, id: &'a str, streams: Streams) -> Answer<'a, Vec<OwnedFd>> {
        Box::pin(self.connection.ask(id, Attach(id.to_owned(), streams)))
    }

    fn close_stdin<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(self.connection.ask(id, CloseStdin(id.to_owned())))
    }

    fn reopen_log<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(self.connection.ask(id, ReopenLog(id.to_owned())))
    }

    fn remove<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(self.connection.ask(id, Remove(id.to_owned())))
    }

    fn shutdown(&self) -> Answer<'_, ()> {
        Box::pin(self.connection.ask(self.connection.pod(), Shutdown()))
    }

    fn dial(&self, netns: Option<PathBuf>, port: u16) -> BoxFuture<'_, Result<TcpStream, EngineError>> {
        Box::pin(super::dial::dial(self.connection.pod(), netns, port))
    }

    /// It lives in the pod's network namespace.
    fn interfaces(&self) -> std::io::Result<Arc<[Interface]>> {
        self.pid().map_or_else(|| Ok(Arc::default()), |pid| self.traffic.read(pid))
    }

    fn stop_counting(&self) {
        self.traffic.close();
    }

    fn pid(&self) -> Option<i32> {
        self.process().map(|(pid, _)| pid)
    }

    fn is_lost(&self) -> bool {
        self.connection.is_closed()
    }

    /// Where it is our child, its status is taken.
    fn gone(&self, limit: Duration) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            match self.process() {
                Some((_, pidfd)) => wait(&pidfd, limit).await,
                None => true,
            }
        })
    }

    fn kill(&self) {
        if let Some((_, pidfd)) = self.process() {
            let _ = pidfd_send_signal(&*pidfd, rustix::process::Signal::KILL);
        }
    }
}

/// Starts shims, and finds them again.
pub(crate) struct ShimLauncher {
    binary: PathBuf,
    /// What those said that were started just now and are not connected to yet, by their process ids.
    greeted: Mutex<HashMap<i32, Result<Greeted<UnixStream>, EngineError>>>,
    warm: Arc<Warm>,
    /// What their containers' mount namespaces are made of.
    bare: Arc<Option<OwnedFd>>,
}

impl ShimLauncher {
    /// # Errors
    /// Metrics of these names are there.
    pub(crate) fn new(binary: PathBuf, metrics: &Registry) -> Result<Self, EngineError> {
        let meter = Meter::register(metrics).map_err(EngineError::Metrics)?;
        let bare = Arc::new(bare_mounts());
        let warm = Arc::new(Warm::new(binary.clone(), bare.clone(), meter));
        Ok(Self { binary, greeted: Mutex::default(), warm, bare })
    }
}

/// Without one, or on a kernel that has no use for it, containers' mount namespaces are copies of the host's.
fn bare_mounts() -> Option<OwnedFd> {
    sys::bare::make()
        .inspect_err(|error| {
            tracing::warn!(
                error = chain(error),
                "starts will take longer the more is mounted: there is no mount namespace to make theirs of"
            );
        })
        .ok()
}

impl Launcher for ShimLauncher {
    fn spawn(&self, pod: &str, files: &PodFiles) -> Result<ShimProcess, EngineError> {
        let listener = listen(files)?;
        failpoint::reach!("engine.run.listening")?;
        let path = files.shim_log();
        let log = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let log = log.map_err(EngineError::io("open", path))?;
        if let Some(process) = self.warm.hand(pod, [listener.as_fd(), log.as_fd()]) {
            match hear(pod, files) {
                Ok(greeted) => {
                    lock(&self.greeted).insert(process.pid, Ok(greeted));
                    self.warm.started_warm();
                    return Ok(process);
                }
                Err(error) => {
                    tracing::warn!(
                        pod_id = pod,
                        error = chain(&error),
                        "a supervisor that waited does not serve: another is started"
                    );
                    end_now(&process.pidfd);
                }
            }
        }
        let args = [SHIM_NAME, pod].map(|text| CString::new(text).unwrap_or_default());
        let environment = failpoint::environment();
        let bare = self.bare.as_ref().as_ref().map(AsFd::as_fd);
        let given = Given { socket: listener.as_fd(), bare, log: Some(log.as_fd()) };
        let process = spawn_shim(&self.binary, given, &args, &environment)
            .map_err(EngineError::sys(format!("start {:?}", self.binary)))?;
        // Held here, it would keep a connection waiting that a shim which has ended takes from nobody.
        drop(listener);
        self.warm.started_cold();
        Ok(process)
    }

    fn keep_warm(&self, most: usize) {
        self.warm.keep(most);
    }

    fn greet(&self, pod: &str, files: &PodFiles, started: &ShimProcess) {
        if lock(&self.greeted).contains_key(&started.pid) {
            return;
        }
        let greeted = hear(pod, files);
        // One that takes longer is waited for without a thread.
        if !matches!(&greeted, Err(EngineError::Supervisor(SupervisorError::Silent { .. }))) {
            lock(&self.greeted).insert(started.pid, greeted);
        }
    }

    fn connect<'a>(
        &'a self,
        pod: &'a str,
        files: &'a PodFiles,
        started: Option<ShimProcess>,
        notify: Notify,
    ) -> BoxFuture<'a, Result<Connected, EngineError>> {
        Box::pin(async move {
            let known = started.as_ref().and_then(|process| lock(&self.greeted).remove(&process.pid));
            let connecting = || EngineError::io("connect to", files.socket());
            let greeted = match known {
                Some(greeted) => greeted.and_then(|greeted| greeted.within_runtime().map_err(connecting())),
                None => greet(pod, files).await,
            };
            let (connection, greeting) = match greeted {
                Ok(greeted) => Connection::new(pod, greeted, notify),
                Err(error) => {
                    if let Some(process) = started {
                        end(process.pidfd).await;
                    }
                    return Err(error);
                }
            };
            let Greeting { pid, pause_pid, containers, .. } = greeting;
            let hello = Hello { pause_pid, containers };
            let (pid, pidfd) = match started {
                Some(process) => (process.pid, process.pidfd),
                None => (pid, watch(pod, files, pid)?),
            };
            let shim = Shim {
                connection,
                process: Mutex::new(Some((pid, Arc::new(pidfd)))),
                traffic: Traffic::default(),
            };
            Ok((Arc::new(shim) as Arc<dyn Supervisor>, hello))
        })
    }

    fn kill(&self, process: ShimProcess) -> BoxFuture<'_, ()> {
        lock(&self.greeted).remove(&process.pid);
        Box::pin(end(process.pidfd))
    }

    fn lives(&self, pod: &str) -> bool {
        LivingSupervisor::all().any(|shim| shim.pod == pod)
    }

    fn strays(&self, pods: &Path) -> Vec<Stray> {
        let own = LivingSupervisor::all().filter(|shim| {
            // Where its reports go tells whose it is: another daemon's state lies elsewhere.
            let log = shim.log().unwrap_or_default();
            log.parent() == Some(&pods.join(&shim.pod))
        });
        own.map(|shim| {
            let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", shim.pid)).unwrap_or_default();
            Stray { pod: shim.pod, cgroups }
        })
        .collect()
    }

    fn kill_lost<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for shim in LivingSupervisor::all().filter(|shim| shim.pod == pod).collect::<Vec<_>>() {
                let until = Instant::now() + DEATH;
                // What it runs first: nobody else knows of it.
                while !sys::process::kill_tree(shim.pid) && Instant::now() < until {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                end(shim.into_pidfd()).await;
            }
        })
    }
}

/// The same as [`greet`], for a moment, on a thread of its own.
fn hear(pod: &str, files: &PodFiles) -> Result<Greeted<UnixStream>, EngineError> {
    let stream = dial(files).map_err(EngineError::io("connect to", files.socket()))?;
    Ok(Greeted::blocking(pod, stream, MOMENT)?)
}

/// Connects, and asks the first question.
async fn greet(pod: &str, files: &PodFiles) -> Result<Greeted<tokio::net::UnixStream>, EngineError> {
    let stream = dial(files).and_then(|stream| {
        stream.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(stream)
    });
    let stream = stream.map_err(EngineError::io("connect to", files.socket()))?;
    Ok(Greeted::waiting(pod, stream, GREETING).await?)
}

/// To tell when a shim that a former daemon started is gone.
fn watch(pod: &str, files: &PodFiles, pid: i32) -> Result<OwnedFd, EngineError> {
    let gone =
        || SupervisorError::Gone { pod: pod.to_owned(), verb: "say what runs in", subject: pod.to_owned() };
    let raw = Pid::from_raw(pid).ok_or_else(gone)?;
    pidfd_open(raw, PidfdFlags::empty())
        .map_err(|errno| EngineError::io("watch the supervisor of", files.dir())(errno.into()))
}

/// Ends a shim that was started and cannot be talked to.
async fn end(pidfd: OwnedFd) {
    let _ = pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
    if !wait(&Arc::new(pidfd), DEATH).await {
        tracing::error!("a supervisor that does not answer does not die either");
    }
}

/// Waits for the process behind a pidfd; true when it is gone.
async fn wait(pidfd: &Arc<OwnedFd>, limit: Duration) -> bool {
    #[expect(
        deprecated,
        reason = "an owned descriptor keeps what the unsafe successor asks its caller to keep"
    )]
    let Ok(ready) = AsyncFd::with_interest(pidfd.clone(), Interest::READABLE) else {
        return false;
    };
    let gone = matches!(tokio::time::timeout(limit, ready.readable()).await, Ok(Ok(_)));
    if gone {
        // A shim that an earlier daemon started is not our child: init takes its status.
        let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
    gone
}

/// Socket addresses hold 108 bytes: a long directory is reached through a descriptor of it.
fn short(held: &fs::File) -> String {
    format!("/proc/self/fd/{}/shim.sock", held.as_raw_fd())
}

pub(super) fn dial(files: &PodFiles) -> std::io::Result<UnixStream> {
    let held = fs::File::open(files.dir())?;
    UnixStream::connect(short(&held))
}

fn listen(files: &PodFiles) -> Result<OwnedFd, EngineError> {
    let held = fs::File::open(files.dir()).map_err(EngineError::io("open", files.dir()))?;
    let bound = UnixListener::bind(Path::new(&short(&held)));
    bound.map(OwnedFd::from).map_err(EngineError::io("listen on", files.socket()))
}
