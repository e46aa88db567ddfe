//! The chart's dashboard and alert rules, by a Prometheus that scrapes a daemon with pods.
#![allow(clippy::unwrap_used, clippy::large_futures)]

use e2e::pods::shell;
use e2e::runtime::{Kind, Options};
use e2e::world::{BUSYBOX, World, wait_exited};
use e2e::{command, registry, tools};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A Prometheus; dropping it kills it.
struct Prometheus {
    child: Child,
    promtool: PathBuf,
    url: String,
}

impl Prometheus {
    fn start(root: &Path, daemon: SocketAddr) -> Option<Self> {
        let (Ok(program), Ok(promtool)) = (tools::system("prometheus"), tools::system("promtool")) else {
            need::skip(need::Need::Tools, "prometheus is not installed");
            return None;
        };
        let file = root.join("prometheus.yaml");
        let alerts = files().join("alerts.yaml");
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{alerts:?}]\nscrape_configs:\n  \
             - job_name: corten\n    static_configs: [{{targets: [\"{daemon}\"]}}]\n"
        );
        std::fs::write(&file, text).unwrap();
        let address = registry::free_address().unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", root.join("prometheus").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(root.join("prometheus.log")).unwrap())
            .spawn()
            .unwrap();
        Some(Self { child, promtool, url: format!("http://{address}") })
    }

    /// The values of a query, or why it is refused.
    fn ask(&self, query: &str) -> Result<Vec<f64>, String> {
        let mut line = Command::new(&self.promtool);
        line.args(["query", "instant", "--format=json", &self.url, query]);
        let text = command::run(&mut line, PATIENCE).map_err(|error| error.to_string())?;
        let found: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let values = found.as_array().into_iter().flatten();
        Ok(values.filter_map(|sample| sample["value"][1].as_str()?.parse().ok()).collect())
    }

    /// Waits until a query has a value that is a number; its values.
    fn until_it_answers(&self, query: &str) -> Result<Vec<f64>, String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(query);
            if answer.as_ref().is_ok_and(|values| values.iter().any(|value| !value.is_nan())) {
                return answer;
            }
            if Instant::now() > end {
                return Err(format!("{query}: {answer:?}"));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn files() -> PathBuf {
    tools::repository().join("charts/corten/files")
}

/// What the dashboard asks, as Grafana would.
fn queries() -> BTreeSet<String> {
    let text = std::fs::read_to_string(files().join("dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let values = [("$instance", ".*"), ("$job", ".*"), ("$__rate_interval", "1m")];
    let fill =
        |query: &str| values.iter().fold(query.to_owned(), |text, (name, value)| text.replace(name, value));
    targets.map(|target| fill(target["expr"].as_str().unwrap())).collect()
}

#[test]
fn every_query_of_the_dashboard_has_data() {
    let address = registry::free_address().unwrap();
    let with_address = |options: Options| Options { metrics: Some(address), ..options };
    let Some(world) = World::with(with_address).unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        return need::skip(need::Need::Corten, "the peer has other metrics");
    }
    let Some(prometheus) = Prometheus::start(&world.daemon.place().root, address) else { return };
    prometheus.until_it_answers("up == 1").unwrap();
    let failed = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let socket = Path::new("/var/run/nri/nri.sock");
        let _plugin =
            nri::testing::Plugin::join(socket, nri::testing::Manner::new("10", "sees")).await.unwrap();
        let config = world.pod("dashboard").unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let ends = cri.create(&pod, &shell("ends", BUSYBOX, "exit 3"), &config).await.unwrap();
        cri.start(&ends).await.unwrap();
        wait_exited(&cri, &ends, PATIENCE).await.unwrap();
        let goes_on = cri.create(&pod, &shell("goes-on", BUSYBOX, "sleep 1000000"), &config).await.unwrap();
        cri.start(&goes_on).await.unwrap();
        cri.container_status("nobody").await.unwrap_err();
        let (asked, id) = (world.daemon.client().await.unwrap(), goes_on.clone());
        let command = tokio::spawn(async move { asked.exec(&id, &["sleep", "1000000"], 0).await });
        let queries = queries();
        assert!(queries.len() > 20, "{queries:?}");
        let answered = |query: &String| {
            let answer = prometheus.until_it_answers(query);
            println!("{query}\n    {answer:?}");
            answer.err()
        };
        let failed: Vec<_> = queries.iter().filter_map(answered).collect();
        cri.stop(&goes_on, 0).await.unwrap();
        // It ended with its container.
        let _ = command.await.unwrap();
        cri.end_pod(&pod).await.unwrap();
        failed
    });
    assert!(failed.is_empty(), "{failed:#?}");
    let critical = prometheus.ask("count(ALERTS{severity=\"critical\",alertstate=\"firing\"}) or vector(0)");
    assert_eq!(critical, Ok(vec![0.0]), "nothing was wrong");
}

#[test]
fn each_alert_comes_when_it_must_and_not_before() {
    let Ok(promtool) = tools::system("promtool") else {
        return need::skip(need::Need::Tools, "promtool is not installed");
    };
    let rules = std::fs::read_to_string(files().join("alerts.yaml")).unwrap();
    let tests = std::fs::read_to_string(files().join("alerts_test.yaml")).unwrap();
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        assert!(tests.contains(&format!("name: {alert}\n")), "no test of {alert}");
    }
    let mut line = Command::new(promtool);
    command::run(line.args(["test", "rules", "alerts_test.yaml"]).current_dir(files()), PATIENCE).unwrap();
}
