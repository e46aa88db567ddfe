//! `corten node uninstall`.

use super::hand::Hand;
use super::host::Host;
use super::record::Record;
use super::{NodeError, Outcome, UNIT, kubelet, place};

/// Takes Corten from a host, and puts back what was there.
///
/// # Errors
/// Pods run by it, and nothing was done; or the system's, and it can be run again.
pub(super) fn uninstall(host: &Host, hand: &dyn Hand) -> Result<Outcome, NodeError> {
    let Some(mut record) = Record::load(host)? else { return Ok(Outcome::Done) };
    let pods = host.processes("corten-shim").len();
    if pods > 0 {
        return Err(NodeError::InUse(pods));
    }
    let moved = kubelet::back(host, hand, &mut record)?;
    hand.must("systemctl", &["disable", "--now", UNIT])?;
    if !record.had_data {
        hand.must("/usr/local/bin/corten", &["wipe", "--yes", "--images"])?;
    }
    place::restore(host, &mut record)?;
    hand.must("systemctl", &["daemon-reload"])?;
    Ok(if moved { Outcome::Moved } else { Outcome::Done })
}
