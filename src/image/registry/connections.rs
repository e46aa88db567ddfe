//! Connections that pulls have in common: one that begins while another is under way, or soon after, has no hands to shake.

use super::names::Resolver;
use super::words::causes;
use crate::digest::Digest;
use crate::hosts::{HostsError, Tls};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use sys::sync::lock;

/// How long connections may be used by pulls that begin later, though none is under way.
const LINGER: Duration = Duration::from_secs(10);
/// How long one is kept that nobody uses: no longer than nobody on the way forgets it.
const IDLE: Duration = Duration::from_secs(2);
/// Most of them that are kept so, of a host.
const MOST_IDLE: usize = 16;

/// What tells who may share a connection from who may not. Credentials come with each request.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    tls: Digest,
    dial_timeout: Duration,
}

/// Connections to whichever hosts are spoken to in the same way.
pub(super) struct Http {
    /// For documents and tokens.
    pub documents: reqwest::Client,
    /// For layers: each request that is under way has a connection of its own. HTTP/2 would put all of them on one, whose rate
    /// would be that of all.
    pub layers: reqwest::Client,
}

/// Those of all pulls.
#[derive(Default)]
pub(crate) struct Connections(Mutex<HashMap<Key, Weak<Http>>>);

impl Connections {
    /// Those that are there, or new ones.
    ///
    /// # Errors
    /// When TLS cannot be spoken.
    pub(super) fn of(
        &self,
        tls: Tls,
        dial_timeout: Duration,
        names: &Arc<Resolver>,
    ) -> Result<Arc<Http>, HostsError> {
        let key = Key { tls: tls.identity.clone(), dial_timeout };
        let mut table = lock(&self.0);
        let http = match table.get(&key).and_then(Weak::upgrade) {
            Some(http) => http,
            None => {
                let http = Arc::new(Http::new(tls, dial_timeout, names)?);
                table.retain(|_, http| http.strong_count() > 0);
                table.insert(key, Arc::downgrade(&http));
                http
            }
        };
        let kept = Arc::clone(&http);
        tokio::spawn(async move {
            tokio::time::sleep(LINGER).await;
            drop(kept);
        });
        Ok(http)
    }
}

impl Http {
    fn new(tls: Tls, dial_timeout: Duration, names: &Arc<Resolver>) -> Result<Self, HostsError> {
        let Tls { mut config, .. } = tls;
        let mut build = |protocols: &[&[u8]]| {
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            reqwest::Client::builder()
                .tls_backend_preconfigured(config.clone())
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .connect_timeout(dial_timeout)
                .dns_resolver(names.within(dial_timeout))
                .http2_adaptive_window(true)
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(MOST_IDLE)
                .user_agent(concat!("corten/", env!("CARGO_PKG_VERSION")))
        };
        let failed = |error| HostsError::Tls(causes(&error));
        let documents = build(&[b"h2", b"http/1.1"]).build().map_err(failed)?;
        let layers = build(&[b"http/1.1"]).http1_only().build().map_err(failed)?;
        Ok(Self { documents, layers })
    }
}
