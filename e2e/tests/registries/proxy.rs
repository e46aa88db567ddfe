//! Proxies from the daemon's environment.

use e2e::certificates::Authority;
use e2e::image::{Entry, Image, Layer};
use e2e::isolation::Isolation;
use e2e::network::Network;
use e2e::registry::Registry;
use e2e::runtime::{Daemon, Kind, Options};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A proxy that takes every name for one of two addresses, and remembers what it was asked for.
struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(plain: SocketAddr, secure: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let record = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let record = Arc::clone(&record);
                // A connection that breaks shows in the pull.
                std::thread::spawn(move || drop(forward(stream, plain, secure, &record)));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn forward(
    mut client: TcpStream,
    plain: SocketAddr,
    secure: SocketAddr,
    record: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        head.push(line);
    }
    let Some(request) = head.first().cloned() else { return Ok(()) };
    record.lock().unwrap().push(request.trim_end().to_owned());
    if request.starts_with("CONNECT ") {
        let server = TcpStream::connect(secure)?;
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        let (up, down) = (server.try_clone()?, client.try_clone()?);
        let upwards = std::thread::spawn(move || pump(reader, up));
        pump(server, down);
        return upwards.join().map_err(|_| std::io::ErrorKind::Other.into());
    }
    let mut server = TcpStream::connect(plain)?;
    let path = request
        .split(' ')
        .nth(1)
        .and_then(|url| url.split_once("://")?.1.split_once('/'))
        .map(|(_, path)| path);
    server.write_all(
        format!("GET /{} HTTP/1.1\r\nConnection: close\r\n", path.unwrap_or_default()).as_bytes(),
    )?;
    for line in head.iter().skip(1).filter(|line| !line.to_ascii_lowercase().starts_with("connection")) {
        server.write_all(line.as_bytes())?;
    }
    server.write_all(b"\r\n")?;
    pump(server, client);
    Ok(())
}

fn pump(mut from: impl Read, mut to: TcpStream) {
    // Either side may go first.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn proxies_of_the_environment_are_used_and_exceptions_heeded() {
    if !need::root("namespaces and mounts need root") {
        return;
    }
    let isolation = Isolation::enter().unwrap();
    let registry = Registry::start(&isolation.directory("registry").unwrap()).unwrap();
    for name in ["plain", "secure", "direct"] {
        let layer = Layer::default().with(name, 0o644, Entry::File(name.into()));
        registry.push(name, "1", &Image { layers: vec![layer], ..Image::default() }).unwrap();
    }
    let authority = Authority::new(&isolation.directory("ca").unwrap()).unwrap();
    let pair = authority.issue("server", "DNS:secure.test").unwrap();
    let tls =
        format!(", tls: {{certificate: '{}', key: '{}'}}", pair.certificate.display(), pair.key.display());
    let kept = isolation.root().join("registry");
    let secure = Registry::start_beside(&isolation.directory("secure").unwrap(), &kept, &tls, "").unwrap();
    let proxy = Proxy::start(registry.address(), secure.address());
    let options = Options {
        kind: Kind::from_environment(),
        network: Network::None,
        mirror: None,
        metrics: None,
        extra: String::new(),
        programs: e2e::tools::dist(),
    };
    let url = format!("http://{}", proxy.address);
    let environment =
        [("HTTP_PROXY", url.as_str()), ("HTTPS_PROXY", &url), ("NO_PROXY", "127.0.0.1,.direct.test")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let daemon = Daemon::start_with(&isolation.directory("r").unwrap(), &options, environment).unwrap();
    let hosts = |host: &str, text: String| {
        let directory = daemon.place().certs.join(host);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("hosts.toml"), text).unwrap();
    };
    hosts("plain.test", "server = \"http://plain.test\"\n".to_owned());
    hosts(
        "secure.test",
        format!("server = \"https://secure.test\"\nca = \"{}\"\n", authority.certificate.display()),
    );
    hosts("a.test", format!("server = \"http://{}\"\n", registry.address()));
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio.block_on(async {
        let cri = daemon.client().await.unwrap();
        cri.pull("plain.test/plain:1", None).await.unwrap();
        assert!(
            proxy.asked().iter().any(|line| line.starts_with("GET http://plain.test/v2/")),
            "{:?}",
            proxy.asked()
        );
        cri.pull("secure.test/secure:1", None).await.unwrap();
        assert!(
            proxy.asked().iter().any(|line| line.starts_with("CONNECT secure.test:443")),
            "{:?}",
            proxy.asked()
        );
        let before = proxy.asked().len();
        cri.pull("a.test/direct:1", None).await.unwrap();
        assert_eq!(proxy.asked().len(), before, "NO_PROXY: {:?}", proxy.asked());
    });
}
