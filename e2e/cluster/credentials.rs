//! Who may talk to the API server, and whom it may be taken for: an authority for one cluster, and a token for each.

use crate::certificates::{Authority, Pair};
use crate::cluster::{address, node};
use crate::error::{Context, Error};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// The files.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    directory: PathBuf,
    /// The authority's certificate.
    pub(crate) authority: PathBuf,
    /// What the API server serves with.
    pub(crate) server: Pair,
    /// What it shows to kubelets.
    pub(crate) client: Pair,
    /// The key of service accounts' tokens.
    pub(crate) accounts: PathBuf,
    /// The tokens, as the API server reads them.
    pub(crate) tokens: PathBuf,
    /// The configuration of an administrator's client.
    pub(crate) admin: PathBuf,
}

impl Credentials {
    /// Makes all of them in a directory.
    ///
    /// # Errors
    /// When openssl fails, or a file cannot be written.
    pub(crate) fn make(directory: &Path, nodes: u8) -> Result<Self, Error> {
        let authority = Authority::new(directory)?;
        let names = format!(
            "IP:{},IP:{},IP:127.0.0.1,DNS:kubernetes.default.svc,DNS:kubernetes.default,DNS:kubernetes",
            address::node(1),
            address::API
        );
        let server = authority.issue("apiserver", &names)?;
        let client = authority.issue("apiserver-to-kubelet", "DNS:apiserver")?;
        let accounts = authority.issue("accounts", "DNS:accounts")?.key;
        let mut made = Self {
            directory: directory.to_path_buf(),
            authority: authority.certificate,
            server,
            client,
            accounts,
            tokens: directory.join("tokens.csv"),
            admin: PathBuf::new(),
        };
        made.write_tokens(nodes)?;
        made.admin = made.client("admin")?;
        Ok(made)
    }

    /// The configuration of a client: `admin`, `controllers`, `scheduler`, `proxy`, or a node's name.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn client(&self, who: &str) -> Result<PathBuf, Error> {
        let server = format!("https://{}:{}", address::node(1), address::API_PORT);
        let authority = self.authority_as_data()?;
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "cluster",
            "clusters": [{"name": "cluster", "cluster": {
                "server": server, "certificate-authority-data": authority,
            }}],
            "users": [{"name": who, "user": {"token": token(who)}}],
            "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": who}}],
        });
        let path = self.directory.join(format!("{who}.kubeconfig"));
        fs::write(&path, format!("{config:#}")).at("write", &path)?;
        Ok(path)
    }

    fn authority_as_data(&self) -> Result<String, Error> {
        use base64::Engine;
        let bytes = fs::read(&self.authority).at("read", &self.authority)?;
        Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
    }

    fn write_tokens(&self, nodes: u8) -> Result<(), Error> {
        let mut lines = vec![
            line("admin", "admin", "system:masters"),
            line("controllers", "system:kube-controller-manager", ""),
            line("scheduler", "system:kube-scheduler", ""),
            line("proxy", "system:kube-proxy", ""),
        ];
        for name in (1..=nodes).map(node::name) {
            lines.push(line(&name, &format!("system:node:{name}"), "system:nodes"));
        }
        fs::write(&self.tokens, lines.concat()).at("write", &self.tokens)
    }
}

/// No secret: the API server listens in a network namespace of its own, to which root alone has a way.
fn token(who: &str) -> String {
    format!("token-of-{who}")
}

fn line(who: &str, user: &str, groups: &str) -> String {
    format!("{},{user},{user},\"{groups}\"\n", token(who))
}
