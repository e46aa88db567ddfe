//! A plugin for the Node Resource Interface that is connected whenever there is a daemon, unless it is away.

use nri::api::{ContainerAdjustment, CreateContainerResponse, KeyValue};
use nri::testing::{Manner, Plugin, answer};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;

const SOCKET: &str = "/var/run/nri/nri.sock";
const AGAIN: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Shared {
    is_away: AtomicBool,
    calls: AtomicU64,
    visits: AtomicU64,
}

/// The plugin.
#[derive(Clone, Default)]
pub(crate) struct Guest(Arc<Shared>);

impl Guest {
    /// Connects, and again whenever it was let go.
    pub(crate) fn come(tokio: &Runtime) -> Self {
        let guest = Self::default();
        tokio.spawn(guest.clone().stay());
        guest
    }

    /// Dies, or comes again.
    pub(crate) fn leave(&self, away: bool) {
        self.0.is_away.store(away, Ordering::Relaxed);
    }

    fn is_away(&self) -> bool {
        self.0.is_away.load(Ordering::Relaxed)
    }

    /// How often it has joined, and how much it was asked.
    pub(crate) fn figures(&self) -> (u64, u64) {
        (self.0.visits.load(Ordering::Relaxed), self.0.calls.load(Ordering::Relaxed))
    }

    async fn stay(self) {
        loop {
            if !self.is_away()
                && let Ok(plugin) = Plugin::join(Path::new(SOCKET), self.manner()).await
            {
                self.0.visits.fetch_add(1, Ordering::Relaxed);
                let away = async {
                    while !self.is_away() {
                        tokio::time::sleep(AGAIN).await;
                    }
                };
                tokio::select! {
                    _ = plugin.ended() => {}
                    () = away => {}
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn manner(&self) -> Manner {
        let shared = Arc::clone(&self.0);
        Manner::new("50", "guest").answering(move |call| {
            shared.calls.fetch_add(1, Ordering::Relaxed);
            let env = vec![KeyValue { key: "FROM_PLUGIN".to_owned(), value: "hello".to_owned() }];
            let adjust = Some(ContainerAdjustment { env, ..ContainerAdjustment::default() });
            let adjusted = CreateContainerResponse { adjust, ..CreateContainerResponse::default() };
            (call.method == "CreateContainer").then(|| answer(&adjusted))
        })
    }
}
