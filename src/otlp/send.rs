//! One request to the collector, by either protocol.

use crate::error::OtlpError;
use crate::message::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use crate::settings::{Protocol, Settings};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use prost::Message;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use reqwest::{Client, Response, StatusCode, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The method of OTLP/gRPC.
const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// The path of OTLP/HTTP.
const PATH: &str = "/v1/traces";
/// How long the collector may take, as OTLP's default is.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are looked at.
const ANSWER: usize = 64 << 10;
/// The longest file of certificates.
const LONGEST: u64 = 4 << 20;
/// gRPC's codes that may be tried again, by OTLP: cancelled, deadline, aborted, out of range, unavailable, data loss.
const AGAIN: [i32; 6] = [1, 4, 10, 11, 14, 15];

impl Settings {
    /// Whether the file of the collector's authorities can be read, where one is needed.
    ///
    /// # Errors
    /// What [`crate::open`] would say of it.
    pub fn check_host(&self) -> Result<(), OtlpError> {
        let is_needed = self.endpoint.starts_with("https:") && !self.ca_file.as_os_str().is_empty();
        if is_needed { roots_of(&self.ca_file).map(drop) } else { Ok(()) }
    }
}

/// The way to the collector.
#[derive(Debug)]
pub(crate) struct Sender {
    client: Client,
    url: Url,
    protocol: Protocol,
    endpoint: String,
}

impl Sender {
    pub(crate) fn new(settings: &Settings) -> Result<Self, OtlpError> {
        let endpoint = settings.endpoint.clone();
        let mut url = parse(&endpoint)?;
        let base = url.path().trim_end_matches('/').to_owned();
        match settings.protocol {
            Protocol::Grpc => url.set_path(&format!("{base}{METHOD}")),
            Protocol::Http if base.is_empty() => url.set_path(PATH),
            Protocol::Http => {}
        }
        let mut client = Client::builder()
            .tls_backend_preconfigured(tls(settings)?)
            .redirect(reqwest::redirect::Policy::none())
            // The collector is the node's or the cluster's.
            .no_proxy()
            .timeout(TIMEOUT)
            .user_agent(concat!("corten/", env!("CARGO_PKG_VERSION")));
        if settings.protocol == Protocol::Grpc {
            client = client.http2_prior_knowledge();
        }
        let client = client.build().map_err(OtlpError::Client)?;
        Ok(Self { client, url, protocol: settings.protocol, endpoint })
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Sends spans; how many of them the collector would not have.
    pub(crate) async fn send(&self, request: &ExportTraceServiceRequest) -> Result<u64, OtlpError> {
        let (kind, body) = match self.protocol {
            Protocol::Grpc => ("application/grpc", framed(request)),
            Protocol::Http => ("application/x-protobuf", request.encode_to_vec().into()),
        };
        let post = self.client.post(self.url.clone()).header(CONTENT_TYPE, kind);
        let post = if self.protocol == Protocol::Grpc { post.header(TE, "trailers") } else { post };
        let answer = post.body(body).send().await.map_err(OtlpError::Unreachable)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let (body, trailers) = read(answer).await?;
        let message = match self.protocol {
            Protocol::Grpc => {
                grpc_status(status, &trailers.unwrap_or(headers))?;
                body.get(5..).unwrap_or_default().to_vec()
            }
            Protocol::Http if status.is_success() => body.to_vec(),
            Protocol::Http => {
                let again = matches!(status.as_u16(), 429 | 502 | 503 | 504);
                return Err(OtlpError::Refused { answer: status.to_string(), again });
            }
        };
        // An answer that says nothing of lost spans has none.
        let answer = ExportTraceServiceResponse::decode(message.as_slice()).unwrap_or_default();
        let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(rejected).unwrap_or_default())
    }
}

/// Reads the address of a collector.
///
/// # Errors
/// It is none.
pub fn parse(endpoint: &str) -> Result<Url, OtlpError> {
    let wrong = || OtlpError::Endpoint { endpoint: endpoint.to_owned() };
    let url = Url::parse(endpoint).map_err(|_| wrong())?;
    let is_one = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
    if is_one { Ok(url) } else { Err(wrong()) }
}

/// TLS to the collector; a plain `http` endpoint never uses it.
fn tls(settings: &Settings) -> Result<ClientConfig, OtlpError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = match settings.endpoint.starts_with("https:") {
        true if settings.ca_file.as_os_str().is_empty() => system_roots(),
        true => roots_of(&settings.ca_file)?,
        false => RootCertStore::empty(),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn roots_of(path: &Path) -> Result<RootCertStore, OtlpError> {
    let text = sys::regular::read(path, LONGEST)
        .map_err(|source| OtlpError::Ca { path: path.to_owned(), source })?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).flatten());
    if roots.is_empty() {
        return Err(OtlpError::NoCertificate { path: path.to_owned() });
    }
    Ok(roots)
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // One that cannot be read is one that is not trusted.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// A message of gRPC: not compressed, its length, itself.
fn framed(request: &ExportTraceServiceRequest) -> Bytes {
    let length = request.encoded_len();
    let mut frame = BytesMut::with_capacity(length + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // What grows as it is written takes all of a message.
    let _ = request.encode(&mut frame);
    frame.freeze()
}

/// The body of an answer, as far as it matters, and what follows it.
async fn read(answer: Response) -> Result<(Bytes, Option<HeaderMap>), OtlpError> {
    let mut body = reqwest::Body::from(answer);
    let (mut bytes, mut trailers) = (BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.map_err(OtlpError::Unreachable)?.into_data() {
            Ok(data) if bytes.len() + data.len() <= ANSWER => bytes.extend_from_slice(&data),
            Ok(_) => return Err(OtlpError::Refused { answer: "too much".to_owned(), again: false }),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((bytes.freeze(), trailers))
}

/// gRPC's verdict, which stands after the body, or at once where there is none.
fn grpc_status(status: StatusCode, headers: &HeaderMap) -> Result<(), OtlpError> {
    let text = |name: &str| headers.get(name).map(HeaderValue::as_bytes).map(String::from_utf8_lossy);
    let code = text("grpc-status").and_then(|code| code.parse::<i32>().ok());
    match code {
        Some(0) => Ok(()),
        Some(code) => {
            let message = text("grpc-message").unwrap_or_default();
            let answer = format!("code {code} {message}").trim_end().to_owned();
            Err(OtlpError::Refused { answer, again: AGAIN.contains(&code) })
        }
        None => {
            let answer = format!("{status} without a code of gRPC: is it OTLP/gRPC's port?");
            Err(OtlpError::Refused { answer, again: status.is_server_error() })
        }
    }
}
