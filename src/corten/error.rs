//! Why a command ends with a failure.

use crate::{
    config::HostProblems, config::Mistakes, lock::LockError, socket::SocketError, state::StateError,
};
pub(crate) use engine::chain;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

/// The failure of a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The configuration is refused.
    #[error("configuration")]
    Config(#[from] Mistakes),
    /// A running daemon refuses its files as they are now.
    #[error("the daemon refuses its configuration: {0}")]
    Refused(String),
    /// What the environment says of failpoints; never in a program without them.
    #[error("the environment")]
    Failpoints(#[from] failpoint::SettingError),
    /// Settings do not fit this host.
    #[error("on this host")]
    Host(#[from] HostProblems),
    /// This host cannot run pods. What is wrong is printed already.
    #[error("this host cannot run pods: {}, see above", engine::counted(*errors, "error"))]
    UnfitHost {
        /// How many.
        errors: usize,
    },
    /// A node is not wiped, or not wholly.
    #[error(transparent)]
    Wipe(#[from] crate::wipe::WipeError),
    /// A host is not as an installer was to leave it.
    #[error(transparent)]
    Node(#[from] crate::node::NodeError),
    /// Another daemon owns the directories.
    #[error("cannot start")]
    Lock(#[from] LockError),
    /// A directory cannot be made or is unsafe.
    #[error("cannot prepare the directories")]
    State(#[from] StateError),
    /// The CRI socket cannot be opened.
    #[error("cannot open the socket")]
    Socket(#[from] SocketError),
    /// The metrics endpoint cannot be opened.
    #[error("cannot listen for metrics on {address} (setting metrics.address)")]
    MetricsTcp {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A collector cannot be registered: two of a name.
    #[error("cannot register metrics")]
    Metrics(#[from] prometheus::Error),
    /// Where images are cannot be written down.
    #[error("cannot note where images are")]
    ImagesRoot(#[from] sys::SysError),
    /// The images cannot be opened.
    #[error("cannot open the images")]
    Images(#[from] image::ImageError),
    /// The network cannot be opened.
    #[error("cannot open the network")]
    Network(#[from] net::NetError),
    /// The pods cannot be taken over.
    #[error("cannot open the pods")]
    Engine(#[from] engine::EngineError),
    /// The streaming server cannot be opened.
    #[error("cannot open the streaming server")]
    Stream(#[from] stream::StreamError),
    /// The server of the CRI ended, or could not begin.
    #[error("cannot serve the CRI")]
    Serve(#[from] cri::ServeError),
    /// Traces cannot be sent.
    #[error("cannot send traces (settings tracing.endpoint and tracing.ca_file)")]
    Traces(#[from] otlp::OtlpError),
    /// Logging cannot start.
    #[error("cannot start logging")]
    Logging(#[from] crate::logging::LoggingError),
    /// The asynchronous runtime, or a signal handler, cannot start.
    #[error("cannot start {what}")]
    Runtime {
        /// Which part.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// What the CRI's socket is asked for cannot be had.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The daemon cannot be reached, or refuses.
    #[error(transparent)]
    Admin(#[from] crate::admin::ClientError),
    /// Credentials cannot be used. What they hold is not shown.
    #[error("cannot use the credentials of {}: {reason}", path.display())]
    Credentials {
        /// The file, or the option.
        path: std::path::PathBuf,
        /// Why.
        reason: String,
    },
    /// An archive cannot be read.
    #[error("cannot open {}", path.display())]
    Archive {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What the reader of an archive says.
    #[error("{0}")]
    Reader(String),
    /// An archive is packed in a way that the daemon does not unpack.
    #[error(
        "{} is neither a tar archive nor one packed with gzip or zstd, but packed with {packing}: unpack it first (`{program}`)",
        path.display()
    )]
    Packing {
        /// The file.
        path: std::path::PathBuf,
        /// What packed it.
        packing: &'static str,
        /// What unpacks it.
        program: &'static str,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Output {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What another runtime keeps cannot be read.
    #[error("cannot read the images of the other runtime")]
    Foreign(#[from] crate::adopt::ForeignError),
    /// Some images could not be taken over.
    #[error("{failed} of {} could not be adopted, as the lines above say{}", engine::counted(*all, "image"), hint(*may_pull))]
    Unadopted {
        /// How many.
        failed: usize,
        /// Of how many.
        all: usize,
        /// Whether a registry was not to be asked.
        may_pull: bool,
    },
    /// Another runtime's configuration cannot be read.
    #[error("cannot import the configuration")]
    Import(#[from] crate::import::ImportError),
    /// Images that were named are not there.
    #[error("not in the store: {0}")]
    NoSuchImage(String),
    /// Images are not what was pulled.
    #[error("damaged: {0}")]
    Damaged(String),
    /// stdout cannot be written.
    #[error(transparent)]
    Print(#[from] client::PrintError),
}

/// What else can be tried where content is missing or damaged.
fn hint(may_pull: bool) -> &'static str {
    if may_pull {
        ": where blobs are missing or damaged there, `--pull-missing` fetches those, and only those, from the registry; what \
         is adopted stays, and is passed over when this is run again"
    } else {
        ": where its registry refused, `--creds` or `--authfile` say who pulls; the kubelet pulls what is still missing when a \
         pod asks for it"
    }
}

/// The kernel refuses a user what root may do.
fn wants_root(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(one) = cause {
        let denied =
            one.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied);
        if denied {
            return !rustix::process::geteuid().is_root() && !one.to_string().contains("as root");
        }
        cause = one.source();
    }
    false
}

/// What a process ends with that fails so: 2 where the command line is wrong, as for what clap refuses.
pub(crate) fn exit_code(error: &Error) -> ExitCode {
    match error {
        Error::Client(client::Error::Option { .. }) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

/// Says why the process fails: in the log where there is one, else on stderr, where each mistake has a line.
pub(crate) fn report(error: &Error) {
    let why = if wants_root(error) { format!("{}: run this as root", chain(error)) } else { chain(error) };
    if tracing::dispatcher::has_been_set() {
        tracing::error!("{why}");
        return;
    }
    let reasons = match error {
        Error::Config(mistakes) => mistakes.lines(),
        Error::Host(problems) => problems.lines(),
        _ => Vec::new(),
    };
    let text = match reasons.as_slice() {
        [] => format!("corten: {why}\n"),
        reasons => reasons.iter().map(|reason| format!("corten: {error}: {reason}\n")).collect(),
    };
    say(&text);
}

/// Says on stderr what does not make a command fail.
pub(crate) fn note(line: &str) {
    say(&format!("corten: {line}\n"));
}

fn say(text: &str) {
    // Nobody is left to tell when stderr is closed.
    let _ = io::Write::write_all(&mut io::stderr(), engine::printable(text).as_bytes());
}
