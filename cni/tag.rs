//! Tags: the comment on a packet filter element that says for which attachment it was made.

use crate::types::{Invocation, ValidAttachment};

/// `nft` allows comments of this many bytes.
const MAX: usize = 127;

/// The tag of one attachment: container, interface, network, with the parts that are too long hashed.
pub(crate) fn attachment(container_id: &str, ifname: &str, network: &str) -> String {
    let plain = format!("{container_id} {ifname} {network}");
    if plain.len() <= MAX {
        return plain;
    }
    let network = of_network(network);
    let tag = format!("{container_id} {ifname} {network}");
    if tag.len() <= MAX { tag } else { format!("{} {ifname} {network}", hashed(container_id)) }
}

/// The tag of the attachment that a call is about.
pub(crate) fn of(call: &Invocation) -> String {
    attachment(&call.container_id, &call.ifname, call.conf.network())
}

/// What is left by an attachment of the call's network that is not among the valid ones.
pub(crate) fn stale(call: &Invocation, valid: &[ValidAttachment]) -> impl Fn(&str) -> bool + use<> {
    let network = call.conf.network().to_owned();
    let valid: Vec<String> = valid.iter().map(|v| attachment(&v.container_id, &v.ifname, &network)).collect();
    move |tag: &str| {
        let own = tag.rsplit(' ').next().is_some_and(|n| n == network || n == hashed(&network));
        own && !valid.iter().any(|valid| valid == tag)
    }
}

fn of_network(network: &str) -> String {
    if network.len() <= 16 { network.to_owned() } else { hashed(network) }
}

fn hashed(text: &str) -> String {
    format!("#{:016x}", fnv1a(text.as_bytes()))
}

/// FNV-1a, 64 bits: names only need to differ, nobody gains by making them collide.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_fit_and_differ() {
        let id = "a".repeat(64);
        assert_eq!(attachment(&id, "eth0", "net"), format!("{id} eth0 net"));
        for (id, network) in [(id.clone(), "n".repeat(200)), ("b".repeat(300), "n".repeat(200))] {
            let tag = attachment(&id, "eth0", &network);
            assert!(tag.len() <= MAX, "{tag}");
            assert_ne!(tag, attachment(&id, "eth1", &network));
            assert_ne!(tag, attachment(&id, "eth0", &format!("{network}x")));
        }
    }
}
