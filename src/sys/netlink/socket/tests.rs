use super::*;
use crate::netns;
use nix::sys::socket::{getsockname, sendto};

/// An acknowledgement with an error for each of the first requests of a socket, as the kernel would send it.
fn forged_errors() -> Vec<u8> {
    let mut forged = Writer::default();
    for seq in 1..=8u32 {
        let start = forged.len();
        forged.message(MSG_ERROR, 0, |w| {
            w.raw(&(-libc::EPERM).to_ne_bytes());
            w.raw(&[0; 16]);
        });
        forged.bytes_mut()[start + 8..start + 12].copy_from_slice(&seq.to_ne_bytes());
    }
    forged.bytes().to_vec()
}

/// Runs a test in a network namespace of its own.
fn isolated(name: &str, test: impl FnOnce() + Send) {
    if !need::root("needs root") {
        return;
    }
    let pin = std::env::temp_dir().join(format!("sys-netlink-{}-{name}", std::process::id()));
    let made = netns::create(&pin).unwrap();
    netns::remove(&pin).unwrap();
    netns::run_in(made.fd(), test).unwrap();
}

#[test]
fn only_the_kernel_answers() {
    isolated("forged", || {
        let victim = Socket::route().unwrap();
        let to: NetlinkAddr = getsockname(victim.fd.as_raw_fd()).unwrap();
        let forger = Socket::open(SockProtocol::NetlinkRoute).unwrap();
        // The kernel refuses it. Were it delivered, what counts is that it is not believed.
        let _ = sendto(forger.fd.as_raw_fd(), &forged_errors(), &to, MsgFlags::empty());
        let replies = victim.run(Batch::new().get_link("lo")).unwrap();
        assert_eq!(crate::netlink::link_info(&replies).unwrap().name, "lo");
    });
}

#[test]
fn what_another_process_sends_is_not_from_the_kernel() {
    isolated("sender", || {
        let open = || {
            let fd = socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::NetlinkRoute,
            )
            .unwrap();
            bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).unwrap();
            fd
        };
        let (victim, forger) = (open(), open());
        let to: NetlinkAddr = getsockname(victim.as_raw_fd()).unwrap();
        sendto(forger.as_raw_fd(), &forged_errors(), &to, MsgFlags::empty()).unwrap();
        let mut buffer = [0; 4096];
        let (len, from_kernel) = receive(&victim, &mut buffer, MsgFlags::empty()).unwrap();
        assert_eq!((len, from_kernel), (forged_errors().len(), false));
        let mut request = Batch::new();
        request.get_link("lo");
        send(victim.as_raw_fd(), request.writer.bytes(), MsgFlags::empty()).unwrap();
        assert!(receive(&victim, &mut buffer, MsgFlags::empty()).unwrap().1);
    });
}
