//! A certificate authority for one scenario.

use crate::error::{Context, Error};
use crate::{command, tools};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The authority.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
    /// Its own certificate.
    pub certificate: PathBuf,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Authority {
    /// An authority that keeps its files in a directory.
    ///
    /// # Errors
    /// When openssl is not installed or fails.
    pub fn new(directory: &Path) -> Result<Self, Error> {
        let certificate = directory.join("ca.pem");
        let request =
            "req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=ca.test -keyout ca.key -out ca.pem";
        openssl(directory, request)?;
        Ok(Self { directory: directory.to_owned(), certificate })
    }

    /// A certificate for these names, such as `IP:127.0.0.1`.
    ///
    /// # Errors
    /// When openssl fails.
    pub fn issue(&self, name: &str, names: &str) -> Result<Pair, Error> {
        let file = |kind: &str| self.directory.join(format!("{name}.{kind}"));
        let extensions = format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\n");
        std::fs::write(file("ext"), extensions).at("write", file("ext"))?;
        let request =
            format!("req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr");
        openssl(&self.directory, &request)?;
        let sign = format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile {name}.ext -out {name}.pem"
        );
        openssl(&self.directory, &sign)?;
        Ok(Pair { certificate: file("pem"), key: file("key") })
    }
}

/// A certificate that signs itself, as manuals of registries have it made: an authority's, for these names. The key is
/// made as openssl's option `-newkey` takes it, with more options behind it.
///
/// # Errors
/// When openssl is not installed or fails.
pub fn self_signed(directory: &Path, name: &str, names: &str, key: &str) -> Result<Pair, Error> {
    let file = |kind: &str| directory.join(format!("{name}.{kind}"));
    let request = format!(
        "req -x509 -newkey {key} -nodes -days 30 -subj /CN=registry.test -addext subjectAltName={names} -keyout {name}.key -out {name}.pem"
    );
    openssl(directory, &request)?;
    Ok(Pair { certificate: file("pem"), key: file("key") })
}

fn openssl(directory: &Path, arguments: &str) -> Result<(), Error> {
    let mut command = Command::new(tools::system("openssl")?);
    command.args(arguments.split(' ')).current_dir(directory);
    command::run(&mut command, Duration::from_secs(60)).map(drop)
}
