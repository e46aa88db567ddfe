//! `corten node uninstall`.

use super::hand::Hand;
use super::host::Host;
use super::install::DATA;
use super::record::Record;
use super::{NodeError, Outcome, UNIT, kubelet, place};
use std::path::Path;

const PROGRAM: &str = "/usr/local/bin/corten";

/// Takes Corten from a host, and puts back what was there.
///
/// # Errors
/// Pods run by it, and nothing was done; or the system's, and it can be run again.
pub(super) fn uninstall(host: &Host, hand: &dyn Hand) -> Result<(Outcome, Vec<String>), NodeError> {
    host.look_at_root()?;
    let Some(mut record) = Record::load(host)? else {
        return Ok((Outcome::Done, vec!["nothing is installed here by `corten node install`".to_owned()]));
    };
    let (mut moved, mut told) = (false, Vec::new());
    if !record.ended {
        refuse_pods(hand)?;
        moved = kubelet::back(host, hand, &mut record)?;
        hand.must("systemctl", &["disable", "--now", UNIT])?;
        told.extend(wipe(host, hand, &record)?);
        record.ended = true;
        record.save(host)?;
    }
    told.extend(place::restore(host, &mut record)?);
    hand.must("systemctl", &["daemon-reload"])?;
    Ok((if moved { Outcome::Moved } else { Outcome::Done }, told))
}

/// Takes the state away, unless some was there before; what is told is what stays.
fn wipe(host: &Host, hand: &dyn Hand, record: &Record) -> Result<Option<String>, NodeError> {
    let line = ["wipe", "--yes", "--images"];
    if record.had_data {
        return Ok(Some(format!("{DATA} was there before, and stays with its images")));
    }
    let Some(access) = record.empty_data else { return hand.must(PROGRAM, &line).map(|()| None) };
    // It may be a mount, which nobody but its owner takes away.
    let ended = hand.run(PROGRAM, &line)?;
    host.make_directory(Path::new(DATA), access)?;
    Ok((!ended.success).then(|| format!("not everything could be removed: {}", ended.stderr.trim())))
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
