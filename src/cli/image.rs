//! `corten image …`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What goes by this name reads an archive for `load`, and is not for people.
pub const READ_ARCHIVE: &str = "read-archive";

/// `corten image`.
#[derive(Debug, Args)]
pub struct ImageArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ImageCommand,
    /// The daemon's configuration file, which says where its state directory is
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The daemon's administration socket [default: admin.sock in the state directory]
    #[arg(long, global = true, value_name = "PATH")]
    pub admin: Option<PathBuf>,
    /// Print JSON, one value a line: of lists an entry, of pull and verify what happens, the last line being "done" or
    /// "failed"
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do with images.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// List images
    Ls,
    /// Pull an image and show how it goes
    Pull {
        /// The reference, such as docker.io/library/busybox:1
        reference: String,
        /// Who pulls.
        #[command(flatten)]
        credentials: CredentialArgs,
    },
    /// Remove images with all their tags; layers that a container uses stay until it is gone
    Rm {
        /// Ids (or unique beginnings of one), tags or digests
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Show everything about an image
    Inspect {
        /// Id, tag or digest
        image: String,
    },
    /// Remove images without a tag that no container uses, and what interrupted pulls left
    Prune {
        /// Remove every image that no container uses and that is not pinned
        #[arg(long)]
        all: bool,
    },
    /// Show what images take on the disk, and what each removal would give back
    Df,
    /// Bring in images from an archive: an OCI image layout or what `docker save` writes
    Load {
        /// The archive, a directory with an image layout, or - for stdin
        archive: PathBuf,
        /// The name of its image, where it holds one
        #[arg(long, value_name = "REFERENCE")]
        name: Option<String>,
    },
    /// Write an archive to stdout, for `load`
    #[command(hide = true, name = READ_ARCHIVE)]
    ReadArchive {
        /// The archive, or a directory with an image layout
        archive: PathBuf,
    },
    /// Save images into an archive that is an OCI image layout and what `docker save` writes at once
    Save {
        /// Ids, tags or digests
        #[arg(required = true)]
        images: Vec<String>,
        /// The archive to make, or - for stdout
        #[arg(long, short, value_name = "PATH")]
        output: PathBuf,
        /// Make a directory with an OCI image layout instead
        #[arg(long)]
        layout: bool,
    },
    /// Hold every byte of images against what was pulled; ends with 1 where something is damaged
    Verify {
        /// Ids, tags or digests [default: all images]
        images: Vec<String>,
        /// Fetch what is damaged again, and nothing else
        #[arg(long)]
        repair: bool,
        /// Who pulls.
        #[command(flatten)]
        credentials: CredentialArgs,
    },
    /// Show the pulls under way
    Ps,
    /// Show how an image would be pulled, without pulling: hosts, credentials, platform, layers that are here
    Explain {
        /// The reference
        reference: String,
        /// Who pulls.
        #[command(flatten)]
        credentials: CredentialArgs,
    },
}

/// How to say who pulls.
#[derive(Debug, Args)]
pub struct CredentialArgs {
    /// User name, or USER:PASSWORD (which other users of this machine can see while it runs)
    #[arg(long, value_name = "USER[:PASSWORD]")]
    pub creds: Option<String>,
    /// Read the password from stdin
    #[arg(long, requires = "creds")]
    pub password_stdin: bool,
    /// Docker's configuration file with credentials [default: $REGISTRY_AUTH_FILE, $DOCKER_CONFIG/config.json,
    /// ~/.docker/config.json]
    #[arg(long, value_name = "FILE", conflicts_with = "creds")]
    pub authfile: Option<PathBuf>,
}
