//! Scenarios that share a cluster, each in a namespace of its own.

use e2e::cluster::{Cluster, Kubectl, Options};
use e2e::world::BUSYBOX;
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Scenarios that play at a time.
const AT_A_TIME: usize = 4;

/// A scenario: its name, which is its namespace's too, and what it does.
pub(crate) type Scenario = (&'static str, fn(&Stage<'_>));

/// What a scenario has to play with.
pub(crate) struct Stage<'a> {
    /// All of it.
    pub(crate) cluster: &'a Cluster,
    /// The client, in the scenario's namespace.
    pub(crate) kubectl: Kubectl,
}

/// A cluster for a test; `None` where this process may not make one.
pub(crate) fn cluster(name: &str) -> Option<Cluster> {
    Cluster::start(&Options::new(name)).unwrap()
}

/// Plays scenarios side by side, and fails with all that failed.
pub(crate) fn play(cluster: &Cluster, scenarios: &[Scenario]) {
    let next = Mutex::new(scenarios.iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let Some((name, scenario)) = next.lock().unwrap().next() else { return };
                    let begin = Instant::now();
                    let stage = Stage::enter(cluster, name);
                    let ended = std::thread::scope(|inner| inner.spawn(|| scenario(&stage)).join());
                    println!("{:6.1} s  {name}{}", begin.elapsed().as_secs_f64(), said(ended.is_ok()));
                    if ended.is_err() {
                        println!("{}", stage.evidence());
                        failed.lock().unwrap().push(*name);
                    }
                    stage.leave();
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "these scenarios failed: {}", failed.join(", "));
}

fn said(fine: bool) -> &'static str {
    if fine { "" } else { ": failed" }
}

impl<'a> Stage<'a> {
    pub(crate) fn enter(cluster: &'a Cluster, name: &str) -> Self {
        let kubectl = cluster.kubectl.within(name);
        kubectl.run(&["create", "namespace", name]).unwrap();
        let account = ["get", "serviceaccount/default"];
        kubectl.until("the service account", &account, PATIENCE, |_| Some(())).unwrap();
        Self { cluster, kubectl }
    }

    pub(crate) fn leave(&self) {
        let name = self.kubectl.namespace();
        self.kubectl.run(&["delete", "namespace", name, "--wait=false"]).unwrap();
    }

    /// What a person would look at next.
    fn evidence(&self) -> String {
        let mut text = String::new();
        for line in ["get pods -o wide", "get events --sort-by=.lastTimestamp"] {
            let words: Vec<_> = line.split(' ').collect();
            let seen = self.kubectl.run(&words).unwrap_or_else(|error| error.to_string());
            writeln!(text, "--- kubectl {line}\n{seen}").unwrap();
        }
        text
    }

    /// Creates a pod.
    pub(crate) fn create(&self, pod: Value) {
        self.kubectl.create(&[pod]).unwrap();
    }

    /// Waits until a pod is as wanted.
    pub(crate) fn until<T>(&self, what: &'static str, pod: &str, wanted: impl Fn(&Value) -> Option<T>) -> T {
        let object = format!("pod/{pod}");
        self.kubectl.until(what, &["get", &object], PATIENCE, wanted).unwrap()
    }

    /// Waits until a pod is ready.
    pub(crate) fn ready(&self, pod: &str) -> Value {
        self.until("the pod is ready", pod, |pod| e2e::cluster::condition(pod, "Ready").then(|| pod.clone()))
    }

    /// Waits until a pod has come to its end; its status then.
    pub(crate) fn ended(&self, pod: &str) -> Value {
        self.until("the pod's end", pod, |pod| {
            let status = &pod["status"];
            matches!(status["phase"].as_str(), Some("Succeeded" | "Failed")).then(|| status.clone())
        })
    }

    /// Creates a pod that comes to its end by itself; what its container wrote.
    pub(crate) fn output(&self, pod: Value) -> String {
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        self.create(pod);
        let status = self.ended(&name);
        let output = self.kubectl.run(&["logs", &name]).unwrap();
        assert_eq!(status["phase"], "Succeeded", "{output}\n{status:#}");
        output
    }

    /// Runs a script in a pod's first container; what it wrote.
    pub(crate) fn shell(&self, pod: &str, script: &str) -> String {
        self.kubectl.run(&["exec", pod, "--", "sh", "-c", script]).unwrap()
    }
}

/// A pod that does not outlive a request to end for long.
pub(crate) fn pod(name: &str, mut spec: Value) -> Value {
    if spec["terminationGracePeriodSeconds"].is_null() {
        spec["terminationGracePeriodSeconds"] = json!(1);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

/// A pod of one container that runs once.
pub(crate) fn once(name: &str, script: &str) -> Value {
    pod(name, json!({"restartPolicy": "Never", "containers": [container("main", script)]}))
}

/// A container of busybox.
pub(crate) fn container(name: &str, script: &str) -> Value {
    json!({"name": name, "image": BUSYBOX, "command": ["sh", "-c", script]})
}

/// What a container does that only has to be there.
pub(crate) const IDLE: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
