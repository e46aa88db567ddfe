//! The network that pods would get.

use super::finding::Finding;
use net::NetworkSettings;

/// Programs of others are asked for no longer than the files are looked at: none is called.
pub(super) fn check(settings: &NetworkSettings) -> Vec<Finding> {
    let mut found = vec![in_force(settings)];
    found.extend(settings.overlaps().into_iter().map(|overlap| {
        Finding::warning("subnets", overlap)
            .costs("pods do not reach what is there, or two pods have one address")
            .mend("another subnet in the configuration, or take the other network away")
    }));
    let bridges = settings.foreign_bridges();
    if !bridges.is_empty() {
        found.push(
            Finding::warning("bridges", format!("bridges of other daemons: {}", bridges.join(", ")))
                .costs("the built-in network is not ready where it would need the same one")
                .mend("network.conf_dir with a configuration of this node's, or `ip link del` what is left over"),
        );
    }
    found
}

fn in_force(settings: &NetworkSettings) -> Finding {
    let dir = settings.conf_dir.display();
    match settings.chosen() {
        Some(chosen) => Finding::ok(
            "cni",
            format!("{} from {}: {}", chosen.name, chosen.path.display(), chosen.plugins.join(", ")),
        ),
        None if settings.builtin_network => {
            Finding::ok("cni", format!("the built-in network, while {dir} has no configuration"))
        }
        None => Finding::warning("cni", format!("no valid CNI configuration in {dir}"))
            .costs("the node is not ready until there is one; pods of the host's network run")
            .mend(
                "the cluster's network plugin installs it; on a single node network.builtin_network = true",
            ),
    }
}
