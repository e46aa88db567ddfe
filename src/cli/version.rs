//! `corten version` and `corten completion`.

use clap::{Args, ValueEnum};

/// How the version is told.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Print JSON, in one line
    #[arg(long)]
    pub json: bool,
}

/// For which shell.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// A shell that completes what is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// fish
    Fish,
    /// Z shell
    Zsh,
}
