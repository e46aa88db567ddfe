use super::*;
use crate::netlink::Socket;
use crate::{netns, nft};
use std::net::{IpAddr, Ipv4Addr};

/// Runs a test in a network namespace of its own, so that it touches no table of the host.
fn isolated(name: &str, test: impl FnOnce(&Socket) + Send) {
    if !need::root("needs root") {
        return;
    }
    let pin = std::env::temp_dir().join(format!("sys-nft-{}-{name}", std::process::id()));
    let made = netns::create(&pin).unwrap();
    netns::remove(&pin).unwrap();
    netns::run_in(made.fd(), || test(&Socket::netfilter().unwrap())).unwrap();
}

fn key(last: u8) -> Vec<u8> {
    KeyBytes::new().transport(6).port(8000 + u16::from(last)).build()
}

fn element(last: u8, comment: &str) -> Element {
    let data = KeyBytes::new().ip(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))).port(80).build();
    Element { key: key(last), data: Some(Data::Value(data)), comment: comment.to_owned() }
}

fn build(socket: &Socket) {
    let mut tx = Transaction::new(Family::Inet, "t", None);
    tx.add_table();
    tx.add_set("ports", &[Type::Transport, Type::Port], SetData::Values(&[Type::Ipv4, Type::Port]));
    tx.add_set("clients", &[Type::Ipv4], SetData::Verdicts);
    tx.add_chain("inner", None);
    tx.add_chain("in", Some(Hook::NatPrerouting));
    tx.flush_chain("in");
    let rule = Expressions::new()
        .meta(Meta::Family, Reg(0))
        .equals(Reg(0), &[2])
        .destination_type(Reg(0))
        .equals(Reg(0), &2u32.to_ne_bytes())
        .meta(Meta::Transport, Reg(0))
        .payload(Header::Transport, 2, 2, Reg(1))
        .map("ports", Reg(0), Reg(0))
        .redirect_to(true, Reg(0), Reg(1));
    tx.add_rule("in", &rule);
    tx.commit(socket).unwrap();
}

#[test]
fn elements_are_added_listed_and_removed() {
    isolated("elements", |socket| {
        build(socket);
        build(socket);
        let mut tx = Transaction::new(Family::Inet, "t", None);
        tx.add_elements("ports", &[element(1, "one"), element(2, "two")]);
        let goto = Element {
            key: KeyBytes::new().ip(IpAddr::V4(Ipv4Addr::LOCALHOST)).build(),
            data: Some(Data::Goto("inner".to_owned())),
            comment: "c".to_owned(),
        };
        tx.add_elements("clients", std::slice::from_ref(&goto));
        tx.commit(socket).unwrap();

        let mut found = elements(socket, Family::Inet, "t", "ports").unwrap();
        found.sort_by(|a, b| a.comment.cmp(&b.comment));
        assert_eq!(found, [element(1, "one"), element(2, "two")]);
        assert_eq!(elements(socket, Family::Inet, "t", "clients").unwrap(), [goto]);

        let keys = [("ports", key(2)), ("ports", key(3)), ("none", key(1)), ("ports", key(1))];
        let found = find(socket, Family::Inet, "t", &keys).unwrap();
        assert_eq!(found, [("ports", element(2, "two")), ("ports", element(1, "one"))]);
        assert_eq!(find(socket, Family::Inet, "none", &keys).unwrap(), []);

        let mut tx = Transaction::new(Family::Inet, "t", None);
        tx.delete_elements("ports", &[key(1)]);
        tx.commit(socket).unwrap();
        assert_eq!(elements(socket, Family::Inet, "t", "ports").unwrap(), [element(2, "two")]);
    });
}

#[test]
fn a_transaction_is_all_or_nothing() {
    isolated("atomic", |socket| {
        build(socket);
        let mut tx = Transaction::new(Family::Inet, "t", None);
        tx.add_elements("ports", &[element(1, "one")]);
        tx.add_elements("ports", &[element(1, "other")]);
        let error = tx.commit(socket).unwrap_err();
        assert_eq!((error.op, error.errno), ("add nft elements", libc::EEXIST));
        assert_eq!(elements(socket, Family::Inet, "t", "ports").unwrap(), []);
        let error = elements(socket, Family::Inet, "t", "none").unwrap_err();
        assert_eq!(error.errno, libc::ENOENT);

        let mut tx = Transaction::new(Family::Inet, "t", None);
        tx.delete_elements("ports", &[key(1)]);
        assert_eq!(tx.commit(socket).unwrap_err().errno, libc::ENOENT);
    });
}

#[test]
fn an_outdated_generation_is_refused() {
    isolated("generation", |socket| {
        build(socket);
        let before = nft::generation(socket).unwrap();
        let mut tx = Transaction::new(Family::Inet, "t", Some(before));
        tx.add_elements("ports", &[element(1, "one")]);
        tx.commit(socket).unwrap();
        let mut tx = Transaction::new(Family::Inet, "t", Some(before));
        tx.add_elements("ports", &[element(2, "two")]);
        assert_eq!(tx.commit(socket).unwrap_err().errno, 85, "ERESTART");
        assert_eq!(elements(socket, Family::Inet, "t", "ports").unwrap().len(), 1);
    });
}

#[test]
fn many_elements_come_and_go_at_once() {
    isolated("many", |socket| {
        build(socket);
        let all: Vec<_> = (0..1000u16)
            .map(|port| Element { key: KeyBytes::new().transport(17).port(port).build(), ..element(1, "x") })
            .collect();
        let mut tx = Transaction::new(Family::Inet, "t", None);
        tx.add_elements("ports", &all);
        tx.commit(socket).unwrap();
        assert_eq!(elements(socket, Family::Inet, "t", "ports").unwrap().len(), 1000);
        let keys: Vec<_> = all.iter().map(|element| ("ports", element.key.clone())).collect();
        assert_eq!(find(socket, Family::Inet, "t", &keys).unwrap().len(), 1000);
        let mut tx = Transaction::new(Family::Inet, "t", None);
        let keys: Vec<_> = all.iter().map(|element| element.key.clone()).collect();
        tx.delete_elements("ports", &keys);
        tx.commit(socket).unwrap();
        assert!(elements(socket, Family::Inet, "t", "ports").unwrap().is_empty());
        assert_eq!(elements(socket, Family::Inet, "none", "ports").unwrap_err().errno, libc::ENOENT);
    });
}
