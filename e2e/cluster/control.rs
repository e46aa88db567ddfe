//! etcd and the control plane, on the first node's network.

use crate::cluster::address;
use crate::cluster::component::Component;
use crate::cluster::credentials::Credentials;
use crate::cluster::kubectl::Kubectl;
use crate::error::Error;
use crate::tools;
use std::path::Path;
use std::time::{Duration, Instant};

const ETCD: &str = "http://127.0.0.1:2379";
const PEERS: &str = "http://127.0.0.1:2380";

/// The control plane, in the order in which it ends.
#[derive(Debug)]
pub struct Control {
    /// The scheduler.
    pub scheduler: Component,
    /// The controller manager.
    pub controllers: Component,
    /// The API server.
    pub api: Component,
    /// Its store.
    pub etcd: Component,
}

impl Control {
    /// Starts all of it; returns when the API server is ready.
    ///
    /// # Errors
    /// When a program is missing, or the API server is not ready within two minutes.
    pub(crate) fn start(directory: &Path, credentials: &Credentials, logs: &Path) -> Result<Self, Error> {
        let run = |name, arguments| Component::start(name, tools::go_tool(name, "cluster")?, arguments, logs);
        let mut etcd = run("etcd", etcd(directory))?;
        let mut api = run("kube-apiserver", api(directory, credentials))?;
        let kubectl = Kubectl::new(&credentials.admin)?;
        let after = Duration::from_secs(120);
        let end = Instant::now() + after;
        while let Err(error) = kubectl.run(&["get", "--raw", "/readyz"]) {
            etcd.must_run()?;
            api.must_run()?;
            if Instant::now() > end {
                return Err(Error::Late { what: "the API server's start", after, last: error.to_string() });
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        let controllers = run("kube-controller-manager", controllers(credentials)?)?;
        let scheduler = run("kube-scheduler", scheduler(credentials)?)?;
        Ok(Self { scheduler, controllers, api, etcd })
    }
}

/// A node is what is looked at here: who tells it what to do must not be who it waits for.
const REQUESTS: [&str; 2] = ["--kube-api-qps=200", "--kube-api-burst=400"];

/// Nothing of a cluster that lives for minutes is worth waiting for a disk.
fn etcd(directory: &Path) -> Vec<String> {
    vec![
        format!("--data-dir={}", directory.join("etcd").display()),
        "--unsafe-no-fsync".to_owned(),
        format!("--listen-client-urls={ETCD}"),
        format!("--advertise-client-urls={ETCD}"),
        format!("--listen-peer-urls={PEERS}"),
        format!("--initial-advertise-peer-urls={PEERS}"),
        format!("--initial-cluster=default={PEERS}"),
        "--log-level=warn".to_owned(),
    ]
}

fn api(directory: &Path, credentials: &Credentials) -> Vec<String> {
    let accounts = credentials.accounts.display();
    vec![
        format!("--etcd-servers={ETCD}"),
        "--bind-address=0.0.0.0".to_owned(),
        format!("--advertise-address={}", address::node(1)),
        format!("--secure-port={}", address::API_PORT),
        format!("--cert-dir={}", directory.join("certificates").display()),
        format!("--tls-cert-file={}", credentials.server.certificate.display()),
        format!("--tls-private-key-file={}", credentials.server.key.display()),
        format!("--token-auth-file={}", credentials.tokens.display()),
        format!("--kubelet-client-certificate={}", credentials.client.certificate.display()),
        format!("--kubelet-client-key={}", credentials.client.key.display()),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        // Servers of more of the API are told by it who asks.
        format!("--proxy-client-cert-file={}", credentials.client.certificate.display()),
        format!("--proxy-client-key-file={}", credentials.client.key.display()),
        format!("--requestheader-client-ca-file={}", credentials.authority.display()),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        format!("--service-cluster-ip-range={}", address::SERVICES),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={accounts}"),
        format!("--service-account-signing-key-file={accounts}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--profiling=false".to_owned(),
    ]
}

fn controllers(credentials: &Credentials) -> Result<Vec<String>, Error> {
    let mut arguments = vec![
        format!("--kubeconfig={}", credentials.client("controllers")?.display()),
        format!("--service-account-private-key-file={}", credentials.accounts.display()),
        format!("--root-ca-file={}", credentials.authority.display()),
        "--use-service-account-credentials=true".to_owned(),
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
    ];
    arguments.extend(REQUESTS.map(str::to_owned));
    Ok(arguments)
}

fn scheduler(credentials: &Credentials) -> Result<Vec<String>, Error> {
    let mut arguments = vec![
        format!("--kubeconfig={}", credentials.client("scheduler")?.display()),
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
    ];
    arguments.extend(REQUESTS.map(str::to_owned));
    Ok(arguments)
}
