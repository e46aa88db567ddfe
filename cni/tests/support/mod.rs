//! A host of its own for each test: a network namespace with its own bridges, tables and addresses, so that
//! nothing of the machine is touched and everything that is left over shows.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

use cni::Plugins;
use cni::types::{
    CniError, CniResult, Command, Invocation, NetnsRef, PluginConfig, ValidAttachment, Version,
};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use sys::netlink::Socket;
use sys::netns::{self, Netns};

pub const TABLES: [&str; 3] = ["corten_masquerade", "corten_hostport", "corten_macspoofchk"];

/// Runs a test with a host of its own; the closure runs on a thread inside it.
pub fn on_host(name: &str, test: impl FnOnce(&Host) + Send) {
    if !need::root("needs root") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let made = netns::create(&dir.path().join("host")).unwrap();
    // The descriptor keeps it: nothing is left pinned when the test panics.
    netns::remove(made.path()).unwrap();
    let host = Host { name: name.to_owned(), dir, plugins: Arc::default() };
    netns::run_in(made.fd(), || test(&host)).unwrap();
}

pub struct Host {
    pub name: String,
    pub dir: tempfile::TempDir,
    pub plugins: Arc<Plugins>,
}

/// A container's network namespace, unpinned when it is dropped.
pub struct Container {
    pub id: String,
    pub netns: Arc<Netns>,
    plugins: Arc<Plugins>,
}

impl Drop for Container {
    fn drop(&mut self) {
        // A test that has failed already is not to be aborted by this.
        let _ = netns::remove(self.netns.path());
    }
}

impl Host {
    pub fn container(&self, id: &str) -> Container {
        let netns = netns::create(&self.dir.path().join(id)).unwrap();
        Container { id: id.to_owned(), netns: Arc::new(netns), plugins: Arc::clone(&self.plugins) }
    }

    pub fn ipam_dir(&self) -> PathBuf {
        self.dir.path().join("ipam")
    }

    /// A bridge with addresses of both families, masquerading.
    pub fn bridge_conf(&self) -> Value {
        json!({
            "cniVersion": "1.1.0", "name": "testnet", "type": "bridge", "bridge": "br-test",
            "isGateway": true, "ipMasq": true, "hairpinMode": true,
            "ipam": {
                "type": "host-local", "dataDir": self.ipam_dir(),
                "ranges": [[{"subnet": "10.123.0.0/24"}], [{"subnet": "fd00:123::/64"}]],
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
            },
        })
    }

    pub fn portmap_conf(&self, mappings: &Value, previous: &CniResult) -> Value {
        json!({
            "cniVersion": "1.1.0", "name": "testnet", "type": "portmap",
            "runtimeConfig": {"portMappings": mappings},
            "prevResult": previous.to_value(Version::LATEST).unwrap(),
        })
    }

    /// What the kernel has: links of this namespace, elements of the tables, IPAM files.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = links().into_iter().filter(|link| link.starts_with("veth")).collect();
        for set in ["source4", "source6"] {
            left.extend(comments(sys::nft::Family::Inet, TABLES[0], set));
        }
        for set in HOSTPORT_SETS {
            left.extend(comments(sys::nft::Family::Inet, TABLES[1], set));
        }
        for set in ["own_address", "checked"] {
            left.extend(comments(sys::nft::Family::Bridge, TABLES[2], set));
        }
        left.extend(self.reserved());
        left
    }

    pub fn reserved(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.ipam_dir().join("testnet")) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.parse::<IpAddr>().is_ok()).collect();
        names.sort();
        names
    }
}

pub const HOSTPORT_SETS: [&str; 10] = [
    "address_port4",
    "address_port6",
    "port4",
    "port6",
    "from_loopback4",
    "hairpin4",
    "hairpin6",
    "from_all4",
    "from_all6",
    "waiting",
];

pub fn comments(family: sys::nft::Family, table: &str, set: &str) -> Vec<String> {
    let socket = Socket::netfilter().unwrap();
    let found = sys::nft::elements(&socket, family, table, set).unwrap_or_default();
    found.into_iter().map(|element| format!("{set}: {}", element.comment)).collect()
}

pub fn links() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    table.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned()).collect()
}

impl Container {
    pub fn call(&self, command: Command, conf: &Value) -> Invocation {
        Invocation {
            command,
            container_id: self.id.clone(),
            ifname: "eth0".to_owned(),
            netns: Some(NetnsRef {
                path: self.netns.path().to_path_buf(),
                handle: Some(Arc::clone(&self.netns)),
                ready: None,
            }),
            args: Vec::new(),
            path: Vec::new(),
            conf: PluginConfig::try_from(conf.clone()).unwrap(),
            skip_link_delete: false,
        }
    }

    pub fn run(&self, command: Command, conf: &Value) -> Result<Option<CniResult>, CniError> {
        self.plugins.run(&self.call(command, conf))
    }

    pub fn add(&self, conf: &Value) -> CniResult {
        self.run(Command::Add, conf).unwrap().unwrap()
    }

    pub fn del(&self, conf: &Value) {
        self.run(Command::Del, conf).unwrap();
    }

    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        netns::run_in(self.netns.fd(), work).unwrap()
    }

    /// Answers each connection to a port with the address that the peer has for it.
    pub fn serve(&self, port: u16) {
        let listener = self.inside(|| TcpListener::bind(("::", port)).unwrap());
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let peer = connection.peer_addr().unwrap().ip().to_canonical();
                std::io::Write::write_all(&mut connection, peer.to_string().as_bytes()).unwrap();
            }
        });
    }

    /// Answers each datagram to a port with its content.
    pub fn serve_udp(&self, port: u16, answer: &'static str) {
        let socket = self.inside(|| UdpSocket::bind(("0.0.0.0", port)).unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                socket.send_to(answer.as_bytes(), peer).unwrap();
            }
        });
    }
}

/// Connects and reads the answer of [`Container::serve`].
pub fn ask(ip: IpAddr, port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip, port), Duration::from_secs(12))?;
    stream.set_read_timeout(Some(Duration::from_secs(12)))?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stream, &mut text)?;
    Ok(text)
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn gc_conf(conf: &Value, valid: &[&str]) -> Value {
    let valid: Vec<_> = valid
        .iter()
        .map(|id| ValidAttachment { container_id: (*id).to_owned(), ifname: "eth0".to_owned() })
        .collect();
    let mut conf = conf.clone();
    conf["cni.dev/valid-attachments"] = serde_json::to_value(valid).unwrap();
    conf
}

pub fn with_result(conf: &Value, result: &CniResult) -> Value {
    let mut conf = conf.clone();
    let version = Version::parse(conf["cniVersion"].as_str().unwrap()).unwrap();
    conf["prevResult"] = result.to_value(version).unwrap();
    conf
}
