//! What a setting says: `engine.run.recorded=abort;net.add.called=error(EIO)@2;shim.start.told=delay(200ms)`.
//!
//! `abort` ends the process there and then, `error(NUMBER)` has the step fail with an error of the kernel's by name, and
//! `delay(…ms)` or `delay(…s)` has the thread wait. `@N`: at the Nth time only.

use crate::{POINTS, Point};
use std::time::Duration;

/// The errors that a step can be made to fail with.
const ERRORS: [(&str, i32); 10] = [
    ("EPERM", 1),
    ("ENOENT", 2),
    ("EIO", 5),
    ("EAGAIN", 11),
    ("ENOMEM", 12),
    ("EACCES", 13),
    ("EBUSY", 16),
    ("EMFILE", 24),
    ("ENOSPC", 28),
    ("ETIMEDOUT", 110),
];

/// What happens at a failpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The process ends.
    Abort,
    /// The step fails with this number.
    Fail(i32),
    /// The thread waits.
    Delay(Duration),
}

/// A failpoint at which something happens.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The failpoint.
    pub point: &'static Point,
    /// What happens.
    pub action: Action,
    /// The only time at which it does; `None`: every time.
    pub only: Option<u64>,
}

/// A setting that makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// It has another form.
    #[error(
        "failpoints: {0:?} is not of the form name=abort, name=error(EIO) or name=delay(200ms), with @2 behind it for the second time alone"
    )]
    Form(String),
    /// There is no such failpoint.
    #[error("failpoints: there is none with the name {0:?}")]
    Unknown(String),
    /// The step cannot fail.
    #[error("failpoints: {0} cannot fail: it takes abort and delay")]
    Infallible(&'static str),
    /// No error has the name.
    #[error("failpoints: {0:?} is none of {known}", known = ERRORS.map(|(name, _)| name).join(", "))]
    Errno(String),
    /// The directory for what was reached cannot be used.
    #[error("failpoints: open the directory {0:?}")]
    Directory(std::path::PathBuf, #[source] Reason),
}

/// Why a directory cannot be opened.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Reason(pub String);

/// Reads a setting.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Vec<Setting>, SettingError> {
    text.split(';').map(str::trim).filter(|one| !one.is_empty()).map(one).collect()
}

fn one(text: &str) -> Result<Setting, SettingError> {
    let form = || SettingError::Form(text.to_owned());
    let (name, what) = text.split_once('=').ok_or_else(form)?;
    let point = POINTS.iter().find(|point| point.name == name);
    let point = point.ok_or_else(|| SettingError::Unknown(name.to_owned()))?;
    let (action, only) = match what.split_once('@') {
        Some((action, time)) => (action, Some(time.parse().ok().filter(|time| *time > 0).ok_or_else(form)?)),
        None => (what, None),
    };
    let argument = |verb: &str| action.strip_prefix(verb)?.strip_prefix('(')?.strip_suffix(')');
    let action = if action == "abort" {
        Action::Abort
    } else if let Some(name) = argument("error") {
        if !point.can_fail {
            return Err(SettingError::Infallible(point.name));
        }
        let known = ERRORS.into_iter().find(|(known, _)| *known == name);
        Action::Fail(known.ok_or_else(|| SettingError::Errno(name.to_owned()))?.1)
    } else {
        Action::Delay(argument("delay").and_then(duration).ok_or_else(form)?)
    };
    Ok(Setting { point, action, only })
}

fn duration(text: &str) -> Option<Duration> {
    if let Some(count) = text.strip_suffix("ms") {
        return count.parse().ok().map(Duration::from_millis);
    }
    text.strip_suffix('s')?.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_names_points_actions_and_times() {
        let read = parse(
            "engine.run.recorded=abort; engine.run.attached=error(ENOSPC)@2;engine.run.published=delay(1s)",
        );
        let read: Vec<_> =
            read.unwrap().into_iter().map(|one| (one.point.name, one.action, one.only)).collect();
        assert_eq!(
            read,
            [
                ("engine.run.recorded", Action::Abort, None),
                ("engine.run.attached", Action::Fail(28), Some(2)),
                ("engine.run.published", Action::Delay(Duration::from_secs(1)), None),
            ]
        );
        assert_eq!(parse("").unwrap().len(), 0);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_what_is_wrong() {
        let problem = |text| parse(text).err().unwrap().to_string();
        assert!(problem("engine.run.recroded=abort").contains("none with the name \"engine.run.recroded\""));
        assert!(problem("engine.run.published=error(EIO)").contains("cannot fail"));
        assert!(problem("engine.run.recorded=error(EWHAT)").contains("\"EWHAT\" is none of EPERM"));
        for text in [
            "engine.run.recorded",
            "engine.run.recorded=explode",
            "engine.run.recorded=delay(1)",
            "engine.run.recorded=abort@0",
        ] {
            assert!(problem(text).contains("not of the form"), "{text}");
        }
    }
}
