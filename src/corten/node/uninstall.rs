//! `corten node uninstall`.

use super::hand::Hand;
use super::host::Host;
use super::record::Record;
use super::{NodeError, Outcome, UNIT, kubelet, place};

const PROGRAM: &str = "/usr/local/bin/corten";

/// Takes Corten from a host, and puts back what was there.
///
/// # Errors
/// Pods run by it, and nothing was done; or the system's, and it can be run again.
pub(super) fn uninstall(host: &Host, hand: &dyn Hand) -> Result<Outcome, NodeError> {
    let Some(mut record) = Record::load(host)? else { return Ok(Outcome::Done) };
    let mut moved = false;
    if !record.ended {
        refuse_pods(hand)?;
        moved = kubelet::back(host, hand, &mut record)?;
        hand.must("systemctl", &["disable", "--now", UNIT])?;
        if !record.had_data {
            hand.must(PROGRAM, &["wipe", "--yes", "--images"])?;
        }
        record.ended = true;
        record.save(host)?;
    }
    place::restore(host, &mut record)?;
    hand.must("systemctl", &["daemon-reload"])?;
    Ok(if moved { Outcome::Moved } else { Outcome::Done })
}

/// By the records of this host's daemon: others of its name may run on a machine, for one in tests.
fn refuse_pods(hand: &dyn Hand) -> Result<(), NodeError> {
    let survey = hand.run(PROGRAM, &["wipe", "--dry-run"])?;
    if !survey.success {
        let line = format!("{PROGRAM} wipe --dry-run");
        return Err(NodeError::Program { line, said: survey.stderr.trim().to_owned() });
    }
    match survey.stdout.lines().filter(|line| line.starts_with("pod ")).count() {
        0 => Ok(()),
        pods => Err(NodeError::InUse(pods)),
    }
}
