//! The connection, and one call that makes a job.

use crate::bus::{Bus, BusError};
use crate::error::{SystemdError, SystemdResult};
use crate::jobs::Jobs;
use crate::message::{Body, Message, Target};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

const BUS: &str = "/run/dbus/system_bus_socket";
const PRIVATE: &str = "/run/systemd/private";
const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const REMOVED: &str = "JobRemoved";

/// A connection whose finished jobs are listened to.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    bus: Bus,
    jobs: Arc<Jobs>,
    manager: Target,
}

impl Link {
    /// To the system bus where there is one, else to systemd's own socket.
    pub(crate) async fn open() -> Result<Self, BusError> {
        let bus = Path::new(BUS);
        if bus.exists() { Self::on(bus, true).await } else { Self::on(Path::new(PRIVATE), false).await }
    }

    pub(crate) async fn on(socket: &Path, is_bus: bool) -> Result<Self, BusError> {
        let (sender, signals) = mpsc::unbounded_channel();
        let bus = Bus::connect(socket, is_bus, sender).await?;
        if is_bus {
            let rule = format!("type='signal',interface='{MANAGER}',member='{REMOVED}',path='{PATH}'");
            bus.add_match(&rule).await?;
        }
        let jobs = Arc::new(Jobs::default());
        tokio::spawn(listen(signals, Arc::clone(&jobs)));
        let manager = Target { name: is_bus.then_some(NAME), path: PATH, interface: MANAGER };
        Ok(Self { bus, jobs, manager })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.bus.is_closed() || self.jobs.is_closed()
    }

    /// Calls a method that answers with a job, and waits for the job's end.
    pub(crate) async fn run(
        &self,
        operation: &'static str,
        method: &'static str,
        unit: &str,
        body: &Body,
        limit: Duration,
    ) -> SystemdResult<()> {
        let late = || SystemdError::Late { operation, unit: unit.to_owned(), seconds: limit.as_secs() };
        let ended = |result: String| SystemdError::Job { operation, unit: unit.to_owned(), result };
        // From now on no end is missed, not even one that comes before the call's own answer is read.
        let mut ends = self.jobs.watch(unit);
        let work = async {
            let job = self.call(method, body).await.map_err(|source| SystemdError::Bus {
                operation,
                unit: unit.to_owned(),
                source,
            })?;
            match ends.of(&job).await {
                Some(result) if result == "done" => Ok(()),
                Some(result) => Err(ended(result)),
                None => Err(ended("disconnected".to_owned())),
            }
        };
        tokio::time::timeout(limit, work).await.map_err(|_| late())?
    }

    /// Calls a method of the manager's; the job that it answers with.
    async fn call(&self, method: &str, body: &Body) -> Result<String, BusError> {
        let answer = self.bus.call(self.manager, method, body).await?;
        answer.first_text().map(str::to_owned).ok_or(BusError::Malformed("an answer without a job"))
    }
}

/// Hands every finished job on, until the connection ends.
async fn listen(mut signals: mpsc::UnboundedReceiver<Message>, jobs: Arc<Jobs>) {
    while let Some(signal) = signals.recv().await {
        if signal.interface != MANAGER || signal.member != REMOVED {
            continue;
        }
        match signal.job() {
            Some([job, unit, result]) => jobs.ended(unit, job, result),
            None => {
                tracing::warn!(signature = signal.signature, "systemd says something that is not understood");
            }
        }
    }
    jobs.close();
}
