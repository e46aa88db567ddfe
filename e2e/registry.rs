//! Debian's docker-registry on a loopback port, and pushing to it.

use crate::error::{Context, Error};
use crate::http::{Reply, Request};
use crate::image::{Image, Pushed};
use crate::tools;
use base64::Engine;
use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The user that a registry with authentication knows.
pub const USER: &str = "corten";
/// That user's password.
pub const PASSWORD: &str = "weathering";
/// The bcrypt hash of [`PASSWORD`], as htpasswd has it.
const HTPASSWD: &str = "$2y$05$dOVFER5rJVB4lJRAJ2bNYeMGKgP4Y1JzAZcRNu8OlyEa6B5Z4k.F.";

/// What differs from one registry to the next.
#[derive(Debug, Default)]
struct Extra {
    read_only: bool,
    http: String,
    rest: String,
}

/// A running registry; dropping it ends it.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    directory: PathBuf,
    address: SocketAddr,
    authorization: Option<String>,
}

impl Registry {
    /// Starts an open registry that keeps everything below a directory.
    ///
    /// # Errors
    /// When the program is missing or does not serve within 60 s.
    pub fn start(directory: &Path) -> Result<Self, Error> {
        Self::launch(directory, &directory.join("blobs"), &Extra::default())
    }

    /// Starts a registry that serves what another one kept below a directory, and takes nothing.
    ///
    /// # Errors
    /// As [`Registry::start`].
    pub fn start_read_only(directory: &Path, kept: &Path) -> Result<Self, Error> {
        Self::launch(directory, &kept.join("blobs"), &Extra { read_only: true, ..Extra::default() })
    }

    /// Starts a registry that wants [`USER`] and [`PASSWORD`].
    ///
    /// # Errors
    /// As [`Registry::start`].
    pub fn start_with_password(directory: &Path) -> Result<Self, Error> {
        let rest = htpasswd(directory)?;
        let extra = Extra { rest, ..Extra::default() };
        let mut registry = Self::launch(directory, &directory.join("blobs"), &extra)?;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
        registry.authorization = Some(format!("Basic {pair}"));
        Ok(registry)
    }

    /// Starts a registry that serves what another one kept below a directory, with more in its configuration: in the
    /// mapping `http` (after a comma), and lines at the end.
    ///
    /// # Errors
    /// As [`Registry::start`].
    pub fn start_beside(directory: &Path, kept: &Path, http: &str, rest: &str) -> Result<Self, Error> {
        let extra = Extra { read_only: true, http: http.to_owned(), rest: rest.to_owned() };
        Self::launch(directory, &kept.join("blobs"), &extra)
    }

    fn launch(directory: &Path, storage: &Path, extra: &Extra) -> Result<Self, Error> {
        fs::create_dir_all(directory).at("create", directory)?;
        let address = free_address()?;
        let Extra { read_only, http, rest } = extra;
        let text = format!(
            "version: 0.1\nlog: {{level: warn, accesslog: {{disabled: false}}}}\nstorage: {{filesystem: {{rootdirectory: '{}'}}, maintenance: {{uploadpurging: {{enabled: false}}, readonly: {{enabled: {read_only}}}}}}}\nhttp: {{addr: '{address}'{http}}}\n{rest}",
            storage.display(),
        );
        let config = directory.join("config.yml");
        fs::write(&config, text).at("write", &config)?;
        let child = spawn(directory)?;
        let registry = Self { child, directory: directory.to_path_buf(), address, authorization: None };
        registry.wait()?;
        Ok(registry)
    }

    /// Kills it.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.child.kill().and_then(|()| self.child.wait()).map(drop).at("kill", "the registry")
    }

    /// Starts it again after [`Registry::kill`], where it was.
    ///
    /// # Errors
    /// When it does not serve within 60 s.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.child = spawn(&self.directory)?;
        self.wait()
    }

    fn wait(&self) -> Result<(), Error> {
        let after = Duration::from_secs(60);
        let end = Instant::now() + after;
        while TcpStream::connect(self.address).is_err() {
            if Instant::now() > end {
                let last = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                return Err(Error::Late { what: "the registry's first connection", after, last });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Pushes an image as `repository:tag`.
    ///
    /// # Errors
    /// When the registry refuses.
    pub fn push(&self, repository: &str, tag: &str, image: &Image) -> Result<Pushed, Error> {
        let pushed = image.encode()?;
        for (digest, bytes) in &pushed.blobs {
            self.push_blob(repository, digest, bytes)?;
        }
        self.push_manifest(repository, tag, pushed.media_type, &pushed.manifest)?;
        Ok(pushed)
    }

    /// Pushes any bytes as a blob.
    ///
    /// # Errors
    /// When the registry refuses, for one because the digest is another.
    pub fn push_blob(&self, repository: &str, digest: &str, bytes: &[u8]) -> Result<(), Error> {
        let begin = format!("/v2/{repository}/blobs/uploads/");
        let reply = self.expect(202, "POST", &begin, &[], &[])?;
        let location = reply.header("location").unwrap_or_default().to_owned();
        let path = location.find("/v2/").map_or(location.as_str(), |start| &location[start..]);
        let joint = if path.contains('?') { '&' } else { '?' };
        let target = format!("{path}{joint}digest={digest}");
        self.expect(201, "PUT", &target, &[("Content-Type", "application/octet-stream")], bytes)?;
        Ok(())
    }

    /// Pushes a manifest or an index under a tag.
    ///
    /// # Errors
    /// When the registry refuses.
    pub fn push_manifest(
        &self,
        repository: &str,
        tag: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let target = format!("/v2/{repository}/manifests/{tag}");
        self.expect(201, "PUT", &target, &[("Content-Type", media_type)], bytes)?;
        Ok(())
    }

    fn expect(
        &self,
        status: u16,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply, Error> {
        let mut headers = headers.to_vec();
        if let Some(authorization) = &self.authorization {
            headers.push(("Authorization", authorization));
        }
        let reply = Request { method, target, headers: &headers, body }.send(self.address)?;
        if reply.status == status {
            return Ok(reply);
        }
        let text = format!("{} {}", reply.status, String::from_utf8_lossy(&reply.body));
        Err(Error::Refused { request: format!("{method} {target}"), reply: text })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(directory: &Path) -> Result<Child, Error> {
    let program = tools::system("docker-registry")?;
    let log = directory.join("log");
    let output = OpenOptions::new().create(true).append(true).open(&log).at("create", &log)?;
    let errors = output.try_clone().at("duplicate", &log)?;
    Command::new(&program)
        .arg("serve")
        .arg(directory.join("config.yml"))
        .env("OTEL_TRACES_EXPORTER", "none")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .at("start", &program)
}

/// The lines of a registry's configuration that ask for [`USER`] and [`PASSWORD`].
///
/// # Errors
/// When the file with the password's hash cannot be written.
pub fn htpasswd(directory: &Path) -> Result<String, Error> {
    fs::create_dir_all(directory).at("create", directory)?;
    let file = directory.join("htpasswd");
    fs::write(&file, format!("{USER}:{HTPASSWD}\n")).at("write", &file)?;
    Ok(format!("auth: {{htpasswd: {{realm: test, path: '{}'}}}}\n", file.display()))
}

/// A loopback address that nobody listens on now.
///
/// # Errors
/// When the kernel has none.
pub fn free_address() -> Result<SocketAddr, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .at("find a free port on", "127.0.0.1")
}
