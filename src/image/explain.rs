//! How a reference would be pulled, without pulling it.

use crate::hosts::{FoundHost, FoundHosts, Host, origin};
use crate::manifest::Platform;
use crate::policy;
use crate::reference::Reference;
use crate::registry::Login;
use crate::store::Store;
use hyper_util::client::proxy::matcher::Matcher;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How a reference would be resolved and pulled, as the settings and `hosts.toml` stand now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The reference, normalised.
    pub reference: String,
    /// The registry that it names.
    pub registry: String,
    /// The repository in it.
    pub repository: String,
    /// The file or directory below `certs_dir` that says which hosts are asked; none: the registry alone.
    pub configuration: Option<PathBuf>,
    /// Directories for the registry below later ones of `certs_dir`, of which nothing is read.
    #[serde(default)]
    pub passed_over: Vec<PathBuf>,
    /// Why the settings would not let it be pulled.
    pub refused: Option<String>,
    /// The hosts in the order they are asked.
    pub hosts: Vec<ExplainedHost>,
    /// What is chosen from an index: system, architecture and the highest variant that runs.
    pub platform: String,
    /// The id of the image that has this reference here already.
    pub image: Option<String>,
    /// That image's layers, lowest first: the ones that a pull of the same content would not fetch.
    pub layers: Vec<ExplainedLayer>,
}

/// A host and how it would be spoken to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExplainedHost {
    /// Scheme, host, port and path.
    pub address: String,
    /// Whether it is asked what a tag means.
    pub resolve: bool,
    /// Whether content is fetched from it.
    pub pull: bool,
    /// Whether the credentials would be sent to it, and of which kind they are.
    pub credentials: String,
    /// The proxy that the environment names for it, without its credentials.
    pub proxy: Option<String>,
    /// Files with roots beside the system's.
    pub ca: Vec<PathBuf>,
    /// Files with the client's certificate.
    pub client: Vec<PathBuf>,
    /// Whether its certificate is not looked at.
    pub skip_verify: bool,
    /// Names of the headers that it is sent.
    pub headers: Vec<String>,
    /// Seconds that a connection may take.
    pub dial_timeout_seconds: f64,
    /// Why it cannot be spoken to as its settings say.
    #[serde(default)]
    pub problem: Option<String>,
}

/// A layer in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExplainedLayer {
    /// The digest of its uncompressed archive.
    pub diff_id: String,
    /// Bytes that it takes unpacked.
    pub bytes: u64,
}

/// Explains the reference with these credentials, and with the hosts that were found, where.
pub(crate) fn explain(
    store: &Store,
    reference: &Reference,
    login: Option<&Login>,
    found: FoundHosts,
) -> Explanation {
    let config = store.config();
    let proxies = Matcher::from_env();
    let hosts = found.hosts.iter().map(|FoundHost { host, problem }| {
        let belongs = login.filter(|login| login.belongs_to(&host.base, reference.registry()));
        ExplainedHost {
            address: format!("{}{}", origin(&host.base), host.base.path().trim_end_matches('/')),
            resolve: host.resolve,
            pull: host.pull,
            credentials: match (belongs, login) {
                (Some(login), _) => login.secret.kind().to_owned(),
                (None, Some(_)) => "not sent: they belong to another host".to_owned(),
                (None, None) => "none".to_owned(),
            },
            proxy: proxy(&proxies, host),
            ca: host.ca.iter().map(|pem| pem.path.clone()).collect(),
            client: host.client.iter().map(|(certificate, _)| certificate.path.clone()).collect(),
            skip_verify: host.skip_verify,
            headers: host.headers.keys().map(ToString::to_string).collect(),
            dial_timeout_seconds: host.dial_timeout.unwrap_or(config.dial_timeout()).as_secs_f64(),
            problem: problem.clone(),
        }
    });
    let (image, layers) = known(store, reference);
    Explanation {
        reference: reference.to_string(),
        registry: reference.registry().to_owned(),
        repository: reference.repository().to_owned(),
        configuration: found.source,
        passed_over: found.passed_over,
        refused: policy::check(&config, reference).err().map(|error| error.to_string()),
        hosts: hosts.collect(),
        platform: Platform::host().text(),
        image,
        layers,
    }
}

fn proxy(proxies: &Matcher, host: &Host) -> Option<String> {
    let proxy = proxies.intercept(&host.base.as_str().parse().ok()?)?;
    let uri = proxy.uri();
    // The authority may hold a user and a password.
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    Some(format!("{}://{place}", uri.scheme_str().unwrap_or("http")))
}

fn known(store: &Store, reference: &Reference) -> (Option<String>, Vec<ExplainedLayer>) {
    let index = store.index();
    let Ok(Some(image)) = index.find(&reference.to_string()) else { return (None, Vec::new()) };
    let record = index.images.get(&image.id);
    let layers = record.map(|record| record.layers.clone()).unwrap_or_default();
    let layers = layers.iter().filter_map(|id| {
        let layer = index.layers.get(id)?;
        Some(ExplainedLayer { diff_id: id.to_string(), bytes: layer.bytes })
    });
    (Some(image.id.clone()), layers.collect())
}
