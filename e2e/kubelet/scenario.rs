//! What the kubelet is made to do, and what must come of it.

use crate::figures::{self, Shape};
use crate::manifests::{self, CODE, GREETING, MESSAGE};
use crate::node::{self, Kubelet, NAME};
use e2e::Error;
use e2e::interrupt::end_on_signals;
use e2e::isolation::cgroup_directories;
use e2e::world::World;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long anything may take: the kubelet collects garbage once a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long no more series must come: the kubelet counts every 10 to 15 s.
const SETTLED: Duration = Duration::from_secs(20);

/// The scenario on the runtime that the environment names; the kubelet's log goes to a file.
///
/// # Errors
/// When something does not come out as it must.
pub(crate) fn run(log: &Path) -> Result<(), Error> {
    let Some(mut world) = World::new()? else { return Ok(()) };
    end_on_signals(world.isolation.sweeper(), Duration::from_secs(900))?;
    let _ground = node::prepare(&world.isolation)?;
    node::show_to_cadvisor(&mut world)?;
    let outcome = play(&world, log);
    if outcome.is_err() {
        eprintln!("--- the daemon's log ends with ---\n{}\n---", world.daemon.log_tail());
    }
    outcome
}

fn play(world: &World, log: &Path) -> Result<(), Error> {
    let baseline = world.baseline()?;
    let mut node = Node { kubelet: Kubelet::start(world, log)?, begin: Instant::now() };
    for (name, pod) in manifests::all() {
        node.kubelet.add(name, &pod)?;
    }
    node.probes()?;
    node.logs_and_exec()?;
    node.init()?;
    node.oom()?;
    node.liveness()?;
    node.figures(&log.with_extension("figures.json"))?;
    for (name, _) in manifests::all() {
        node.kubelet.remove(name)?;
    }
    node.removal(world)?;
    node.kubelet.stop()?;
    baseline.without("cgroup").settle(&world.isolation, &world.daemon)?;
    node.say("everything that the pods had on the host is gone");
    Ok(())
}

struct Node {
    kubelet: Kubelet,
    begin: Instant,
}

impl Node {
    fn say(&self, what: &str) {
        println!("  {:5.1} s  {what}", self.begin.elapsed().as_secs_f64());
    }

    fn probes(&self) -> Result<(), Error> {
        self.until("the pod with probes is ready", "probes", |status| {
            let conditions = status["conditions"].as_array()?;
            conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True").then_some(())
        })?;
        self.say("exec, http and tcp probes succeed; the pod is ready");
        Ok(())
    }

    /// Waits until every container has figures and no more of them come, and keeps which there are.
    fn figures(&self, file: &Path) -> Result<(), Error> {
        let end = Instant::now() + PATIENCE;
        let (mut last, mut since) = (Shape::default(), Instant::now());
        loop {
            let samples = figures::parse(&self.kubelet.api.get("/metrics/cadvisor")?);
            let text = self.kubelet.api.get("/stats/summary")?;
            let summary: Value = serde_json::from_str(&text).map_err(|_| wrong("the summary", &text))?;
            let shape = Shape::of(&samples, &summary);
            if shape != last {
                (last, since) = (shape, Instant::now());
            } else if last.is_complete() && since.elapsed() > SETTLED {
                last.write(file)?;
                let held = figures::hold_against_kernel(&samples)?;
                self.say(&format!("the kubelet's figures have names, and are the kernel's: {held}"));
                return Ok(());
            }
            if Instant::now() > end {
                last.write(file)?;
                let last = format!("{:?} series and members, in {}", last.size(), file.display());
                return Err(Error::Late { what: "figures of every container", after: PATIENCE, last });
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    fn logs_and_exec(&self) -> Result<(), Error> {
        let pod = format!("probes-{NAME}");
        let log = self.kubelet.api.get(&format!("/containerLogs/default/{pod}/exec"))?;
        check("the log", log.trim() == GREETING, &log)?;
        let said = self.kubelet.api.run(&pod, "exec", "hostname")?;
        check("the output of a command that is run", said.trim() == pod, &said)?;
        let script = "cat; echo to the other >&2; exit 5";
        let executed = self.kubelet.api.exec(&pod, "exec", &["sh", "-c", script], "through and back")?;
        let expected = executed.stdout == "through and back"
            && executed.stderr == "to the other\n"
            && executed.code() == Some(5);
        check("an exec with input, output and exit code", expected, &format!("{executed:?}"))?;
        self.say("log, run and exec answer through the kubelet's API");
        Ok(())
    }

    fn init(&self) -> Result<(), Error> {
        let status = self.until("the pod with an init container has ended", "init", |status| {
            (status["phase"] == "Failed").then(|| status.clone())
        })?;
        let first = &status["initContainerStatuses"][0]["state"]["terminated"];
        check("the init container's end", first["reason"] == "Completed", &first.to_string())?;
        let main = &status["containerStatuses"][0]["state"]["terminated"];
        let right = main["exitCode"] == CODE
            && main["reason"] == "Error"
            && main["message"].as_str().map(str::trim) == Some(MESSAGE);
        check("the container's end", right, &main.to_string())?;
        self.say("the init container ran first; exit code and termination message are told");
        Ok(())
    }

    fn oom(&self) -> Result<(), Error> {
        let status = self.until("the pod beyond its memory limit has ended", "oom", |status| {
            (status["phase"] == "Failed").then(|| status.clone())
        })?;
        let main = &status["containerStatuses"][0]["state"]["terminated"];
        let right = main["reason"] == "OOMKilled" && main["exitCode"] == 137;
        check("the end for lack of memory", right, &main.to_string())?;
        self.say("the container beyond its memory limit is OOMKilled");
        Ok(())
    }

    fn liveness(&self) -> Result<(), Error> {
        let status = self.until("the container that fails its probe is restarted", "liveness", |status| {
            let main = &status["containerStatuses"][0];
            let again = main["restartCount"].as_i64()? >= 1 && !main["state"]["running"].is_null();
            again.then(|| status.clone())
        })?;
        let last = &status["containerStatuses"][0]["lastState"]["terminated"];
        check("the end before the restart", last["exitCode"] == 137, &last.to_string())?;
        self.say("the container whose liveness probe fails is restarted");
        Ok(())
    }

    /// Waits until the runtime has neither pods nor containers, and the pods' cgroups are gone.
    fn removal(&self, world: &World) -> Result<(), Error> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = world.tokio.block_on(async {
                let cri = world.daemon.client().await?;
                Ok::<_, Error>((cri.pods().await?.len(), cri.containers().await?.len()))
            })?;
            let cgroups = pod_cgroups(world);
            if left == (0, 0) && cgroups.is_empty() {
                self.say("pods, containers and cgroups are gone after their manifests");
                return Ok(());
            }
            if Instant::now() > end {
                let last = format!("{} pods, {} containers, {cgroups:?}", left.0, left.1);
                return Err(Error::Late { what: "the removal of everything", after: PATIENCE, last });
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Asks for a pod's status until it is as wanted.
    fn until<T>(
        &self,
        what: &'static str,
        name: &str,
        wanted: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, Error> {
        let end = Instant::now() + PATIENCE;
        loop {
            let text = self.kubelet.api.get("/pods")?;
            let pods: Value = serde_json::from_str(&text).map_err(|_| wrong("the list of pods", &text))?;
            let full = format!("{name}-{NAME}");
            let list = pods["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            let pod = list.iter().find(|pod| pod["metadata"]["name"] == full.as_str());
            if let Some(found) = pod.and_then(|pod| wanted(&pod["status"])) {
                return Ok(found);
            }
            if Instant::now() > end {
                let last = pod.map(|pod| pod["status"].to_string()).unwrap_or_default();
                return Err(Error::Late { what, after: PATIENCE, last });
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn check(what: &'static str, right: bool, seen: &str) -> Result<(), Error> {
    if right { Ok(()) } else { Err(wrong(what, seen)) }
}

fn wrong(what: &'static str, seen: &str) -> Error {
    Error::Unexpected { what, seen: seen.to_owned() }
}

/// The cgroups of pods; those of the kubelet's classes stay.
fn pod_cgroups(world: &World) -> Vec<String> {
    let found = cgroup_directories(&world.isolation.cgroup_parent());
    let names = found.iter().filter_map(|path| path.file_name());
    names.map(|name| name.to_string_lossy().into_owned()).filter(|name| name.starts_with("pod")).collect()
}
