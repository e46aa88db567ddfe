//! The API server of the cluster in which this runs, as a pod asks it: by its service account.

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// Where a pod has its account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How objects are changed.
const PATCH: &str = "application/strategic-merge-patch+json";
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer.
const MOST: usize = 64 << 20;

/// Why the API server does not answer as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// Nobody has said where it is.
    #[error("{0} is not set: this is for a pod of a cluster")]
    NoPod(&'static str),
    /// A file of the account cannot be read.
    #[error("cannot read {}", path.display())]
    Account {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The account's authority is none.
    #[error("cannot trust the certificate in {}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Nobody answers, it is somebody else, or it takes too long.
    #[error("the API server at {address} does not answer")]
    Unanswered {
        /// Where it should be.
        address: String,
        /// Why.
        source: reqwest::Error,
    },
    /// An answer that is none.
    #[error("the API server's answer to {0} is malformed, or too long")]
    Malformed(String),
    /// It does not do it.
    #[error("the API server refuses {what}: {status}: {said}")]
    Refused {
        /// The request.
        what: String,
        /// Its code.
        status: StatusCode,
        /// Why.
        said: String,
    },
}

impl ApiError {
    /// Whether the same may go well a little later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            // What is no address at all stays none.
            Self::Unanswered { source, .. } => !source.is_builder(),
            Self::Refused { status, .. } => {
                status.is_server_error()
                    || matches!(*status, StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS)
            }
            _ => false,
        }
    }

    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }
}

/// Who asks it.
pub(super) struct Api {
    address: String,
    client: Client,
    token: String,
}

impl Api {
    /// As the pod in which this runs may.
    pub(super) fn of_this_pod() -> Result<Self, ApiError> {
        let setting = |name| std::env::var(name).map_err(|_| ApiError::NoPod(name));
        let host = setting("KUBERNETES_SERVICE_HOST")?;
        let port = setting("KUBERNETES_SERVICE_PORT")?;
        let authority = Path::new(ACCOUNT).join("ca.crt");
        let (certificates, token) = (read(&authority)?, read(&Path::new(ACCOUNT).join("token"))?);
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let untrusted = |source| ApiError::Authority { path: authority, source };
        let client = Client::builder()
            .tls_backend_preconfigured(tls(&certificates).map_err(untrusted)?)
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(PATIENCE)
            .build();
        let unusable = |source| ApiError::Unanswered { address: address.clone(), source };
        Ok(Self { client: client.map_err(unusable)?, address, token: token.trim().to_owned() })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.send(Method::GET, path, String::new()).await
    }

    /// Changes an object by a strategic merge patch; the object then.
    pub(super) async fn patch(&self, path: &str, patch: &Value) -> Result<Value, ApiError> {
        self.send(Method::PATCH, path, patch.to_string()).await
    }

    async fn send(&self, method: Method, path: &str, body: String) -> Result<Value, ApiError> {
        let unanswered = |source| ApiError::Unanswered { address: self.address.clone(), source };
        let what = format!("{method} {path}");
        let request = self.client.request(method, format!("https://{}{path}", self.address));
        let request = request.bearer_auth(&self.token).header(CONTENT_TYPE, PATCH).body(body);
        let mut answer = request.send().await.map_err(unanswered)?;
        let (status, mut body) = (answer.status(), Vec::new());
        while let Some(piece) = answer.chunk().await.map_err(unanswered)? {
            if body.len() + piece.len() > MOST {
                return Err(ApiError::Malformed(what));
            }
            body.extend_from_slice(&piece);
        }
        let Ok(value) = serde_json::from_slice::<Value>(&body) else { return Err(ApiError::Malformed(what)) };
        if status.is_success() {
            return Ok(value);
        }
        let said = value["message"].as_str().unwrap_or_default().to_owned();
        Err(ApiError::Refused { what, status, said })
    }
}

/// TLS that trusts these certificates alone.
fn tls(certificates: &str) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(certificates.as_bytes()) {
        roots.add(certificate.map_err(|error| rustls::Error::General(error.to_string()))?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn read(path: &Path) -> Result<String, ApiError> {
    std::fs::read_to_string(path).map_err(|source| ApiError::Account { path: path.to_owned(), source })
}
