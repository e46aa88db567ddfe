//! Networks of real plugins on the real kernel. Each test has a network namespace of its own as its host.

use super::harness::{Node, eventually, pod};
use crate::{Attachment, Network, PodNetwork};
use model::{PortMapping, Protocol};
use nix::sys::socket::{Shutdown, shutdown};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use sys::netns::{self, Netns};

/// Runs a test in a fresh network namespace: its threads, and the plugins that they start, see no other.
pub(super) fn on_own_host<F: Future<Output = ()>>(test: impl FnOnce(Node) -> F + Send) {
    if !need::root("needs root") {
        return;
    }
    let node = Node::new();
    // Of its own: the node's directory goes with the test, while the namespace is still pinned.
    let pins = tempfile::tempdir().unwrap();
    let pin = pins.path().join("host");
    let host = netns::create(&pin).unwrap();
    let run = || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test(node));
    };
    // Threads begin in the namespace of the thread that makes them.
    let outcome = netns::run_in(host.fd(), || std::thread::scope(|scope| scope.spawn(run).join())).unwrap();
    netns::remove(&pin).unwrap();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

pub(super) struct Pod {
    ns: Netns,
    pub(super) network: PodNetwork,
    listeners: Mutex<Vec<TcpListener>>,
}

impl Pod {
    pub(super) fn new(node: &Node, id: &str, host_port: u16) -> Self {
        let pin = node.path(&format!("ns-{id}"));
        let mapping = PortMapping { protocol: Protocol::Tcp, container_port: 80, host_port, host_ip: None };
        let network = PodNetwork { netns: pin.clone(), port_mappings: vec![mapping], ..pod(id) };
        Self { ns: netns::create(&pin).unwrap(), network, listeners: Mutex::default() }
    }

    /// Answers each connection with the pod's id.
    pub(super) fn serve(&self, ip: IpAddr) {
        let id = self.network.sandbox_id.clone();
        let listener = netns::run_in(self.ns.fd(), || TcpListener::bind((ip, 80))).unwrap().unwrap();
        self.listeners.lock().unwrap().push(listener.try_clone().unwrap());
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.write_all(id.as_bytes());
            }
        });
    }

    fn get(&self, to: SocketAddr) -> io::Result<String> {
        netns::run_in(self.ns.fd(), || get(to)).unwrap()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // A socket holds its namespace: the threads that accept must end.
        for listener in self.listeners.lock().unwrap().drain(..) {
            let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
        }
        let _ = netns::remove(&self.network.netns);
    }
}

pub(super) fn get(to: SocketAddr) -> io::Result<String> {
    // On a busy machine the kernel may drop a first packet; it repeats it after one, three and seven seconds.
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(12))?;
    stream.set_read_timeout(Some(Duration::from_secs(12)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// The host's own addresses stand in for a node's.
pub(super) fn host_interface() {
    for args in [
        &["link", "set", "lo", "up"][..],
        &["link", "add", "uplink", "type", "bridge"],
        &["addr", "add", "192.0.2.77/24", "dev", "uplink"],
        &["link", "set", "uplink", "up"],
        &["route", "add", "default", "via", "192.0.2.1"],
    ] {
        assert!(std::process::Command::new("ip").args(args).status().unwrap().success(), "ip {args:?}");
    }
}

fn leases(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.parse::<IpAddr>().is_ok() || name.starts_with("fd")).collect()
}

/// Two pods reach each other and the host, and the host's port leads to its pod; then everything goes.
async fn two_pods(node: &Node, network: &Arc<Network>, leases_in: &Path, families: usize) {
    host_interface();
    let pods = [Pod::new(node, "pod-one", 18_080), Pod::new(node, "pod-two", 18_081)];
    let mut attached: Vec<Attachment> = Vec::new();
    for pod in &pods {
        let attachment = network.attach(&pod.network).await.unwrap();
        assert_eq!(attachment.ips.len(), families, "{:?}", attachment.result);
        for ip in &attachment.ips {
            pod.serve(*ip);
        }
        network.check(&pod.network, &attachment).await.unwrap();
        attached.push(attachment);
    }
    assert_eq!(leases(leases_in).len(), 2 * families, "{leases_in:?}");
    for (from, to) in [(0, 1), (1, 0)] {
        for ip in &attached[to].ips {
            let said = pods[from].get((*ip, 80).into()).unwrap();
            assert_eq!(said, pods[to].network.sandbox_id, "{from} to {to}");
            // An IPv6 address of a new bridge serves only after a second or two (duplicate address detection).
            let host = (0..8).map(|_| get((*ip, 80).into())).find(Result::is_ok);
            assert_eq!(host.unwrap().unwrap(), said, "from the host");
        }
    }
    let node_address: IpAddr = "192.0.2.77".parse().unwrap();
    assert_eq!(get((node_address, 18_080).into()).unwrap(), "pod-one");
    assert_eq!(pods[0].get((node_address, 18_081).into()).unwrap(), "pod-two", "from another pod");
    assert_eq!(pods[0].get((node_address, 18_080).into()).unwrap(), "pod-one", "from the pod itself");

    for (pod, attachment) in pods.iter().zip(&attached) {
        network.detach(&pod.network, Some(attachment)).await.unwrap();
        network.detach(&pod.network, Some(attachment)).await.unwrap();
        netns::remove(&pod.network.netns).unwrap();
        network.detach(&pod.network, Some(attachment)).await.unwrap();
    }
    assert_eq!(leases(leases_in), Vec::<String>::new());
    assert!(get((node_address, 18_080).into()).is_err(), "the host port is closed");
    assert_eq!(node.journal(), 0);
    drop(pods);
    super::harness::eventually("no veth but those that wait", || {
        let links =
            std::process::Command::new("ip").args(["-o", "link", "show", "type", "veth"]).output().unwrap();
        String::from_utf8_lossy(&links.stdout).lines().all(|line| line.contains(cni::READY))
    })
    .await;
}

const IPV4: &str = r#"[[{"subnet": "10.77.0.0/24"}]]"#;
const DUAL: &str = r#"[[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd77::/64"}]]"#;

fn conflist(version: &str, data: &Path, ranges: &str) -> String {
    format!(
        r#"{{"cniVersion": "{version}", "name": "real", "plugins": [
        {{"type": "bridge", "bridge": "real0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
          "ipam": {{"type": "host-local", "dataDir": "{}", "ranges": {ranges},
                    "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
        {{"type": "portmap", "snat": true, "capabilities": {{"portMappings": true}}}}]}}"#,
        data.display()
    )
}

#[test]
fn debians_plugins() {
    let absent = !Path::new("/usr/lib/cni/bridge").exists() || !Path::new("/usr/sbin/iptables").exists();
    if absent {
        need::skip(need::Need::Tools, "needs Debian's containernetworking-plugins and iptables");
        return;
    }
    on_own_host(|mut node| async move {
        node.settings.bin_dirs = vec!["/usr/lib/cni".into()];
        node.settings.in_process = false;
        let data = node.path("leases");
        // CHECK of portmap 1.1.1 looks for the rules of one family in the tables of the other.
        let text = conflist("1.0.0", &data, DUAL).replacen('{', r#"{"disableCheck": true, "#, 1);
        node.conf("10.conflist", &text);
        let network = node.open();
        assert!(network.status().ready, "{:?}", network.status());
        two_pods(&node, &network, &data.join("real"), 2).await;
    });
}

/// The bridge plugin's binary is missing when its pod goes, and back when the pod's namespace is no more.
#[test]
fn debians_bridge_leaves_no_rule_of_a_pod_that_was_gone_before_its_del() {
    let absent = !Path::new("/usr/lib/cni/bridge").exists() || !Path::new("/usr/sbin/iptables").exists();
    if absent {
        need::skip(need::Need::Tools, "needs Debian's containernetworking-plugins and iptables");
        return;
    }
    on_own_host(|mut node| async move {
        let programs = node.path("debians");
        fs::create_dir(&programs).unwrap();
        for name in ["bridge", "host-local", "portmap"] {
            fs::copy(Path::new("/usr/lib/cni").join(name), programs.join(name)).unwrap();
        }
        node.settings.bin_dirs = vec![programs.clone()];
        node.settings.in_process = false;
        let data = node.path("leases");
        node.conf("10.conflist", &conflist("1.0.0", &data, DUAL));
        let network = node.open();
        let rules = || {
            let list = |program: &str| {
                let listed = std::process::Command::new(program).args(["-t", "nat", "-S"]).output().unwrap();
                String::from_utf8(listed.stdout).unwrap()
            };
            let lines = list("iptables") + &list("ip6tables");
            lines.lines().filter(|line| line.contains("pod-gone")).count()
        };
        let pod = Pod::new(&node, "pod-gone", 0);
        let attachment = network.attach(&pod.network).await.unwrap();
        assert!(rules() >= 2, "what this is about");
        fs::rename(programs.join("bridge"), programs.join("aside")).unwrap();
        network.detach(&pod.network, Some(&attachment)).await.unwrap();
        assert_eq!(node.journal(), 1, "{:?}", network.status());
        netns::remove(&pod.network.netns).unwrap();
        drop(pod);
        fs::rename(programs.join("aside"), programs.join("bridge")).unwrap();
        eventually("it is released after all", || node.journal() == 0).await;
        assert_eq!((rules(), leases(&data.join("real"))), (0, Vec::new()));
    });
}

#[test]
fn the_same_configuration_in_process() {
    on_own_host(|mut node| async move {
        node.settings.bin_dirs = Vec::new();
        let data = node.path("leases");
        node.conf("10.conflist", &conflist("1.0.0", &data, DUAL));
        let network = node.open();
        assert!(network.status().ready, "{:?}", network.status());
        two_pods(&node, &network, &data.join("real"), 2).await;
    });
}

#[test]
fn the_network_that_needs_no_configuration() {
    on_own_host(|mut node| async move {
        node.settings.bin_dirs = Vec::new();
        node.settings.builtin_network = true;
        node.settings.in_process = false;
        node.settings.ipv6 = true;
        let network = node.open();
        assert!(network.status().ready, "{:?}", network.status());
        let data = node.settings.state_dir.join("ipam/corten");
        two_pods(&node, &network, &data, 2).await;
    });
}

/// The configuration that is handed out, over a built-in network that has pods.
#[test]
fn pods_of_the_built_in_network_stay_beside_the_packaged_configuration() {
    on_own_host(|mut node| async move {
        node.settings.builtin_network = true;
        node.settings.ipv6 = true;
        let network = node.open();
        host_interface();
        let old = Pod::new(&node, "old", 0);
        let before = network.attach(&old.network).await.unwrap();
        let leases_of_new = node.path("leases");
        let at = format!("\"type\": \"host-local\", \"dataDir\": {leases_of_new:?},");
        let packaged = include_str!("../../../config/10-corten.conflist");
        node.conf("10-corten.conflist", &packaged.replace("\"type\": \"host-local\",", &at));
        eventually("it is in force", || {
            network.loaded().is_some_and(|loaded| !loaded.builtin) && network.status().ready
        })
        .await;
        let new = Pod::new(&node, "new", 0);
        let after = network.attach(&new.network).await.unwrap();
        assert_eq!((before.ips.len(), after.ips.len()), (2, 2));
        for (old_ip, new_ip) in before.ips.iter().zip(&after.ips) {
            assert_ne!(old_ip, new_ip);
            old.serve(*old_ip);
            new.serve(*new_ip);
            assert_eq!(new.get((*old_ip, 80).into()).unwrap(), "old");
            assert_eq!(old.get((*new_ip, 80).into()).unwrap(), "new");
        }
        network.check(&old.network, &before).await.unwrap();
        network.detach(&old.network, Some(&before)).await.unwrap();
        network.check(&new.network, &after).await.unwrap();
        network.detach(&new.network, Some(&after)).await.unwrap();
        assert!(leases(&node.settings.state_dir.join("ipam/corten")).is_empty());
        assert!(leases(&leases_of_new.join("pods")).is_empty());
    });
}

#[test]
fn pods_keep_running_when_the_node_gets_its_cidrs() {
    on_own_host(|mut node| async move {
        node.settings.builtin_network = true;
        let network = node.open();
        host_interface();
        let old = Pod::new(&node, "old", 0);
        let before = network.attach(&old.network).await.unwrap();
        network.set_pod_cidrs(&["10.244.3.0/24".parse().unwrap(), "fd44:3::/64".parse().unwrap()]).unwrap();
        let new = Pod::new(&node, "new", 0);
        let after = network.attach(&new.network).await.unwrap();
        assert!(
            after.ips[0].to_string().starts_with("10.244.3.")
                && after.ips[1].to_string().starts_with("fd44:3:")
        );
        old.serve(before.ips[0]);
        new.serve(after.ips[0]);
        assert_eq!(new.get((before.ips[0], 80).into()).unwrap(), "old");
        assert_eq!(old.get((after.ips[0], 80).into()).unwrap(), "new");
        network.detach(&old.network, None).await.unwrap();
        network.detach(&new.network, None).await.unwrap();
        assert!(leases(&node.settings.state_dir.join("ipam/corten")).is_empty());
        assert!(leases(&node.settings.state_dir.join("ipam/corten-1")).is_empty());
    });
}

#[test]
fn plugins_in_process_and_executed_pass_results_to_each_other() {
    on_own_host(|node| async move {
        node.plugin("tap", r#"[ $CNI_COMMAND = ADD ] && sed -e 's/.*"prevResult"://' -e 's/,"type":"tap".*//' $D/tap.ADD.json; exit 0"#);
        let data = node.path("leases");
        let text = conflist("1.0.0", &data, IPV4);
        node.conf(
            "10.conflist",
            &text.replace(r#"{"type": "portmap""#, r#"{"type": "tap"}, {"type": "portmap""#),
        );
        let network = node.open();
        let pod = Pod::new(&node, "mixed", 0);
        let attachment = network.attach(&pod.network).await.unwrap();
        assert_eq!(attachment.in_process, [true, false, true]);
        assert_eq!(node.stdin("tap", "ADD")["prevResult"]["interfaces"][0]["name"], "real0");
        assert_eq!(attachment.ips.len(), 1);
        network.detach(&pod.network, Some(&attachment)).await.unwrap();
        assert!(leases(&data.join("real")).is_empty());
    });
}

#[test]
fn a_failure_in_process_leaves_no_address() {
    on_own_host(|node| async move {
        node.plugin(
            "bad",
            "[ $CNI_COMMAND = ADD ] || exit 0; echo '{\"code\": 100, \"msg\": \"no\"}'; exit 1",
        );
        let data = node.path("leases");
        let text = conflist("1.0.0", &data, IPV4);
        node.conf(
            "10.conflist",
            &text.replace(r#"{"type": "portmap""#, r#"{"type": "bad"}, {"type": "portmap""#),
        );
        let network = node.open();
        let pod = Pod::new(&node, "failing", 18_090);
        let error = network.attach(&pod.network).await.unwrap_err();
        assert_eq!(error.to_string(), "cni ADD bad: no (the plugin's code 100)");
        assert!(leases(&data.join("real")).is_empty());
        assert_eq!(node.journal(), 0);
    });
}
