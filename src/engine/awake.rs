//! Idle CPUs that are kept from sleeping when pods begin to be worked on.
//!
//! A pod's start passes from thread to thread and from process to process a dozen times, and each time a CPU that sleeps has
//! to be woken: in a virtual machine, or from deep sleep, that takes longer than the work that it is woken for. The kernel
//! lets a process ask that idle CPUs stay ready (`/dev/cpu_dma_latency`, PM QoS). They poll for a few milliseconds for a
//! request instead of sleeping, which is CPU time to a hypervisor that counts it, and takes of the core that a sibling thread
//! runs on. The kernel forgets the wish with the process that had it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sys::sync::lock;

const DEVICE: &str = "/dev/cpu_dma_latency";
/// For so long after the beginning of a request: the client's next one comes by then.
pub(crate) const WHILE: Duration = Duration::from_millis(5);
/// The same of a command, of which most are over by then. Those of probes come one by one and all day.
pub(crate) const COMMAND: Duration = Duration::from_millis(2);
/// Microseconds that a CPU may take to wake: none.
const READY: i32 = 0;
/// What the kernel takes for no wish (`PM_QOS_CPU_LATENCY_DEFAULT_VALUE`).
const WHATEVER: i32 = 2_000_000_000;

/// The wish that CPUs stay awake.
#[derive(Debug, Default)]
pub(crate) struct Awake(Option<Arc<Wish>>);

#[derive(Debug)]
struct Wish {
    device: File,
    /// When it ends, while there is one.
    until: Mutex<Option<Instant>>,
}

impl Awake {
    /// The host's CPUs; where they cannot be asked, nothing is kept awake.
    pub(crate) fn of_host() -> Self {
        Self::through(OpenOptions::new().write(true).open(DEVICE))
    }

    fn through(device: std::io::Result<File>) -> Self {
        match device {
            Ok(device) => Self(Some(Arc::new(Wish { device, until: Mutex::default() }))),
            Err(error) => {
                tracing::debug!(%error, "{DEVICE} cannot be opened: CPUs that sleep make pods' starts slower");
                Self(None)
            }
        }
    }

    /// From now on for a while. Within a runtime of tokio.
    pub(crate) fn stay(&self, time: Duration) {
        let Some(wish) = self.0.as_ref().filter(|wish| wish.begins(Instant::now() + time)) else { return };
        let wish = wish.clone();
        tokio::spawn(async move {
            while let Some(until) = wish.ends(Instant::now()) {
                tokio::time::sleep_until(until.into()).await;
            }
        });
    }
}

impl Wish {
    /// Has it last until then at least; whether there was none.
    fn begins(&self, end: Instant) -> bool {
        let mut until = lock(&self.until);
        let is_new = until.is_none();
        *until = (*until).max(Some(end));
        if is_new {
            self.tell(READY);
        }
        is_new
    }

    /// When it ends; `None` once it has ended.
    fn ends(&self, now: Instant) -> Option<Instant> {
        let mut until = lock(&self.until);
        if until.is_some_and(|until| until <= now) {
            *until = None;
            self.tell(WHATEVER);
        }
        *until
    }

    fn tell(&self, microseconds: i32) {
        // One that is not taken costs time, and nothing else.
        let _ = (&self.device).write_all(&microseconds.to_ne_bytes());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Read;

    /// What the device, which is a file here, was told since the last look.
    fn told(seen: &mut File) -> Vec<i32> {
        let mut bytes = Vec::new();
        seen.read_to_end(&mut bytes).unwrap();
        bytes.chunks_exact(4).map(|word| i32::from_ne_bytes(word.try_into().unwrap())).collect()
    }

    #[test]
    fn requests_that_follow_each_other_are_one_wish_that_ends() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut seen = file.reopen().unwrap();
        let wish = Wish { device: file.reopen().unwrap(), until: Mutex::default() };
        let mut told = || told(&mut seen);
        let begin = Instant::now();
        let at = |quarters: u32| begin + WHILE * quarters / 4;
        assert!(wish.begins(at(4)) && !wish.begins(at(4)) && !wish.begins(at(6)) && !wish.begins(at(5)));
        assert_eq!(wish.ends(at(5)), Some(at(6)), "another request has longer");
        assert_eq!(told(), [READY]);
        assert_eq!(wish.ends(at(6)), None);
        assert_eq!(told(), [WHATEVER]);
        assert_eq!(wish.ends(at(60)), None);
        assert!(told().is_empty(), "nobody asked");
        assert!(wish.begins(at(65)));
        assert_eq!(told(), [READY]);
    }

    #[tokio::test]
    async fn without_the_device_nothing_is_asked() {
        Awake::through(Err(std::io::ErrorKind::NotFound.into())).stay(WHILE);
        Awake::default().stay(WHILE);
    }
}
