//! The static pods of the scenario.

use e2e::world::BUSYBOX;
use serde_json::{Value, json};

/// What the container `exec` of the pod `probes` says first.
pub(crate) const GREETING: &str = "hello from a static pod";
/// What the pod `init` leaves as its termination message.
pub(crate) const MESSAGE: &str = "it was a good life";
/// The exit code of the pod `init`.
pub(crate) const CODE: i32 = 7;

/// Every pod, by name.
pub(crate) fn all() -> [(&'static str, Value); 5] {
    [("figures", figures()), ("probes", probes()), ("liveness", liveness()), ("init", init()), ("oom", oom())]
}

/// It uses some CPU, memory and network, and then nothing more.
fn figures() -> Value {
    let script = "n=0; while [ $n -lt 400000 ]; do n=$((n + 1)); done; dd if=/dev/zero of=/tmp/x bs=1M count=16; \
                  for n in 1 2 3; do nc -w 1 10.88.0.1 9 </dev/null; done; exec sleep 1000000";
    pod("figures", "Always", json!({"containers": [container("main", script)]}))
}

/// Ready when an exec, an HTTP and a TCP probe succeed, each of a container of its own.
fn probes() -> Value {
    let server = |port: u16| {
        format!("mkdir -p /tmp/www && echo fine >/tmp/www/index.html && exec httpd -f -p {port} -h /tmp/www")
    };
    let mut exec = container("exec", &format!("echo {GREETING}; touch /tmp/ready; exec sleep 1000000"));
    exec["readinessProbe"] = probe(json!({"exec": {"command": ["cat", "/tmp/ready"]}}));
    let mut http = container("http", &server(8080));
    http["startupProbe"] = probe(json!({"httpGet": {"port": 8080, "path": "/"}}));
    http["readinessProbe"] = probe(json!({"httpGet": {"port": 8080, "path": "/index.html"}}));
    http["livenessProbe"] = probe(json!({"httpGet": {"port": 8080, "path": "/"}}));
    let mut tcp = container("tcp", &server(8081));
    tcp["readinessProbe"] = probe(json!({"tcpSocket": {"port": 8081}}));
    pod("probes", "Always", json!({"containers": [exec, http, tcp]}))
}

/// Its liveness probe fails after a while.
fn liveness() -> Value {
    let mut main = container("main", "touch /tmp/alive; sleep 3; rm /tmp/alive; sleep 1000000");
    main["livenessProbe"] = probe(json!({"exec": {"command": ["cat", "/tmp/alive"]}, "failureThreshold": 1}));
    pod("liveness", "Always", json!({"containers": [main]}))
}

/// Its init container prepares what its container reads, which ends with a message.
fn init() -> Value {
    let volume = json!([{"name": "work", "mountPath": "/handover"}]);
    let mut first = container("first", &format!("echo '{MESSAGE}' >/handover/message"));
    let mut main = container("main", &format!("cat /handover/message >/dev/termination-log; exit {CODE}"));
    first["volumeMounts"] = volume.clone();
    main["volumeMounts"] = volume;
    let volumes = json!([{"name": "work", "emptyDir": {}}]);
    pod("init", "Never", json!({"initContainers": [first], "containers": [main], "volumes": volumes}))
}

/// It wants more memory than it may have.
fn oom() -> Value {
    let mut main = container("main", "dd if=/dev/zero of=/dev/null bs=128M count=1");
    main["resources"] = json!({"limits": {"memory": "32Mi"}});
    pod("oom", "Never", json!({"containers": [main]}))
}

fn pod(name: &str, restart: &str, mut spec: Value) -> Value {
    spec["restartPolicy"] = json!(restart);
    spec["terminationGracePeriodSeconds"] = json!(1);
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec,
    })
}

fn container(name: &str, script: &str) -> Value {
    json!({
        "name": name, "image": BUSYBOX, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script],
    })
}

fn probe(mut of: Value) -> Value {
    of["periodSeconds"] = json!(1);
    of["timeoutSeconds"] = json!(10);
    of
}
