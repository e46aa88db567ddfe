//! The files of operators that pulls read, on threads of their own: where one is on a network's filesystem, it may keep
//! whoever reads it waiting for ever.

use super::{CertsDirs, Host, HostsError, Tls, client_config, passed_over, resolve, resolve_with_source};
use crate::aside::Aside;
use crate::error::ImageError;
use crate::reference::Reference;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use sys::sync::lock;
use tokio::sync::Semaphore;

/// Most threads.
const THREADS: usize = 32;
/// Most of them that wait for the files of one registry.
const OF_A_REGISTRY: usize = 4;
/// How long a filesystem may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A host, for whoever asks and does not pull.
pub(crate) struct FoundHost {
    pub(crate) host: Host,
    /// Why TLS cannot be spoken to it.
    pub(crate) problem: Option<String>,
}

/// What there is for a registry, for whoever asks and does not pull.
pub(crate) struct FoundHosts {
    /// The file or directory that decided.
    pub(crate) source: Option<PathBuf>,
    /// Others for the same registry, in later directories.
    pub(crate) passed_over: Vec<PathBuf>,
    pub(crate) hosts: Vec<FoundHost>,
}

/// Reads the files of registries, for all pulls.
pub(crate) struct Files {
    aside: Aside,
    /// By registry.
    places: Mutex<HashMap<String, Arc<Semaphore>>>,
    patience: Duration,
}

impl Files {
    /// # Errors
    /// When there can be no threads.
    pub(crate) fn new() -> Result<Self, ImageError> {
        let aside = Aside::new("files", THREADS)?;
        Ok(Self { aside, places: Mutex::default(), patience: PATIENCE })
    }

    /// The hosts for a reference in the order to ask them, each with how TLS is spoken to it.
    ///
    /// # Errors
    /// As [`resolve`], and when a certificate or key file is unusable.
    pub(crate) async fn hosts(
        &self,
        certs_dirs: &CertsDirs,
        reference: &Reference,
    ) -> Result<Vec<(Host, Tls)>, HostsError> {
        let (paths, reference) = (certs_dirs.clone(), reference.clone());
        let registry = reference.registry().to_owned();
        let work = move || {
            let hosts = resolve(&paths, &reference)?.into_iter();
            hosts.map(|host| client_config(&host).map(|tls| (host, tls))).collect()
        };
        self.read(certs_dirs, &registry, work).await
    }

    /// As [`resolve_with_source`].
    ///
    /// # Errors
    /// As [`resolve`].
    pub(crate) async fn hosts_with_source(
        &self,
        certs_dirs: &CertsDirs,
        reference: &Reference,
    ) -> Result<FoundHosts, HostsError> {
        let (paths, reference) = (certs_dirs.clone(), reference.clone());
        let registry = reference.registry().to_owned();
        let look = |host: Host| {
            let problem = client_config(&host).err().map(|error| error.to_string());
            FoundHost { host, problem }
        };
        let work = move || {
            let (source, hosts) = resolve_with_source(&paths, &reference)?;
            let passed_over = source.as_ref().map(|source| passed_over(&paths, source, &reference));
            let passed_over = passed_over.unwrap_or_default();
            Ok(FoundHosts { source, passed_over, hosts: hosts.into_iter().map(look).collect() })
        };
        self.read(certs_dirs, &registry, work).await
    }

    async fn read<T: Send + 'static>(
        &self,
        certs_dirs: &CertsDirs,
        registry: &str,
        work: impl FnOnce() -> Result<T, HostsError> + Send + 'static,
    ) -> Result<T, HostsError> {
        let place = self.place(registry);
        let reading = async {
            let held = place.acquire_owned().await.ok()?;
            let work = move || {
                let done = work();
                drop(held);
                done
            };
            self.aside.run(work).await
        };
        let (path, registry) = (PathBuf::from(certs_dirs.to_string()), registry.to_owned());
        match tokio::time::timeout(self.patience, reading).await {
            Ok(Some(done)) => done,
            Ok(None) => Err(HostsError::Interrupted { path, registry }),
            Err(_) => Err(HostsError::Unanswered { path, registry, waited: self.patience }),
        }
    }

    /// Where whoever reads for a registry waits for others that do.
    fn place(&self, registry: &str) -> Arc<Semaphore> {
        let mut places = lock(&self.places);
        // Held by nobody but the table.
        places.retain(|_, place| Arc::strong_count(place) > 1);
        let place = places.entry(registry.to_owned());
        place.or_insert_with(|| Arc::new(Semaphore::new(OF_A_REGISTRY))).clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_filesystem_that_does_not_answer_is_given_up_and_is_in_no_other_registrys_way() {
        let dead = Files { patience: Duration::from_millis(20), ..Files::new().unwrap() };
        let (gate, closed) = mpsc::channel::<()>();
        let closed = Arc::new(Mutex::new(closed));
        for _ in 0..THREADS + 1 {
            let closed = Arc::clone(&closed);
            let work = move || Ok(lock(&closed).recv().is_ok());
            let error = dead.read(&"/certs.d".into(), "dead.example", work).await.unwrap_err();
            let told = "read what /certs.d says of dead.example: the filesystem did not answer within 20ms";
            assert_eq!(error.to_string(), told);
        }
        let files = Files { patience: PATIENCE, ..dead };
        let read = files.read(&"/certs.d".into(), "reg.example", || Ok(1)).await;
        assert_eq!(read.unwrap(), 1);
        assert_eq!(lock(&files.places).len(), 2);
        drop(gate);
        // And is asked again once it answers.
        let read = files.read(&"/certs.d".into(), "dead.example", || Ok(2)).await;
        assert_eq!(read.unwrap(), 2);
    }
}
