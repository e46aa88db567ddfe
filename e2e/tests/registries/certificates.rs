//! A certificate authority for one scenario.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The authority.
pub(crate) struct Authority {
    directory: PathBuf,
    pub(crate) certificate: PathBuf,
}

/// A certificate and its key.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new(directory: &Path) -> Self {
        let certificate = directory.join("ca.pem");
        openssl(
            directory,
            "req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=ca.test -keyout ca.key -out ca.pem",
        );
        Self { directory: directory.to_owned(), certificate }
    }

    /// A certificate for these names, such as `IP:127.0.0.1`.
    pub(crate) fn issue(&self, name: &str, names: &str) -> Pair {
        let file = |kind: &str| self.directory.join(format!("{name}.{kind}"));
        std::fs::write(file("ext"), format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\n")).unwrap();
        let request =
            format!("req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr");
        openssl(&self.directory, &request);
        let sign = format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile {name}.ext -out {name}.pem"
        );
        openssl(&self.directory, &sign);
        Pair { certificate: file("pem"), key: file("key") }
    }
}

fn openssl(directory: &Path, arguments: &str) {
    let mut command = Command::new(e2e::tools::system("openssl").unwrap());
    command.args(arguments.split(' ')).current_dir(directory);
    e2e::command::run(&mut command, Duration::from_secs(60)).unwrap();
}
