//! The command line, as runc's callers write it.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use oci::Signal;
use oci::cgroup::CpuList;

/// Starts and supervises nothing: makes containers of bundles.
#[derive(Debug, Parser)]
#[command(
    name = "corten-oci",
    version,
    about = "An OCI runtime over Corten's native launcher",
    disable_help_subcommand = true
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, ClapArgs)]
pub(crate) struct Global {
    /// Where the state of containers is kept
    #[arg(long, default_value = "/run/corten-oci")]
    pub(crate) root: PathBuf,
    /// File that messages are appended to
    #[arg(long)]
    pub(crate) log: Option<PathBuf>,
    /// Form of the messages
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Tell more
    #[arg(long)]
    pub(crate) debug: bool,
    /// cgroupsPath has the form slice:prefix:name
    #[arg(long)]
    pub(crate) systemd_cgroup: bool,
    /// Accepted for runc's callers; only "false" and "auto" can be honoured
    #[arg(long, default_value = "auto")]
    pub(crate) rootless: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a container of a bundle, ready to be started
    Create(Create),
    /// Make a container of a bundle and start it
    Run(Run),
    /// Run the program of a created container
    Start(Id),
    /// Print a container's state
    State(Id),
    /// Send a signal to a container
    Kill(Kill),
    /// Delete a container
    Delete(Delete),
    /// Run a program beside a container's first one
    Exec(Exec),
    /// Print what this runtime supports
    Features,
    /// Write a configuration to begin with
    Spec(Spec),
    /// Change a container's limits
    Update(Update),
    /// Freeze a container's processes
    Pause(Id),
    /// Let a frozen container go on
    Resume(Id),
    /// List a container's processes
    Ps(Ps),
    /// Print what a container uses, and its out-of-memory events
    Events(Events),
    /// List containers
    List(List),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Id {
    /// The container
    pub(crate) id: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Create {
    /// Directory with config.json
    #[arg(short, long, default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// File that gets the process id
    #[arg(long)]
    pub(crate) pid_file: Option<PathBuf>,
    /// Unix socket that gets the terminal's master
    #[arg(long)]
    pub(crate) console_socket: Option<PathBuf>,
    /// Move the root instead of pivoting
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    pub(crate) no_new_keyring: bool,
    /// Leave so many further descriptors to the program
    #[arg(long, default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    /// The container
    pub(crate) id: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) create: Create,
    /// Do not wait for its end
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Do not delete it after its end
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Kill {
    /// To every process of the container
    #[arg(short, long)]
    pub(crate) all: bool,
    /// The container
    pub(crate) id: String,
    /// Name or number
    #[arg(default_value = "SIGTERM")]
    pub(crate) signal: Signal,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Delete {
    /// Kill it first if it runs; an unknown container is fine
    #[arg(short, long)]
    pub(crate) force: bool,
    /// The container
    pub(crate) id: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Exec {
    /// Do not wait for its end
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// A process object of the runtime spec; replaces all that follows
    #[arg(short, long)]
    pub(crate) process: Option<PathBuf>,
    /// File that gets the process id
    #[arg(long)]
    pub(crate) pid_file: Option<PathBuf>,
    /// Unix socket that gets the terminal's master
    #[arg(long)]
    pub(crate) console_socket: Option<PathBuf>,
    /// A terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Working directory
    #[arg(long)]
    pub(crate) cwd: Option<PathBuf>,
    /// NAME=value, in addition to the container's
    #[arg(short, long)]
    pub(crate) env: Vec<String>,
    /// UID[:GID]
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// Further groups
    #[arg(short = 'g', long)]
    pub(crate) additional_gids: Vec<u32>,
    /// Capability in addition to the container's
    #[arg(short, long)]
    pub(crate) cap: Vec<String>,
    /// Gain no privileges by exec
    #[arg(long)]
    pub(crate) no_new_privs: bool,
    /// Leave so many further descriptors to the program
    #[arg(long, default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    /// Also in a frozen container
    #[arg(long)]
    pub(crate) ignore_paused: bool,
    /// The container
    pub(crate) id: String,
    /// Program and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Spec {
    /// Where to write config.json
    #[arg(short, long, default_value = ".")]
    pub(crate) bundle: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Update {
    /// A resources object of the runtime spec; `-` is stdin
    #[arg(short, long)]
    pub(crate) resources: Option<PathBuf>,
    /// µs
    #[arg(long)]
    pub(crate) cpu_period: Option<u64>,
    /// µs; negative is no limit
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) cpu_quota: Option<i64>,
    /// Relative weight
    #[arg(long)]
    pub(crate) cpu_share: Option<u64>,
    /// List of processors
    #[arg(long)]
    pub(crate) cpuset_cpus: Option<CpuList>,
    /// List of memory nodes
    #[arg(long)]
    pub(crate) cpuset_mems: Option<CpuList>,
    /// Bytes; -1 is no limit
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) memory: Option<i64>,
    /// Memory and swap, in bytes; -1 is no limit
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) memory_swap: Option<i64>,
    /// Processes and threads; -1 is no limit
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) pids_limit: Option<i64>,
    /// The container
    pub(crate) id: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Ps {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// The container
    pub(crate) id: String,
    /// Options of ps(1); -ef when there are none
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) options: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Events {
    /// How often, such as 5s or 500ms
    #[arg(long, default_value = "5s")]
    pub(crate) interval: String,
    /// Print usage once and end
    #[arg(long)]
    pub(crate) stats: bool,
    /// The container
    pub(crate) id: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct List {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// Ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}
