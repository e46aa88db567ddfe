//! The connection, and one call that makes a job.

use crate::error::{SystemdError, SystemdResult};
use crate::jobs::Jobs;
use futures::StreamExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use zbus::{Connection, DynamicType, MatchRule, MessageStream, OwnedObjectPath, connection, message};

const BUS: &str = "/run/dbus/system_bus_socket";
const PRIVATE: &str = "/run/systemd/private";
const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// A connection whose finished jobs are listened to.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    connection: Connection,
    jobs: Arc<Jobs>,
    /// The peer's name on the bus; on systemd's own socket nobody has one.
    name: Option<&'static str>,
}

impl Link {
    pub(crate) async fn open() -> zbus::Result<Self> {
        let (connection, name) = if Path::new(BUS).exists() {
            (connection::Builder::system().build().await?, Some(NAME))
        } else {
            let address = format!("unix:path={PRIVATE}");
            (connection::Builder::address(address.as_str()).p2p().build().await?, None)
        };
        let rule = MatchRule::builder()
            .msg_type(message::Type::Signal)
            .interface(MANAGER)
            .member("JobRemoved")
            .path(PATH)
            .build()?;
        let removed = MessageStream::for_match_rule(rule, &connection, None).await?;
        let jobs = Arc::new(Jobs::default());
        tokio::spawn(listen(removed, jobs.clone()));
        Ok(Self { connection, jobs, name })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.connection.is_closed() || self.jobs.is_closed()
    }

    /// Calls a method that answers with a job, and waits for the job's end.
    pub(crate) async fn run<B: serde::Serialize + DynamicType>(
        &self,
        operation: &'static str,
        method: &'static str,
        unit: &str,
        body: &B,
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
                source: Box::new(source),
            })?;
            match ends.of(&job).await {
                Some(result) if result == "done" => Ok(()),
                Some(result) => Err(ended(result)),
                None => Err(ended("disconnected".to_owned())),
            }
        };
        tokio::time::timeout(limit, work).await.map_err(|_| late())?
    }

    async fn call<B: serde::Serialize + DynamicType>(&self, method: &str, body: &B) -> zbus::Result<String> {
        let reply = self.connection.call_method(self.name, PATH, Some(MANAGER), method, body).await?;
        Ok(reply.body().deserialize::<OwnedObjectPath>()?.to_string())
    }
}

/// Hands every finished job on, until the connection ends.
async fn listen(mut removed: MessageStream, jobs: Arc<Jobs>) {
    while let Some(Ok(message)) = removed.next().await {
        let body = message.body();
        match body.deserialize::<(u32, OwnedObjectPath, &str, &str)>() {
            Ok((_, job, unit, result)) => jobs.ended(unit, job.as_str(), result),
            Err(error) => tracing::warn!(%error, "systemd says something that is not understood"),
        }
    }
    jobs.close();
}
