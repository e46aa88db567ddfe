//! What the host can do, tried out in a process of its own.

use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use launch::Failure;
use sys::fd::{namespace, propagation};
use sys::process::SingleThread;
use sys::{SysError, mount, process, userns};
use wire::plan::RootfsPlan;

/// Tries to mount a container's root in a user namespace, with all of its directories below `dir`; says on stdout why
/// that does not work.
pub(crate) fn user_namespace(dir: &Path) -> ExitCode {
    match attempt(dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("{}", failure.message);
            ExitCode::FAILURE
        }
    }
}

fn attempt(dir: &Path) -> Result<(), Failure> {
    let single = SingleThread::claim()?;
    process::unshare(namespace::MOUNT)?;
    mount::classic(b"", b"/", b"", propagation::PRIVATE | propagation::RECURSIVE, b"")?;
    let path = |name: &str| {
        let path = dir.join(name);
        std::fs::create_dir_all(&path).map_err(SysError::io("mkdir", &path))?;
        Ok::<_, SysError>(path.as_os_str().as_encoded_bytes().to_vec())
    };
    let plan = RootfsPlan {
        layers: vec![path("layers/one")?, path("layers/two")?],
        upper: path("upper")?,
        work: path("work")?,
        mountpoint: path("root")?,
        ..RootfsPlan::default()
    };
    let ids = [(0, 0x1_0000, 0x1_0000)];
    let userns = userns::create(&single, &ids, &ids)?;
    launch::probe_mapped(&plan, userns.as_fd())
}
