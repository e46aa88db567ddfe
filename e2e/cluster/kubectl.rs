//! The real kubectl.

use crate::command::{self, Finished};
use crate::error::Error;
use crate::tools;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// kubectl with a configuration.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    config: PathBuf,
    namespace: String,
}

impl Kubectl {
    /// With a configuration.
    ///
    /// # Errors
    /// When it was not built.
    pub fn new(config: &Path) -> Result<Self, Error> {
        let program = tools::go_tool("kubectl", "cluster")?;
        Ok(Self { program, config: config.to_path_buf(), namespace: "default".to_owned() })
    }

    /// The same for another namespace.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    /// Which namespace that is.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A command line of it, to be run in another way than to its end.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.config).args(["--namespace", &self.namespace]);
        // What it has found out about another cluster is not this one's, and goes with it.
        command.arg("--cache-dir").arg(self.config.with_extension("cache")).args(arguments);
        command
    }

    /// Its configuration.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Runs it where it must succeed; what it printed.
    ///
    /// # Errors
    /// When it fails or takes more than two minutes.
    pub fn run(&self, arguments: &[&str]) -> Result<String, Error> {
        command::run(&mut self.command(arguments), Duration::from_secs(120))
    }

    /// Runs it, however it ends.
    ///
    /// # Errors
    /// When it takes more than two minutes.
    pub fn finish(&self, arguments: &[&str]) -> Result<Finished, Error> {
        command::finish(&mut self.command(arguments), Duration::from_secs(120))
    }

    /// What a `get` shows, as JSON.
    ///
    /// # Errors
    /// When it fails.
    pub fn get(&self, arguments: &[&str]) -> Result<Value, Error> {
        let text = self.run(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).map_err(|_| Error::Unexpected { what: "kubectl's JSON", seen: text })
    }

    /// Creates objects.
    ///
    /// # Errors
    /// When one of them is refused.
    pub fn create(&self, objects: &[Value]) -> Result<(), Error> {
        self.feed(&["create", "-f", "-"], objects)
    }

    /// Creates or changes objects.
    ///
    /// # Errors
    /// When one of them is refused.
    pub fn apply(&self, objects: &[Value]) -> Result<(), Error> {
        self.feed(&["apply", "-f", "-"], objects)
    }

    fn feed(&self, arguments: &[&str], objects: &[Value]) -> Result<(), Error> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let mut command = self.command(arguments);
        let finished = command::feed(&mut command, list.as_bytes(), Duration::from_secs(60))?;
        if finished.status.success() {
            return Ok(());
        }
        let outcome = format!("ended with {}", finished.status);
        Err(Error::Command {
            line: format!("kubectl {}", arguments.join(" ")),
            outcome,
            stderr: finished.stderr,
        })
    }

    /// Asks with a `get` until what it shows is as wanted.
    ///
    /// # Errors
    /// When it is not in time; the last reply is told.
    pub fn until<T>(
        &self,
        what: &'static str,
        arguments: &[&str],
        after: Duration,
        wanted: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, Error> {
        let end = Instant::now() + after;
        loop {
            let reply = self.get(arguments);
            if let Some(found) = reply.as_ref().ok().and_then(&wanted) {
                return Ok(found);
            }
            if Instant::now() > end {
                let last = reply.map_or_else(|error| error.to_string(), |value| short(&value));
                return Err(Error::Late { what, after, last });
            }
            std::thread::sleep(Duration::from_millis(250));
        }
    }
}

/// Whether a condition of an object is true.
pub fn condition(object: &Value, kind: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|it| it["type"] == kind && it["status"] == "True")
}

/// The statuses, without what they are the statuses of.
fn short(value: &Value) -> String {
    match value["items"].as_array() {
        Some(items) => items
            .iter()
            .map(|item| format!("{}: {}", item["metadata"]["name"], item["status"]))
            .collect::<Vec<_>>()
            .join("\n"),
        None => value["status"].to_string(),
    }
}
