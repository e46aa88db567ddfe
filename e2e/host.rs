//! A host below a directory: what this machine's root has, with changes that nobody else sees, and a stand-in for systemd that
//! knows one service.

use crate::cluster::Component;
use crate::command;
use crate::error::{Context, Error};
use crate::isolation::Isolation;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Hands its arguments over to who plays systemd outside, as the real one does over a socket.
const SYSTEMCTL: &str = "#!/bin/sh\nid=$$\ncd /run/systemctl\necho \"$*\" >$id.new && mv $id.new $id.ask\n\
    while [ ! -e $id.told ]; do sleep 0.05; done\nread -r code <$id.told\nrm $id.told\nexit $code\n";
const WANTS: &str = "etc/systemd/system/multi-user.target.wants";

/// The host; dropping it ends its daemon.
#[derive(Debug)]
pub struct Host {
    root: PathBuf,
    upper: PathBuf,
    over: Arc<AtomicBool>,
    pid: Arc<AtomicI32>,
    asked: Arc<Mutex<Vec<String>>>,
    kubelet: Arc<Mutex<Option<Component>>>,
    systemd: Option<JoinHandle<()>>,
}

impl Host {
    /// Makes one in an isolation that the calling thread has entered.
    ///
    /// # Errors
    /// When a system call fails.
    pub fn make(isolation: &Isolation) -> Result<Self, Error> {
        let [above, upper, work] = ["node", "node-upper", "node-work"].map(|name| isolation.directory(name));
        let (above, upper, work) = (above?, upper?, work?);
        // pivot_root(2) takes no root whose parent is shared, as a cluster's is.
        attach(&above.display().to_string(), &above, MsFlags::MS_BIND, None)?;
        attach("none", &above, MsFlags::MS_PRIVATE, None)?;
        let root = above.join("root");
        fs::create_dir(&root).at("create", &root)?;
        let options = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
        attach("overlay", &root, MsFlags::empty(), Some(&options))?;
        attach("none", &root, MsFlags::MS_SHARED, None)?;
        for own in ["run", "var/lib", "tmp"] {
            attach("tmpfs", &root.join(own), MsFlags::empty(), Some("mode=755"))?;
        }
        for shared in ["proc", "sys", "dev"] {
            let from = format!("/{shared}");
            attach(&from, &root.join(shared), MsFlags::MS_BIND | MsFlags::MS_REC, None)?;
        }
        for directory in ["run/systemd/system", "run/systemctl", WANTS] {
            let path = root.join(directory);
            fs::create_dir_all(&path).at("create", &path)?;
        }
        let systemctl = root.join("usr/bin/systemctl");
        let _ = fs::remove_file(&systemctl);
        fs::write(&systemctl, SYSTEMCTL).at("write", &systemctl)?;
        fs::set_permissions(&systemctl, PermissionsExt::from_mode(0o755)).at("change", &systemctl)?;
        let (over, pid, asked, kubelet) =
            (Arc::default(), Arc::default(), Arc::default(), Arc::<Mutex<Option<Component>>>::default());
        let mut systemd = Systemd {
            root: root.clone(),
            over: Arc::clone(&over),
            pid: Arc::clone(&pid),
            asked: Arc::clone(&asked),
            kubelet: Arc::clone(&kubelet),
            daemon: None,
        };
        let systemd = std::thread::Builder::new()
            .name("systemd".to_owned())
            .spawn(move || systemd.serve())
            .at("start", "a thread")?;
        Ok(Self { root, upper, over, pid, asked, kubelet, systemd: Some(systemd) })
    }

    /// Has a directory of the machine, with what is mounted below it, in the same place of the host.
    ///
    /// # Errors
    /// When a system call fails.
    pub fn share(&self, path: &Path) -> Result<(), Error> {
        let target = self.root.join(path.strip_prefix("/").unwrap_or(path));
        attach(&path.display().to_string(), &target, MsFlags::MS_BIND | MsFlags::MS_REC, None)
    }

    /// From now on a component is the unit `kubelet.service` of the host; `None` takes it away again.
    pub fn keep_kubelet(&self, kubelet: Option<Component>) -> Option<Component> {
        let mut kept = self.kubelet.lock().ok()?;
        std::mem::replace(&mut *kept, kubelet)
    }

    /// Where its root is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The process of its daemon, 0 where there is none.
    pub fn pid(&self) -> i32 {
        self.pid.load(Ordering::SeqCst)
    }

    /// What systemctl was asked for until now.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().map(|asked| asked.clone()).unwrap_or_default()
    }

    /// Every file that is another than this machine's, and all of `/var/lib`: mode, owner and bytes, or where a link leads.
    pub fn files(&self) -> BTreeMap<PathBuf, (u32, u32, Vec<u8>)> {
        let mut found = BTreeMap::new();
        for directory in [self.upper.clone(), self.root.join("var/lib")] {
            descend(&directory, &mut found);
        }
        found
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(Err(_)) = self.systemd.take().map(JoinHandle::join) {
            eprintln!("the stand-in of systemd has failed");
        }
    }
}

fn attach(source: &str, target: &Path, flags: MsFlags, options: Option<&str>) -> Result<(), Error> {
    fs::create_dir_all(target).at("create", target)?;
    let kind = if flags.is_empty() { Some(source) } else { None };
    mount(Some(source), target, kind, flags, options)
        .map_err(|source| Error::System { operation: "mount a part of a host", source })
}

fn descend(path: &Path, found: &mut BTreeMap<PathBuf, (u32, u32, Vec<u8>)>) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() {
            descend(&path, found);
            continue;
        }
        let bytes = match fs::read_link(&path) {
            Ok(target) => target.into_os_string().into_encoded_bytes(),
            Err(_) => fs::read(&path).unwrap_or_default(),
        };
        found.insert(path, (meta.mode(), meta.uid(), bytes));
    }
}

/// What plays systemd.
struct Systemd {
    root: PathBuf,
    over: Arc<AtomicBool>,
    pid: Arc<AtomicI32>,
    asked: Arc<Mutex<Vec<String>>>,
    kubelet: Arc<Mutex<Option<Component>>>,
    daemon: Option<Child>,
}

impl Systemd {
    fn serve(&mut self) {
        let desk = self.root.join("run/systemctl");
        while !self.over.load(Ordering::SeqCst) {
            for entry in fs::read_dir(&desk).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.extension().is_some_and(|kind| kind == "ask") {
                    let line = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
                    let _ = fs::remove_file(&path);
                    let code = i32::from(!self.answer(&line));
                    if let Ok(mut asked) = self.asked.lock() {
                        asked.push(line);
                    }
                    let new = path.with_extension("code");
                    let _ = fs::write(&new, format!("{code}\n"));
                    let _ = fs::rename(&new, path.with_extension("told"));
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.stop();
    }

    fn answer(&mut self, line: &str) -> bool {
        let link = self.root.join(WANTS).join("corten.service");
        match line {
            "enable corten.service" => {
                link.is_symlink() || symlink("/usr/local/lib/systemd/system/corten.service", link).is_ok()
            }
            "disable --now corten.service" => {
                self.stop();
                fs::remove_file(link).is_ok()
            }
            "restart corten.service" => {
                self.stop();
                self.start()
            }
            "restart kubelet.service" => {
                let kubelet = self.kubelet.lock();
                kubelet.is_ok_and(|mut kept| kept.as_mut().is_some_and(|kept| kept.restart().is_ok()))
            }
            "start corten.service" => self.daemon.is_some() || self.start(),
            _ => line == "daemon-reload",
        }
    }

    /// As the unit says, and ready as it is: once the socket answers.
    fn start(&mut self) -> bool {
        let unit = self.root.join("usr/local/lib/systemd/system/corten.service");
        let text = fs::read_to_string(unit).unwrap_or_default();
        let Some(line) = text.lines().find_map(|line| line.strip_prefix("ExecStart=")) else { return false };
        let log = OpenOptions::new().create(true).append(true).open(self.root.join("run/corten.log"));
        let Ok(log) = log else { return false };
        let daemon = Command::new("/usr/sbin/chroot")
            .arg(&self.root)
            .args(line.split(' '))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let Ok(mut daemon) = daemon else { return false };
        let end = Instant::now() + Duration::from_secs(60);
        let socket = self.root.join("run/corten/corten.sock");
        while UnixStream::connect(&socket).is_err() {
            if Instant::now() > end || !matches!(daemon.try_wait(), Ok(None)) {
                let _ = daemon.kill();
                let _ = daemon.wait();
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.pid.store(daemon.id().cast_signed(), Ordering::SeqCst);
        self.daemon = Some(daemon);
        true
    }

    /// The daemon alone (KillMode=process).
    fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = kill(Pid::from_raw(daemon.id().cast_signed()), Signal::SIGTERM);
            command::wait(&mut daemon, Duration::from_secs(45));
            self.pid.store(0, Ordering::SeqCst);
        }
    }
}
