//! A token server as the distribution project specifies it: JSON web tokens signed by a certificate that the registry
//! trusts.

use ::base64::Engine as _;
use ::base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use e2e::certificates::Pair;
use e2e::registry::{PASSWORD, USER};
use serde_json::json;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The refresh token that it takes.
pub(crate) const REFRESH: &str = "refresh-me";

/// The server; its thread ends with the process.
pub(crate) struct Server {
    address: String,
    signer: Pair,
}

impl Server {
    pub(crate) fn start(signer: Pair) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let own = signer.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let signer = own.clone();
                std::thread::spawn(move || answer(&stream, &signer));
            }
        });
        Self { address, signer }
    }

    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    /// A token for a scope.
    pub(crate) fn issue(&self, scope: &str) -> String {
        token(&self.signer, scope)
    }
}

fn answer(stream: &TcpStream, signer: &Pair) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut request = String::new();
    reader.read_line(&mut request).unwrap();
    let (mut authorization, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => value.clone_into(&mut authorization),
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    let target = request.split(' ').nth(1).unwrap_or_default();
    let basic = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let (query, known) = match request.starts_with("POST") {
        true => (body.as_str(), body.contains(&format!("refresh_token={REFRESH}"))),
        false => (target.split_once('?').map_or("", |(_, query)| query), authorization == basic),
    };
    let scope = query.split('&').find_map(|pair| pair.strip_prefix("scope=")).unwrap_or_default();
    let scope = scope.replace("%3A", ":").replace("%2F", "/");
    let (status, text) = match known {
        true => ("200 OK", json!({"token": token(signer, &scope), "expires_in": 300}).to_string()),
        false => ("401 Unauthorized", String::new()),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
    // A client that has gone away does not matter.
    let _ = { stream }.write_all((head + &text).as_bytes());
}

fn token(signer: &Pair, scope: &str) -> String {
    let pem = std::fs::read_to_string(&signer.certificate).unwrap();
    let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut parts = scope.split(':').skip(1);
    let (name, actions) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let head = json!({"typ": "JWT", "alg": "RS256", "x5c": [der]});
    let claims = json!({
        "iss": "tokens.test", "sub": USER, "aud": "registry.test", "exp": now + 300, "nbf": now - 10, "iat": now,
        "jti": format!("{now}"),
        "access": [{"type": "repository", "name": name, "actions": actions.split(',').collect::<Vec<_>>()}],
    });
    let text = format!("{}.{}", encode(head.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let directory = tempfile::tempdir().unwrap();
    let (input, output) = (directory.path().join("text"), directory.path().join("signature"));
    std::fs::write(&input, &text).unwrap();
    let mut command = Command::new(e2e::tools::system("openssl").unwrap());
    command.args(["dgst", "-sha256", "-sign"]).arg(&signer.key).arg("-out").arg(&output).arg(&input);
    e2e::command::run(&mut command, Duration::from_secs(60)).unwrap();
    format!("{text}.{}", encode(&std::fs::read(&output).unwrap()))
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
