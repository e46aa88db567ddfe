//! A plugin's life: it says who it is, is told of everything that is there, is asked, and goes.

mod register;
mod requests;
mod synchronize;

use crate::api::{ConfigureRequest, ConfigureResponse, Event};
use crate::counters::Counters;
use crate::link::{CallError, INCOMING, Incoming, Link};
use crate::plugin::{Identity, Phase, Plugin, bit};
use crate::quiet::told;
use crate::roster::Known;
use crate::runtime::{Core, Starting};
use crate::settings::Settings;
use crate::status::Origin;
use crate::trunk::{PLUGIN, RUNTIME};
use crate::ttrpc;
use prost::Message;
pub(crate) use register::Name;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

/// The version of the interface that is spoken here.
const VERSION: &str = "v0.12.5";
/// What somebody may say who has not said yet who he is.
const STRANGER: usize = 64 << 10;
/// Plugins at once.
const PLUGINS: usize = 64;

/// Somebody who has connected.
pub(crate) struct Newcomer {
    pub(crate) socket: UnixStream,
    pub(crate) origin: Origin,
    pub(crate) pid: Option<u32>,
    /// Of one that was started here.
    pub(crate) installed: Option<Installed>,
}

/// What is known of a plugin that was started here.
pub(crate) struct Installed {
    pub(crate) name: Name,
    pub(crate) configuration: String,
    /// Its first start, which is awaited.
    pub(crate) starting: Option<Starting>,
}

/// Why somebody has not become a plugin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    #[error("it did not register within nri.plugin_registration_timeout_ms ({} s)", .0.as_secs_f64())]
    Late(Duration),
    #[error("it did not register: {0}")]
    Unregistered(String),
    #[error(
        "it is called {0:?}, which is no name of a plugin: two digits, a dash, and letters, digits or any of -_.+"
    )]
    Name(String),
    #[error("it may not come back for {0:?}, as it did not let itself be told what is there")]
    Impatient(Duration),
    #[error("another {0:?} is there")]
    Duplicate(String),
    #[error("the settings do not let it in")]
    Unwanted,
    #[error("there are {PLUGINS} plugins already")]
    Full,
    #[error("it does not take its configuration: {0}")]
    Configure(CallError),
    #[error("it subscribes to events that there are not: {0:#x}")]
    Events(u32),
    #[error("it does not let itself be told what is there: {0}")]
    Synchronize(CallError),
    #[error("it does not take what is there in several messages")]
    Split,
}

/// Closes the connection at the end, whatever that is.
struct Connection(Link);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.end("it is not served any more");
    }
}

/// A plugin in the list; it leaves with this.
struct Member<'a> {
    core: &'a Core,
    plugin: Arc<Plugin>,
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        if self.plugin.advance(Phase::Gone) == Phase::Ready {
            self.plugin.counters.left(self.plugin.identity.origin);
        }
        self.core.roster.leave(&self.plugin);
        self.core.tell_required();
    }
}

/// Serves a plugin until it is gone, and says why it was not taken in, where it was not.
pub(crate) async fn serve(
    core: Arc<Core>,
    newcomer: Newcomer,
    stranger: Option<OwnedSemaphorePermit>,
) -> Option<JoinError> {
    let (pid, origin) = (newcomer.pid, newcomer.origin);
    tokio::select! {
        lived = live(&core, newcomer, stranger) => if let Err((name, error)) = lived {
            if let Some(name) = &name {
                core.counters.of(name).kept_out(&error.to_string());
            }
            let may_say = core.complaints.lock().map_or(Some(0), |mut quiet| quiet.may_say());
            if let Some(unsaid) = may_say {
                let unsaid = told(unsaid);
                tracing::warn!(plugin = name, pid, ?origin, %error, unsaid, "a plugin is not taken in");
            }
            return Some(error);
        },
        () = core.stop.cancelled() => {}
    }
    None
}

/// Until it is gone. The name is what is known of it by then.
async fn live(
    core: &Arc<Core>,
    newcomer: Newcomer,
    stranger: Option<OwnedSemaphorePermit>,
) -> Result<(), (Option<String>, JoinError)> {
    let settings = Arc::clone(&core.roster.current().settings);
    let Newcomer { socket, origin, pid, installed } = newcomer;
    let (link, mut incoming) = Link::new(socket, (PLUGIN, RUNTIME), (STRANGER, INCOMING));
    let connection = Connection(link);
    let link = &connection.0;
    let (installed, configuration, starting) = match installed {
        Some(one) => (Some(one.name), one.configuration, one.starting),
        None => (None, String::new(), None),
    };
    let started = installed.as_ref().map(Name::full);
    let registered =
        timeout(settings.registration_timeout, register::wait(core, link, &mut incoming, installed));
    let name = match registered.await {
        Ok(Ok(name)) => name,
        Ok(Err((name, error))) => return Err((name.as_ref().map(Name::full), error)),
        Err(_) => return Err((started, JoinError::Late(settings.registration_timeout))),
    };
    let told = name.full();
    let plain = |error| (Some(told.clone()), error);
    link.set_limit(ttrpc::LIMIT);
    let counters = core.counters.of(&told);
    let wanted = configure(link, &counters, &settings, configuration);
    let wanted = wanted.await.map_err(plain)?;
    let (events, policy) = (wanted.events.cast_unsigned(), wanted.failure_policy.unwrap_or_default());
    let identity = Identity { index: name.index, base: name.base, origin, pid, events, policy };
    let plugin = Arc::new(Plugin::new(identity, link.clone(), counters));
    drop(stranger);
    stay(core, &plugin, incoming, (&settings, starting)).await.map_err(plain)
}

/// Tells of everything that is there; what plugins are asked from then on, it is asked, too.
async fn stay(
    core: &Arc<Core>,
    plugin: &Arc<Plugin>,
    incoming: mpsc::Receiver<Incoming>,
    (settings, starting): (&Settings, Option<Starting>),
) -> Result<(), JoinError> {
    let turn = core.joining.lock().await;
    let joined = core.roster.join(plugin);
    let member = Member { core, plugin: Arc::clone(plugin) };
    core.tasks.spawn(requests::answer(Arc::clone(core), Arc::clone(plugin), incoming));
    // They may have changed since it came; whoever is in the list by then is let go by who changes them.
    if !core.lets_in(plugin.identity.origin) {
        return Err(JoinError::Unwanted);
    }
    let Some(node) = core.node() else { return Ok(()) };
    let told = timeout(settings.synchronize_timeout, async {
        let (pods, containers) = node.snapshot().await;
        // It is set once.
        let _ = joined.known.set(Known::of(&pods, &containers));
        plugin.joins_with(&containers);
        // What is told is long, and verbs wait for it.
        let limit = settings.synchronize_timeout.min(2 * settings.request_timeout);
        synchronize::tell(plugin, pods, containers, limit).await
    });
    let told =
        told.await.unwrap_or(Err(JoinError::Synchronize(CallError::Timeout(settings.synchronize_timeout))));
    plugin.counters.joined(told.is_ok());
    let updates = told?;
    plugin.advance(Phase::Ready);
    drop((turn, starting));
    plugin.counters.connected(plugin.identity.origin);
    core.tell_required();
    tracing::info!(
        plugin = plugin.name, pid = plugin.identity.pid, origin = ?plugin.identity.origin, "a plugin has joined"
    );
    for failed in core.change(&plugin.name, updates, Vec::new()).await {
        tracing::warn!(
            plugin = plugin.name,
            container = failed.container_id,
            "a container could not be changed"
        );
    }
    let reason = plugin.ended().await;
    plugin.counters.gone(plugin.identity.origin, &reason, None);
    drop(member);
    tracing::info!(plugin = plugin.name, reason, "a plugin is gone");
    Ok(())
}

async fn configure(
    link: &Link,
    counters: &Counters,
    settings: &Settings,
    config: String,
) -> Result<ConfigureResponse, JoinError> {
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let request = ConfigureRequest {
        config,
        runtime_name: "corten".to_owned(),
        runtime_version: settings.runtime_version.clone(),
        registration_timeout: millis(settings.registration_timeout),
        request_timeout: millis(settings.request_timeout),
        nri_version: VERSION.to_owned(),
    };
    let method = ("nri.pkg.api.v1alpha1.Plugin", "Configure");
    let begun = Instant::now();
    let answer = link.call(method, request.encode_to_vec(), settings.request_timeout).await;
    let outcome = match &answer {
        Ok(_) => crate::counters::Outcome::Answered,
        Err(CallError::Status { .. }) => crate::counters::Outcome::Refused,
        Err(_) => crate::counters::Outcome::Unanswered,
    };
    counters.called(method.1, outcome, begun.elapsed());
    let bytes = answer.map_err(JoinError::Configure)?;
    let mut wanted = ConfigureResponse::decode(bytes.as_slice())
        .map_err(|error| JoinError::Configure(CallError::Malformed(error.to_string())))?;
    let all = bit(Event::Last).wrapping_sub(1);
    match wanted.events.cast_unsigned() {
        0 => wanted.events = all.cast_signed(),
        events if events & !all != 0 => return Err(JoinError::Events(events & !all)),
        _ => {}
    }
    Ok(wanted)
}
