//! Pods that reach for what is the node's own.

use e2e::http::Request;
use e2e::pods::{shell, with_host_port};
use e2e::world::{BUSYBOX, World};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::Duration;

/// A UDP datagram with its IPv4 header; the kernel fills in lengths and the header's checksum.
fn datagram(source: Ipv4Addr, destination: Ipv4Addr, port: u16, content: &[u8]) -> Vec<u8> {
    const UDP: u8 = 17;
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, UDP, 0, 0];
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    packet.extend_from_slice(&40_000u16.to_be_bytes());
    packet.extend_from_slice(&port.to_be_bytes());
    packet.extend_from_slice(&u16::try_from(8 + content.len()).unwrap().to_be_bytes());
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(content);
    packet
}

/// Sends packets as a container with NET_RAW can: whatever they say, they go to the neighbour.
fn send_raw(netns: &Path, neighbour: Ipv4Addr, packets: &[Vec<u8>]) {
    let netns = sys::netns::Netns::open(netns).unwrap();
    let send = || {
        let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Raw).unwrap();
        // The standard library sends by any socket of the family.
        let raw = UdpSocket::from(raw);
        for packet in packets {
            raw.send_to(packet, (neighbour, 0)).unwrap();
        }
    };
    sys::netns::run_in(netns.fd(), send).unwrap();
}

fn listener(address: Ipv4Addr) -> (UdpSocket, u16) {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[test]
fn a_pod_does_not_reach_what_listens_on_the_node_s_loopback() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        // The host port makes the bridge route 127.0.0.0/8.
        let config = with_host_port(world.pod("loopback").unwrap(), 30_090, 80);
        let pod = cri.run_pod(&config).await.unwrap();
        let script = "mkdir /www; echo served >/www/index.html; exec httpd -f -p 80 -h /www";
        let web = cri.create(&pod, &shell("web", BUSYBOX, script), &config).await.unwrap();
        cri.start(&web).await.unwrap();
        let own: Ipv4Addr = cri.pod_ip(&pod).await.unwrap().parse().unwrap();
        let gateway = Ipv4Addr::from(u32::from(own) & 0xffff_0000 | 1);
        let netns = fs::read_dir("/run/netns").unwrap().next().unwrap().unwrap().path();

        let (inner, inner_port) = listener(Ipv4Addr::LOCALHOST);
        let (open, open_port) = listener(Ipv4Addr::UNSPECIFIED);
        send_raw(
            &netns,
            gateway,
            &[
                datagram(own, Ipv4Addr::LOCALHOST, inner_port, b"to loopback"),
                datagram(own, Ipv4Addr::new(127, 9, 9, 9), open_port, b"to another loopback"),
                datagram(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, inner_port, b"as loopback"),
                datagram(Ipv4Addr::LOCALHOST, gateway, open_port, b"from loopback"),
                datagram(own, gateway, open_port, b"honest"),
            ],
        );
        // They come in order: what is to be dropped would have been first.
        let mut buffer = [0; 64];
        let (len, from) = open.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from.ip()), (&b"honest"[..], own.into()));
        inner.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let leaked = inner.recv_from(&mut buffer);
        assert!(leaked.is_err(), "a pod's packet has reached 127.0.0.1: {leaked:?}");

        // What the route is for goes on.
        let request = Request { method: "GET", target: "/index.html", headers: &[], body: &[] };
        let mut tries = (0..100).filter_map(|_| {
            std::thread::sleep(Duration::from_millis(50));
            request.send("127.0.0.1:30090".parse().unwrap()).ok()
        });
        assert_eq!(tries.next().expect("the host port answers").body, b"served\n");
        cri.end_pod(&pod).await.unwrap();
    });
}
