//! An update rolls through thirty pods, under constant requests to their Service, while the runtime is killed twice.

use crate::stage::{self, container, pod};
use e2e::cluster::{Cluster, Kubectl};
use e2e::http::Request;
use e2e::runtime::Kind;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PODS: usize = 30;
const CLIENTS: usize = 2;

#[test]
fn an_update_under_load_loses_no_request_while_the_runtime_is_killed() {
    let Some(mut cluster) = stage::cluster("rollout") else { return };
    let web = Web { name: "web", pods: PODS };
    let address = web.serve(&cluster.kubectl);
    let over = AtomicBool::new(false);
    let begin = Instant::now();
    let seen = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| ask(address, &over))).collect();
        // Ends the clients also where this thread panics.
        let _over = OnDrop(&over);
        web.update(&cluster.kubectl, "2");
        for part in [PODS / 3, 2 * PODS / 3] {
            web.updated(&cluster.kubectl, part);
            cluster.node.world.daemon.kill().unwrap();
            std::thread::sleep(Duration::from_secs(1));
            cluster.node.world.daemon.restart().unwrap();
        }
        web.rolled_out(&cluster.kubectl);
        // The last of the old pods end only now.
        std::thread::sleep(Duration::from_secs(5));
        over.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let count = |version: &str| seen.iter().filter(|page| page.as_deref() == Ok(version)).count();
    let failed: Vec<_> = seen.iter().filter_map(|page| page.as_ref().err()).collect();
    println!(
        "{:.1} s; {} requests answered by the old pods, {} by the new, {} failed",
        begin.elapsed().as_secs_f64(),
        count("1"),
        count("2"),
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:?}");
    assert!(count("1") > 0 && count("2") > 0);
    assert_eq!(count("1") + count("2"), seen.len());
    nothing_ran_twice(&cluster);
}

pub(crate) struct OnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A request on a connection of its own after the other; the pages, or what went wrong.
pub(crate) fn ask(address: SocketAddr, over: &AtomicBool) -> Vec<Result<String, String>> {
    let mut seen = Vec::new();
    while !over.load(Ordering::Relaxed) {
        seen.push(page(address));
        std::thread::sleep(Duration::from_millis(10));
    }
    seen
}

fn page(address: SocketAddr) -> Result<String, String> {
    let request = Request { method: "GET", target: "/", headers: &[], body: &[] };
    match request.send(address) {
        Ok(reply) if reply.status == 200 => Ok(String::from_utf8_lossy(&reply.body).trim().to_owned()),
        Ok(reply) => Err(format!("{reply:?}")),
        Err(error) => Err(format!("{error:?}")),
    }
}

/// Every pod there is was made once, by the kubelet and by the runtime.
fn nothing_ran_twice(cluster: &Cluster) {
    let pods = cluster.kubectl.get(&["get", "pods", "--selector", "app=web"]).unwrap();
    let pods: Vec<_> =
        items(&pods).iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect();
    assert_eq!(pods.len(), PODS);
    let restarted: Vec<_> =
        pods.iter().filter(|pod| pod["status"]["containerStatuses"][0]["restartCount"] != 0).collect();
    if !restarted.is_empty() && cluster.node.world.daemon.kind() != Kind::Corten {
        return need::skip(
            need::Need::Corten,
            "containers that are starting when it is killed are started again",
        );
    }
    assert!(restarted.is_empty(), "{restarted:#?}");
    let world = &cluster.node.world;
    let sandboxes = world.tokio.block_on(async { world.daemon.client().await?.pods().await }).unwrap();
    let again: Vec<_> =
        sandboxes.iter().filter(|pod| pod.metadata.as_ref().is_some_and(|meta| meta.attempt > 0)).collect();
    assert!(again.is_empty(), "pods were recreated: {again:?}");
}

pub(crate) fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A Deployment of small web servers, each of which tells its version, behind a Service of the same name.
pub(crate) struct Web {
    pub(crate) name: &'static str,
    pub(crate) pods: usize,
}

impl Web {
    /// Creates both, and waits until the Service answers at its address.
    pub(crate) fn serve(&self, kubectl: &Kubectl) -> SocketAddr {
        kubectl.create(&[self.deployment(), self.service()]).unwrap();
        self.rolled_out(kubectl);
        let service = kubectl.get(&["get", &format!("service/{}", self.name)]).unwrap();
        let address: SocketAddr =
            format!("{}:80", service["spec"]["clusterIP"].as_str().unwrap()).parse().unwrap();
        e2e::wait::until("the Service answers", stage::PATIENCE, || page(address).is_ok()).unwrap();
        address
    }

    fn object(&self) -> String {
        format!("deployment/{}", self.name)
    }

    /// Begins to replace all pods by such of another version.
    pub(crate) fn update(&self, kubectl: &Kubectl, version: &str) {
        kubectl.run(&["set", "env", &self.object(), &format!("VERSION={version}")]).unwrap();
    }

    pub(crate) fn rolled_out(&self, kubectl: &Kubectl) {
        for _ in 0..3 {
            if kubectl.run(&["rollout", "status", &self.object(), "--timeout=100s"]).is_ok() {
                return;
            }
        }
        panic!("{}", kubectl.run(&["get", "pods", "--output=wide"]).unwrap());
    }

    /// Whether all pods are of the version that was set last, and ready.
    pub(crate) fn is_rolled_out(&self, kubectl: &Kubectl) -> bool {
        let web = kubectl.get(&["get", &self.object()]).unwrap();
        let status = &web["status"];
        let are_all = |key: &str| status[key].as_u64() == Some(self.pods as u64);
        status["observedGeneration"] == web["metadata"]["generation"]
            && ["replicas", "updatedReplicas", "availableReplicas"].into_iter().all(are_all)
    }

    /// Waits until so many pods are of the new version.
    pub(crate) fn updated(&self, kubectl: &Kubectl, number: usize) {
        let wanted = |web: &Value| {
            let status = &web["status"];
            (status["observedGeneration"] == web["metadata"]["generation"]
                && status["updatedReplicas"].as_u64()? >= number as u64)
                .then_some(())
        };
        kubectl.until("the update is on its way", &["get", &self.object()], stage::PATIENCE, wanted).unwrap();
    }

    fn deployment(&self) -> Value {
        let script =
            "mkdir /tmp/www && echo $VERSION >/tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www";
        let mut web = container("web", script);
        web["env"] = json!([{"name": "VERSION", "value": "1"}]);
        web["readinessProbe"] = json!({"httpGet": {"port": 8080}, "periodSeconds": 1, "timeoutSeconds": 10});
        // As real ones have it: until kube-proxies know, requests still come.
        web["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 4}}});
        let template = pod(self.name, json!({"containers": [web], "terminationGracePeriodSeconds": 10}));
        let labels = json!({"app": self.name});
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": self.name},
            "spec": {
                "replicas": self.pods, "selector": {"matchLabels": labels},
                "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "20%"}},
                "template": {"metadata": {"labels": labels}, "spec": template["spec"]},
            },
        })
    }

    fn service(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": self.name},
            "spec": {"selector": {"app": self.name}, "ports": [{"port": 80, "targetPort": 8080}]},
        })
    }
}
