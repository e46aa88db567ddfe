//! What happens at failpoints in a program that has them.

use crate::setting::{self, Action, Reason, Setting, SettingError};
use crate::{Injected, Site};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The setting.
const SETTING: &str = "CORTEN_FAILPOINTS";
/// A directory that gets a file `NAME.N` at the Nth time that a failpoint of the setting is reached, over all processes: a
/// supervisor and the children that it forks count on with the daemon, wherever they are.
const REACHED: &str = "CORTEN_FAILPOINTS_REACHED";

struct Armed {
    settings: HashMap<&'static str, (Setting, AtomicU64)>,
    reached: Option<OwnedFd>,
    environment: Vec<CString>,
}

static ARMED: OnceLock<Armed> = OnceLock::new();

/// Reads what the environment says.
///
/// # Errors
/// What is wrong with it.
pub fn arm() -> Result<(), SettingError> {
    let Ok(text) = std::env::var(SETTING) else { return Ok(()) };
    let settings = setting::parse(&text)?;
    let mut environment = vec![format!("{SETTING}={text}")];
    let mut reached = None;
    if let Some(directory) = std::env::var_os(REACHED) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&directory, flags, Mode::empty());
        let failed = |errno: Errno| SettingError::Directory((&directory).into(), Reason(errno.to_string()));
        reached = Some(opened.map_err(failed)?);
        environment.push(format!("{REACHED}={}", directory.to_string_lossy()));
    }
    let settings = settings.into_iter().map(|one| (one.point.name, (one, AtomicU64::new(0)))).collect();
    let environment = environment.into_iter().filter_map(|one| CString::new(one).ok()).collect();
    // Once is enough: the environment does not change.
    let _ = ARMED.set(Armed { settings, reached, environment });
    Ok(())
}

/// What a program that is started must find in its environment to do the same.
#[must_use]
pub fn environment() -> Vec<CString> {
    ARMED.get().map(|armed| armed.environment.clone()).unwrap_or_default()
}

/// A descriptor that a child must keep which closes what it has.
#[must_use]
pub fn descriptor() -> Option<RawFd> {
    ARMED.get()?.reached.as_ref().map(AsRawFd::as_raw_fd)
}

pub(crate) fn hit(site: Site) -> Result<(), Injected> {
    let Some(armed) = ARMED.get() else { return Ok(()) };
    let Some((setting, count)) = armed.settings.get(site.name()) else { return Ok(()) };
    let number = armed.note(site).unwrap_or_else(|| count.fetch_add(1, Ordering::Relaxed) + 1);
    if setting.only.is_some_and(|only| only != number) {
        return Ok(());
    }
    match setting.action {
        #[expect(clippy::disallowed_methods, reason = "a kill is what the test asks for")]
        Action::Abort => std::process::abort(),
        Action::Fail(errno) => Err(Injected { name: site.name(), errno }),
        Action::Delay(time) => {
            std::thread::sleep(time);
            Ok(())
        }
    }
}

impl Armed {
    /// The number of this time over all processes, where they count.
    fn note(&self, site: Site) -> Option<u64> {
        let directory = self.reached.as_ref()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        for number in 1.. {
            match rustix::fs::openat(directory, format!("{}.{number}", site.name()), flags, Mode::RUSR) {
                Ok(_) => return Some(number),
                Err(Errno::EXIST) => {}
                Err(_) => return None,
            }
        }
        None
    }
}
