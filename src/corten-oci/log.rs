//! Messages in the form of runc's, which callers read from the file that `--log` names.

use std::fs::OpenOptions;
use std::io::Write;

use crate::args::{Global, LogFormat};
use crate::error::Error;
use crate::time;

/// The failure of the command: to the log file, and to stderr for people.
pub(crate) fn error(global: &Global, error: &Error) {
    write(global, "error", &error.to_string());
}

/// Something that went differently from what was asked for.
pub(crate) fn warning(global: &Global, text: &str) {
    write(global, "warning", text);
}

/// For `--debug`.
pub(crate) fn debug(global: &Global, text: &str) {
    if global.debug {
        write(global, "debug", text);
    }
}

fn write(global: &Global, level: &str, text: &str) {
    let line = match global.log_format {
        LogFormat::Json => {
            serde_json::json!({ "level": level, "msg": text, "time": time::now() }).to_string()
        }
        LogFormat::Text => plain(level, text),
    };
    let logged = global.log.as_ref().is_some_and(|path| {
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| writeln!(file, "{line}")).is_ok()
    });
    if level == "error" || !logged {
        // With stderr gone too, the exit code says it.
        let _ = writeln!(std::io::stderr(), "{}", plain(level, text));
    }
}

fn plain(level: &str, text: &str) -> String {
    format!("time={:?} level={level} msg={text:?}", time::now())
}
