//! Who may see the metrics: over TLS, with a token.

use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use web::{Body, Listen, Opened, plain};

/// The longest token.
const LONGEST: u64 = 4096;

/// Connections over TLS.
pub(super) struct TlsListener {
    pub(super) listener: TcpListener,
    pub(super) tls: TlsAcceptor,
}

impl Listen for TlsListener {
    type Raw = TcpStream;
    type Stream = TlsStream<TcpStream>;
    type Peer = ();

    fn accept(&self) -> impl Future<Output = TcpStream> + Send {
        Listen::accept(&self.listener)
    }

    fn open(
        &self,
        raw: TcpStream,
    ) -> impl Future<Output = Option<Opened<Self::Stream, ()>>> + Send + 'static {
        let tls = self.tls.clone();
        async move {
            match tls.accept(raw).await {
                Ok(stream) => Some(Opened { stream, peer: () }),
                Err(error) => {
                    tracing::debug!(%error, "no TLS for a scrape");
                    None
                }
            }
        }
    }
}

/// The file of the token, where one is set.
pub(super) struct Token(PathBuf);

impl Token {
    pub(super) fn new(path: PathBuf) -> Option<Self> {
        (!path.as_os_str().is_empty()).then_some(Self(path))
    }

    /// Refuses a request without the token as the file has it now.
    pub(super) async fn check(&self, headers: &HeaderMap) -> Result<(), Box<http::Response<Body>>> {
        let path = self.0.clone();
        let read = tokio::task::spawn_blocking(move || read_token(&path)).await;
        let wanted = match read.map_err(std::io::Error::other).flatten() {
            Ok(wanted) => wanted,
            Err(error) => {
                tracing::warn!(%error, file = %self.0.display(), "the token for metrics cannot be read");
                return Err(Box::new(plain(StatusCode::SERVICE_UNAVAILABLE, "the token cannot be read")));
            }
        };
        let brought = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        if brought.is_some_and(|brought| is_same(brought, wanted.as_bytes())) {
            return Ok(());
        }
        let mut refusal = plain(StatusCode::UNAUTHORIZED, "the token is needed: Authorization: Bearer");
        let scheme = http::HeaderValue::from_static("Bearer");
        refusal.headers_mut().insert(http::header::WWW_AUTHENTICATE, scheme);
        Err(Box::new(refusal))
    }
}

/// The token that a file holds.
///
/// # Errors
/// It cannot be read, or is empty, with which nobody would be let in.
pub(crate) fn read_token(path: &Path) -> std::io::Result<String> {
    let text = sys::regular::read_text(path, LONGEST)?;
    let token = text.trim();
    if token.is_empty() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "it is empty"));
    }
    Ok(token.to_owned())
}

/// Takes as long whether they differ in the first byte or the last.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_scrape_brings_the_token_as_the_file_has_it() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("token");
        let token = Token::new(path.clone()).unwrap();
        let asked = async |value: &str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
            token.check(&headers).await.map_or_else(|refusal| refusal.status().as_u16(), |()| 200)
        };
        assert_eq!(asked("Bearer secret").await, 503, "there is no file");
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(asked("Bearer ").await, 503, "an empty one lets nobody in");
        std::fs::write(&path, "secret\n").unwrap();
        assert_eq!(asked("Bearer secret").await, 200);
        for wrong in ["Bearer Secret", "Bearer secrets", "Bearer ", "Basic secret", "secret"] {
            assert_eq!(asked(wrong).await, 401, "{wrong}");
        }
        assert_eq!(token.check(&HeaderMap::new()).await.unwrap_err().status(), 401);
        std::fs::write(&path, "another").unwrap();
        assert_eq!((asked("Bearer secret").await, asked("Bearer another").await), (401, 200));
        assert!(Token::new(PathBuf::new()).is_none());
    }
}
