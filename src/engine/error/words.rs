//! What errors say that depends on what was found.

use super::EngineError;
use model::chain;

/// Why a name that is held in that state, or at that stage of being made, is not free, and what to do.
pub(super) fn held(stage: &str) -> String {
    match stage {
        "not ready" | "exited" => format!("which is {stage}: remove it first"),
        "ready" | "created" | "running" => {
            format!("which is {stage} and was asked for with another configuration: remove it first")
        }
        "being removed" => "which is being removed: try again".to_owned(),
        making => format!("which is being made with another configuration ({making})"),
    }
}

/// What to do about state of another version.
pub(super) fn advice(found: u32) -> &'static str {
    if found > crate::record::VERSION {
        "a newer release wrote it, and nothing was changed; install that release again, or drain the node and empty both \
         directories before going back"
    } else if found == 0 {
        "a build before 0.1.0 wrote it, and nothing was changed; remove all pods with that build, and empty both \
         directories"
    } else {
        "a release wrote it that is too old for this one, and nothing was changed; upgrade by way of a release between \
         them, or remove all pods with the old one and empty both directories"
    }
}

pub(super) fn join(errors: &[EngineError]) -> String {
    errors.iter().map(|error| chain(error)).collect::<Vec<_>>().join("; ")
}
