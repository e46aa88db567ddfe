//! The API server of the cluster in which this runs, as a pod asks it: by its service account.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// Where a pod has its account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
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
    #[error("cannot trust the certificate in {}", .0.display())]
    Authority(PathBuf),
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// Nobody answers, or it is somebody else.
    #[error("cannot connect to the API server at {address}")]
    Connect {
        /// Where it should be.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("talking to the API server")]
    Http(#[from] hyper::Error),
    /// The request cannot be made.
    #[error("making a request to the API server")]
    Request(#[from] http::Error),
    /// An answer that is none.
    #[error("the API server's answer to {0} is malformed, or too long")]
    Malformed(String),
    /// No answer.
    #[error("the API server at {0} does not answer in time")]
    Late(String),
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
            Self::Connect { .. } | Self::Http(_) | Self::Late(_) => true,
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
    name: ServerName<'static>,
    tls: TlsConnector,
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
        let untrusted = || ApiError::Authority(authority.clone());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(certificates.as_bytes()) {
            roots.add(certificate.map_err(|_| untrusted())?).map_err(|_| untrusted())?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.clone()).map_err(|_| untrusted())?;
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Ok(Self { address, name, tls: TlsConnector::from(Arc::new(config)), token: token.trim().to_owned() })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    /// Changes an object by a strategic merge patch; the object then.
    pub(super) async fn patch(&self, path: &str, patch: &Value) -> Result<Value, ApiError> {
        self.send(Method::PATCH, path, patch.to_string().into()).await
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Value, ApiError> {
        let answer = tokio::time::timeout(PATIENCE, self.exchange(method, path, body));
        answer.await.unwrap_or_else(|_| Err(ApiError::Late(self.address.clone())))
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<Value, ApiError> {
        let unreachable = |source| ApiError::Connect { address: self.address.clone(), source };
        let what = format!("{method} {path}");
        let stream = TcpStream::connect(&self.address).await.map_err(unreachable)?;
        let stream = self.tls.connect(self.name.clone(), stream).await.map_err(unreachable)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with its sender; what goes wrong with it is the request's failure.
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.address)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/strategic-merge-patch+json")
            .body(Full::new(body))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let malformed = || ApiError::Malformed(what.clone());
        let body = Limited::new(answer.into_body(), MOST).collect().await.map_err(|_| malformed())?;
        connection.abort();
        let value: Value = serde_json::from_slice(&body.to_bytes()).map_err(|_| malformed())?;
        if status.is_success() {
            return Ok(value);
        }
        let said = value["message"].as_str().unwrap_or_default().to_owned();
        Err(ApiError::Refused { what, status, said })
    }
}

fn read(path: &Path) -> Result<String, ApiError> {
    std::fs::read_to_string(path).map_err(|source| ApiError::Account { path: path.to_owned(), source })
}
