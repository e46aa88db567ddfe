//! Documents of the runtime spec as JSON. Two flags of schedulers are spelled otherwise by the library than by the spec:
//! written is the spec's spelling, and read are both.

use oci_spec::runtime::{Process, Scheduler, Spec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The library's, the spec's.
const SPELLINGS: [(&str, &str); 2] = [
    ("SCHED_RESET_ON_FORK", "SCHED_FLAG_RESET_ON_FORK"),
    ("SCHED_FLAG_D_L_OVERRUN", "SCHED_FLAG_DL_OVERRUN"),
];

/// Where flags are, in a whole spec and in a process.
const PLACES: [&str; 2] = ["/process/scheduler/flags", "/scheduler/flags"];

/// A document that may have a scheduler.
pub trait Document: Serialize {
    /// It.
    fn scheduler(&self) -> Option<&Scheduler>;
}

impl Document for Spec {
    fn scheduler(&self) -> Option<&Scheduler> {
        self.process().as_ref()?.scheduler().as_ref()
    }
}

impl Document for Process {
    fn scheduler(&self) -> Option<&Scheduler> {
        self.scheduler().as_ref()
    }
}

/// Writes a document.
///
/// # Errors
/// As of [`serde_json::to_vec`].
pub fn write(document: &impl Document) -> serde_json::Result<Vec<u8>> {
    if document.scheduler().is_none() {
        return serde_json::to_vec(document);
    }
    let mut value = serde_json::to_value(document)?;
    respell(&mut value, |flag| SPELLINGS.iter().find(|(library, _)| *library == flag).map(|(_, spec)| *spec));
    serde_json::to_vec(&value)
}

/// Reads a document.
///
/// # Errors
/// As of [`serde_json::from_slice`].
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(bytes).or_else(|error| {
        let Ok(mut value) = serde_json::from_slice(bytes) else { return Err(error) };
        respell(&mut value, |flag| {
            SPELLINGS.iter().find(|(_, spec)| *spec == flag).map(|(library, _)| *library)
        });
        // The first error has a line and a column.
        serde_json::from_value(value).map_err(|_| error)
    })
}

fn respell(document: &mut Value, spelling: impl Fn(&str) -> Option<&'static str>) {
    for place in PLACES {
        for flag in document.pointer_mut(place).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(other) = flag.as_str().and_then(&spelling) {
                *flag = other.into();
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use oci_spec::runtime::LinuxSchedulerFlag as Flag;

    fn process() -> Process {
        let mut scheduler = Scheduler::default();
        scheduler.set_flags(Some(vec![
            Flag::SchedResetOnFork,
            Flag::SchedFlagDLOverrun,
            Flag::SchedFlagReclaim,
        ]));
        let mut process = Process::default();
        process.set_scheduler(Some(scheduler)).set_args(Some(vec!["SCHED_RESET_ON_FORK".to_owned()]));
        process
    }

    #[test]
    fn flags_are_spelled_as_in_the_spec_and_nothing_else_is_changed() {
        let mut spec = Spec::default();
        spec.set_process(Some(process()));
        let texts = [write(&spec).unwrap(), write(&process()).unwrap()];
        for (text, place) in texts.iter().zip(["/process", ""]) {
            let value: Value = serde_json::from_slice(text).unwrap();
            let found = |rest: &str| value.pointer(&format!("{place}/{rest}")).unwrap().clone();
            let flags = ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RECLAIM"];
            assert_eq!(found("scheduler/flags"), serde_json::json!(flags));
            assert_eq!(found("args"), serde_json::json!(["SCHED_RESET_ON_FORK"]));
        }
        let [whole, part] = texts;
        assert_eq!(read::<Spec>(&whole).unwrap(), spec);
        assert_eq!(read::<Process>(&part).unwrap(), process());
    }

    #[test]
    fn the_library_s_spelling_is_read_too_and_errors_say_where() {
        let text = serde_json::to_vec(&process()).unwrap();
        assert_eq!(read::<Process>(&text).unwrap(), process());
        let error = read::<Process>(b"{\n  \"cwd\": 3}").unwrap_err();
        assert_eq!(error.line(), 2, "{error}");
    }
}
