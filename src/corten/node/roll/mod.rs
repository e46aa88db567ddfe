//! `corten node roll`: a DaemonSet changed, and every node waited for. The chart's uninstallation does it before anything of the
//! release is removed; it runs in a pod whose service account may.

mod api;
mod progress;
#[cfg(test)]
mod tests;

pub(crate) use api::ApiError;

use super::NodeError;
use api::Api;
use cli::node::RollArgs;
use progress::{Failure, Progress};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const PAUSE: Duration = Duration::from_secs(2);
/// Pods are looked at in every so many rounds: a large cluster has many.
const ROUNDS: usize = 4;
/// Each change has pods of its own by it: those of an earlier one may wait for long until they are tried again.
const MARK: &str = "corten.dev/rolled";

/// Changes a DaemonSet, and waits until all its pods are ready with the change.
///
/// # Errors
/// Some are not: all that could be told of them is told. Or the API server refuses.
pub(super) fn roll(arguments: &RollArgs) -> Result<(), NodeError> {
    let mut patch: Value = serde_json::from_str(&arguments.patch).map_err(NodeError::Patch)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mark = now.as_millis().to_string();
    marked(&mut patch, &mark).map_err(NodeError::Patch)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(NodeError::Signals)?.block_on(async {
        let api = Api::of_this_pod()?;
        let end = Instant::now() + Duration::from_secs(arguments.patience);
        Roll { api, namespace: &arguments.namespace, name: &arguments.name, mark, end }.run(&patch).await
    })
}

/// Gives the pods of a change a mark of their own.
fn marked(patch: &mut Value, mark: &str) -> serde_json::Result<()> {
    let mut at = patch;
    for name in ["spec", "template", "metadata", "annotations", MARK] {
        let Some(object) = at.as_object_mut() else {
            return Err(serde::de::Error::custom(format!("what holds {name:?} is no object")));
        };
        at = object.entry(name).or_insert_with(|| json!({}));
    }
    *at = json!(mark);
    Ok(())
}

struct Roll<'a> {
    api: Api,
    namespace: &'a str,
    name: &'a str,
    mark: String,
    end: Instant,
}

impl Roll<'_> {
    async fn run(&self, patch: &Value) -> Result<(), NodeError> {
        let path = format!("/apis/apps/v1/namespaces/{}/daemonsets/{}", self.namespace, self.name);
        loop {
            match self.api.patch(&path, patch).await {
                Ok(_) => break,
                Err(error) if error.is_not_found() => {
                    println!("there is no DaemonSet {}/{}: nothing to change", self.namespace, self.name);
                    return Ok(());
                }
                Err(error) => self.again(error).await?,
            }
        }
        println!("{}/{} is changed: waiting for its pods", self.namespace, self.name);
        let mut last = None;
        for round in 1_usize.. {
            tokio::time::sleep(PAUSE).await;
            let set = match self.api.get(&path).await {
                Ok(set) => set,
                Err(error) => {
                    self.again(error).await?;
                    continue;
                }
            };
            let progress = Progress::of(&set);
            if progress.is_done() {
                println!("{progress}");
                return Ok(());
            }
            let over = Instant::now() >= self.end;
            if !over && !round.is_multiple_of(ROUNDS) {
                continue;
            }
            if last != Some(progress) {
                println!("{progress}");
                last = Some(progress);
            }
            let failures = match self.failures(&set).await {
                Ok(failures) => failures,
                Err(error) if !over && error.may_pass() => continue,
                Err(error) => return Err(error.into()),
            };
            if over || progress.is_settled(&failures) {
                return Err(NodeError::Nodes(progress::told(progress, &failures)));
            }
        }
        Ok(())
    }

    /// Waits a little where an error may pass and there is time.
    async fn again(&self, error: ApiError) -> Result<(), NodeError> {
        if !error.may_pass() || Instant::now() >= self.end {
            return Err(error.into());
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    /// Nodes that are not done, as far as their pods are there.
    async fn failures(&self, set: &Value) -> Result<Vec<Failure>, ApiError> {
        let labels = set["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten();
        let labels: Vec<String> =
            labels.map(|(name, value)| format!("{name}%3D{}", value.as_str().unwrap_or_default())).collect();
        let (mut found, mut next) = (Vec::new(), String::new());
        loop {
            let path = format!(
                "/api/v1/namespaces/{}/pods?limit=500&labelSelector={}&continue={next}",
                self.namespace,
                labels.join("%2C")
            );
            let list = self.api.get(&path).await?;
            let pods = list["items"].as_array().into_iter().flatten();
            let ours = pods.filter(|pod| pod["metadata"]["annotations"][MARK] == self.mark.as_str());
            found.extend(ours.filter_map(Failure::of));
            match list["metadata"]["continue"].as_str() {
                Some(more) if !more.is_empty() => next = more.to_owned(),
                _ => return Ok(found),
            }
        }
    }
}
