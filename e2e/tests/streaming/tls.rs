//! Streams over TLS, to a client that looks at the certificate.

use crate::urls::exec_request;
use crate::{SOON, TRANSPORTS, idle, start};
use e2e::certificates::Authority;
use e2e::proto::ExecRequest;
use e2e::runtime::{Kind, Options};
use e2e::world::World;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// The head of a request for a WebSocket.
pub(crate) fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
    )
}

/// Reads up to the empty line behind a head.
pub(crate) fn head(stream: &mut impl Read) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

/// One frame: its kind and its content.
fn frame(stream: &mut impl Read) -> (u8, Vec<u8>) {
    let mut start = [0; 2];
    stream.read_exact(&mut start).unwrap();
    let length = match start[1] {
        126 => {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            u16::from_be_bytes(length).into()
        }
        127 => panic!("a frame of more than 64 KiB"),
        length => usize::from(length),
    };
    let mut content = vec![0; length];
    stream.read_exact(&mut content).unwrap();
    (start[0] & 0xf, content)
}

fn connect(address: SocketAddr, authority: &Path) -> io::Result<Stream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::IpAddress(address.ip().into());
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(SOON))?;
    let mut stream = StreamOwned::new(connection, socket);
    stream.conn.complete_io(&mut stream.sock)?;
    Ok(stream)
}

/// The channels' contents (1: output, 2: errors, 3: the status), up to the end.
fn run(mut stream: Stream, path: &str) -> [String; 4] {
    stream.write_all(upgrade(path).as_bytes()).unwrap();
    let answer = head(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("v5.channel.k8s.io"), "{answer}");
    let mut channels: [String; 4] = Default::default();
    loop {
        match frame(&mut stream) {
            (8, _) => return channels,
            (2, content) => {
                channels[usize::from(content[0])].push_str(&String::from_utf8_lossy(&content[1..]));
            }
            (kind, content) => println!("a frame of kind {kind}: {content:?}"),
        }
    }
}

#[test]
fn streams_over_tls_show_their_certificate() {
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new(files.path()).unwrap();
    let server = authority.issue("server", "IP:127.0.0.1,DNS:localhost").unwrap();
    let strangers = tempfile::tempdir().unwrap();
    let stranger = Authority::new(strangers.path()).unwrap();
    let extra =
        format!("[stream]\ntls_cert_file = {:?}\ntls_key_file = {:?}\n", server.certificate, server.key);
    let Some(world) = World::with(|options| Options { extra, ..options }).unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "Corten's settings");
        return;
    }
    let (_, id) = start(&world, "tls", &idle());
    let url = |script: &str| {
        world.tokio.block_on(async {
            let cri = world.daemon.client().await.unwrap();
            let cmd = ["sh", "-c", script].map(str::to_owned).to_vec();
            let request = ExecRequest { cmd, ..exec_request(&id) };
            let url = cri.runtime.clone().exec(request).await.unwrap().into_inner().url;
            let (address, path) = url.strip_prefix("https://").expect(&url).split_once('/').unwrap();
            (address.parse::<SocketAddr>().unwrap(), format!("/{path}"))
        })
    };
    let (address, path) = url("echo over TLS; echo errors >&2; exit 3");
    // Neither one who trusts others nor one who does without TLS comes as far as to use the URL up.
    let refused = connect(address, &stranger.certificate).unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    let mut plain = TcpStream::connect(address).unwrap();
    plain.set_read_timeout(Some(SOON)).unwrap();
    plain.write_all(upgrade(&path).as_bytes()).unwrap();
    let mut answer = Vec::new();
    // It may be reset.
    let _ = plain.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("101"), "{answer:?}");
    let [_, output, errors, status] = run(connect(address, &authority.certificate).unwrap(), &path);
    assert_eq!((output.as_str(), errors.as_str()), ("over TLS\n", "errors\n"));
    assert!(status.contains("NonZeroExitCode") && status.contains("\"3\""), "{status}");
    // It is used up now.
    let mut again = connect(address, &authority.certificate).unwrap();
    again.write_all(upgrade(&path).as_bytes()).unwrap();
    assert!(head(&mut again).starts_with("HTTP/1.1 404 "));
    let large = "head -c 300000 /dev/zero | tr '\\0' x";
    let (address, path) = url(large);
    let [_, output, _, status] = run(connect(address, &authority.certificate).unwrap(), &path);
    assert_eq!(output.len(), 300_000, "{status}");
    // crictl takes an authority only together with a certificate of its own.
    let own = authority.issue("client", "DNS:client.test").unwrap();
    let crictl = world.crictl().unwrap();
    for transport in TRANSPORTS {
        let exec = |authority: &Path| {
            let paths = [authority, &own.certificate, &own.key].map(|path| path.to_str().unwrap());
            let [ca, certificate, key] = paths;
            let words =
                ["exec", "-r", transport, "--tls-ca", ca, "--tls-cert", certificate, "--tls-key", key];
            crictl.finish(&[&words[..], &[&id, "echo", "fine"]].concat()).unwrap()
        };
        let done = exec(&authority.certificate);
        assert_eq!(done.stdout, "fine\n", "{transport}: {}", done.stderr);
        let refused = exec(&stranger.certificate);
        assert!(!refused.status.success() && refused.stderr.contains("certificate"), "{}", refused.stderr);
    }
}
