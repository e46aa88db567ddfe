//! Logs on stderr: text or JSON, and under systemd with the priority that journald reads.

use crate::config::{Log, LogFormat};
use std::fmt;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::fmt::{self as lines, FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, reload};

/// Why logging cannot start or change.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoggingError {
    /// A part of `log.level` is none.
    #[error("`{0}` is neither a level nor part=level; levels are off, error, warn, info, debug, trace")]
    Level(String),
    /// Something logs already.
    #[error("logging was started before")]
    Started(#[from] TryInitError),
    /// The subscriber is gone.
    #[error("the level cannot be changed")]
    Reload(#[from] reload::Error),
}

/// Changes the level of the running daemon.
#[derive(Debug, Clone)]
pub(crate) struct LevelHandle(reload::Handle<Targets, Registry>);

impl LevelHandle {
    /// Takes a new `log.level`.
    ///
    /// # Errors
    /// The text is no level.
    pub(crate) fn set(&self, level: &str) -> Result<(), LoggingError> {
        Ok(self.0.reload(levels(level)?)?)
    }
}

/// The crates of this workspace, which are what `debug` and `trace` are about: frames of HTTP/2 tell nobody anything.
const OWN: [&str; 14] = [
    "cni", "corten", "cri", "engine", "image", "launch", "model", "net", "oci", "proto", "stream", "sys",
    "systemd", "wire",
];

/// Reads `log.level`: a level, or a list of `part=level` with at most one level for all other parts, which is `info`
/// when left out. A library of somebody else's is louder than `info` only where it is named.
///
/// # Errors
/// A word is no level. The subscriber's own parser would take it for the name of a part.
pub(crate) fn levels(text: &str) -> Result<Targets, LoggingError> {
    let mut targets = Targets::new().with_default(LevelFilter::INFO);
    // The level for all first, whatever the order: the parts are its exceptions.
    let mut directives: Vec<&str> = text.split(',').map(str::trim).collect();
    directives.sort_by_key(|directive| directive.contains('='));
    for directive in directives {
        let (part, level) =
            directive.split_once('=').map_or((None, directive), |(part, level)| (Some(part), level));
        let level = match level {
            "off" => LevelFilter::OFF,
            "error" => LevelFilter::ERROR,
            "warn" => LevelFilter::WARN,
            "info" => LevelFilter::INFO,
            "debug" => LevelFilter::DEBUG,
            "trace" => LevelFilter::TRACE,
            _ => return Err(LoggingError::Level(directive.to_owned())),
        };
        targets = match part {
            None if level > LevelFilter::INFO => OWN
                .iter()
                .fold(targets.with_default(LevelFilter::INFO), |all, part| all.with_target(*part, level)),
            None => targets.with_default(level),
            Some("") => return Err(LoggingError::Level(directive.to_owned())),
            Some(part) => targets.with_target(part, level),
        };
    }
    Ok(targets)
}

/// Starts logging for the whole process.
///
/// # Errors
/// The level cannot be parsed, or logging was started before.
pub(crate) fn start(log: &Log) -> Result<LevelHandle, LoggingError> {
    let (filter, handle) = reload::Layer::new(levels(&log.level)?);
    // stderr may be closed or full; telling so on stderr would panic.
    let layer = lines::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let journal = stderr_is_the_journal();
    let colour = std::io::stderr().is_terminal() && !no_color(std::env::var_os("NO_COLOR").as_deref());
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match (log.format, journal) {
        (LogFormat::Json, _) => {
            let format = lines::format().json().flatten_event(true);
            let layer = layer.fmt_fields(lines::format::JsonFields::new());
            layer.event_format(Prefixed { journal, format }).with_filter(filter).boxed()
        }
        (LogFormat::Text, true) => {
            let format = lines::format().without_time().with_ansi(false);
            layer.with_ansi(false).event_format(Prefixed { journal, format }).with_filter(filter).boxed()
        }
        (LogFormat::Text, false) => {
            let format = lines::format().with_timer(SystemTime).with_ansi(colour);
            layer.with_ansi(colour).event_format(format).with_filter(filter).boxed()
        }
    };
    tracing_subscriber::registry().with(lines).try_init()?;
    Ok(LevelHandle(handle))
}

/// Whether the user wants no colours: any text but none in `NO_COLOR` (no-color.org).
fn no_color(value: Option<&std::ffi::OsStr>) -> bool {
    value.is_some_and(|value| !value.is_empty())
}

/// Whether stderr is the stream that systemd connected to the journal: `JOURNAL_STREAM` names its device and inode,
/// and is inherited by processes whose stderr goes elsewhere.
fn stderr_is_the_journal() -> bool {
    let Ok(expected) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|stderr| expected == format!("{}:{}", stderr.dev(), stderr.ino()))
}

/// Puts the priority that journald understands (`sd-daemon(3)`) before each line.
struct Prefixed<F> {
    journal: bool,
    format: F,
}

impl<S, N, F> FormatEvent<S, N> for Prefixed<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if self.journal {
            writer.write_str(priority(*event.metadata().level()))?;
        }
        self.format.format_event(context, writer, event)
    }
}

fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_for_all_and_by_part() {
        let targets = levels("warn, net=debug,engine::pod=off").unwrap();
        assert!(targets.would_enable("cri", &Level::WARN) && !targets.would_enable("cri", &Level::INFO));
        assert!(targets.would_enable("net::watch", &Level::DEBUG));
        assert!(!targets.would_enable("engine::pod::run", &Level::ERROR));
        let targets = levels("debug").unwrap();
        assert!(targets.would_enable("engine::pod::run", &Level::DEBUG));
        assert!(!targets.would_enable("h2::codec::framed_read", &Level::DEBUG), "other people's libraries");
        assert!(targets.would_enable("h2::codec::framed_read", &Level::INFO));
        let targets = levels("debug,h2=trace").unwrap();
        assert!(targets.would_enable("h2::codec::framed_read", &Level::TRACE), "unless they are named");
        let targets = levels("net=trace,debug").unwrap();
        assert!(targets.would_enable("net::watch", &Level::TRACE), "in any order");
        let targets = levels("net=trace").unwrap();
        assert!(targets.would_enable("cri", &Level::INFO) && !targets.would_enable("cri", &Level::DEBUG));
    }

    #[test]
    fn no_color_is_any_text() {
        use std::ffi::OsStr;
        assert!(no_color(Some(OsStr::new("1"))) && no_color(Some(OsStr::new("0"))));
        assert!(!no_color(Some(OsStr::new(""))) && !no_color(None));
    }

    #[test]
    fn what_is_no_level_is_named() {
        for (text, part) in [("loud", "loud"), ("info,net=very", "net=very"), ("", ""), ("=info", "=info")] {
            let error = levels(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{part}` is neither")), "{error}");
        }
    }
}
