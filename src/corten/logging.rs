//! Logs on stderr: text or JSON, and under systemd with the priority that journald reads.

use crate::config::{Log, LogFormat, nearest};
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
    /// A part that nothing has.
    #[error(
        "`{part}` is no part that writes to the log{}; parts are {}, and of libraries {}",
        nearest(part, &OWN).map(|nearest| format!(", did you mean `{nearest}`?")).unwrap_or_default(),
        OWN.join(", "),
        LIBRARIES.join(", ")
    )]
    Part {
        /// The part.
        part: String,
    },
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
const OWN: [&str; 17] = [
    "cni", "corten", "cri", "engine", "image", "launch", "model", "net", "nri", "oci", "otlp", "proto",
    "stream", "sys", "systemd", "web", "wire",
];

/// Libraries of others that write to the log.
const LIBRARIES: [&str; 7] = ["h2", "hyper", "hyper_util", "reqwest", "rustls", "tonic", "tower"];

/// Reads `log.level`: a level, or a list of `part=level` with at most one level for all other parts, which is `info`
/// when left out. A library of somebody else's is louder than `info` only where it is named.
///
/// # Errors
/// A word is no level, or a part none that writes to the log. The subscriber's own parser would take either.
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
            Some(part) if is_part(part) => targets.with_target(part, level),
            Some(part) => return Err(LoggingError::Part { part: part.to_owned() }),
        };
    }
    Ok(targets)
}

/// Whether something writes to the log below this name.
fn is_part(part: &str) -> bool {
    let whole = part.split("::").next().unwrap_or(part);
    OWN.contains(&whole) || LIBRARIES.contains(&whole)
}

/// Starts logging for the whole process, and collecting spans where there is somewhere to send them.
///
/// # Errors
/// The level cannot be parsed, or logging was started before.
pub(crate) fn start(log: &Log, spans: Option<otlp::Spans>) -> Result<LevelHandle, LoggingError> {
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
    let spans = spans.map(|spans| spans.with_filter(otlp::Spans::filter()).boxed());
    let layers: Vec<_> = std::iter::once(lines).chain(spans).collect();
    tracing_subscriber::registry().with(layers).try_init()?;
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
    use std::collections::BTreeSet;
    use std::path::Path;

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
    fn every_crate_that_writes_to_the_log_is_a_part() {
        let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut found = 0;
        for entry in std::fs::read_dir(crates).unwrap() {
            let path = entry.unwrap().path();
            let Ok(text) = std::fs::read_to_string(path.join("Cargo.toml")) else { continue };
            if text.contains("tracing.workspace") {
                found += 1;
                assert!(is_part(path.file_name().unwrap().to_str().unwrap()), "{}", path.display());
            }
        }
        assert!(found > 5, "{found} crates");
    }

    #[test]
    fn a_part_that_nothing_has_is_told_with_those_that_there_are() {
        let error = levels("info,nett=debug").unwrap_err().to_string();
        assert!(
            error
                .starts_with("`nett` is no part that writes to the log, did you mean `net`?; parts are cni,"),
            "{error}"
        );
        assert!(error.contains("web, wire, and of libraries h2,"), "{error}");
        assert!(levels("engine::pod=debug,h2=off").is_ok() && levels("pod=debug").is_err());
    }

    #[test]
    fn all_crates_of_the_daemon_are_its_own() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let manifest = |name: &str| {
            let places = [workspace.join("src").join(name), workspace.join(name)];
            let text =
                places.iter().find_map(|place| std::fs::read_to_string(place.join("Cargo.toml")).ok())?;
            Some(text.parse::<toml::Table>().unwrap())
        };
        let (mut found, mut next) = (BTreeSet::new(), vec!["corten".to_owned()]);
        while let Some(name) = next.pop() {
            let Some(manifest) = manifest(&name) else { continue };
            if found.insert(name) {
                let needed = manifest.get("dependencies").and_then(toml::Value::as_table);
                next.extend(needed.into_iter().flat_map(|table| table.keys().cloned()));
            }
        }
        // They say nothing.
        for silent in ["failpoint", "cli", "client"] {
            found.remove(silent);
        }
        let lacking: Vec<_> = found.iter().filter(|name| !OWN.contains(&name.as_str())).collect();
        assert!(lacking.is_empty(), "{lacking:?}");
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
