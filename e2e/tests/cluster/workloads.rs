//! What controllers make pods for.

use crate::stage::{self, IDLE, PATIENCE, Scenario, Stage, container, pod};
use serde_json::{Value, json};

#[test]
fn controllers_get_what_they_want() {
    let Some(cluster) = stage::cluster("workloads") else { return };
    const SCENARIOS: &[Scenario] = &[
        ("job", job),
        ("failing-job", failing_job),
        ("cron-job", cron_job),
        ("stateful-set", stateful_set),
        ("daemon-set", daemon_set),
        ("deployment", deployment),
        ("secrets", secrets),
    ];
    stage::play(&cluster, SCENARIOS);
}

fn template(name: &str, spec: Value) -> Value {
    let pod = pod(name, spec);
    json!({"metadata": {"labels": {"app": name}}, "spec": pod["spec"]})
}

/// Something that a controller makes pods for.
fn of(kind: &str, name: &str, mut spec: Value) -> Value {
    let group = if kind.ends_with("Job") { "batch/v1" } else { "apps/v1" };
    if group == "apps/v1" {
        spec["selector"] = json!({"matchLabels": {"app": name}});
    }
    json!({"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn job(stage: &Stage<'_>) {
    let main = container("main", "echo index $JOB_COMPLETION_INDEX");
    let template = template("job", json!({"restartPolicy": "Never", "containers": [main]}));
    let spec = json!({"completions": 6, "parallelism": 3, "completionMode": "Indexed", "template": template});
    stage.kubectl.create(&[of("Job", "job", spec)]).unwrap();
    stage.kubectl.run(&["wait", "--for=condition=complete", "job/job", "--timeout=100s"]).unwrap();
    let mut said: Vec<_> = stage
        .kubectl
        .run(&["logs", "--selector=app=job", "--tail=-1"])
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    said.sort();
    assert_eq!(said, (0..6).map(|index| format!("index {index}")).collect::<Vec<_>>());
}

/// Tried as often as it may be, and then failed; a pod failure policy knows exit codes.
fn failing_job(stage: &Stage<'_>) {
    let failing = |name: &str, code: u8, more: Value| {
        let main = container("main", &format!("exit {code}"));
        let template = template(name, json!({"restartPolicy": "Never", "containers": [main]}));
        let mut spec = json!({"backoffLimit": 1, "template": template});
        if !more.is_null() {
            spec["podFailurePolicy"] = more;
        }
        of("Job", name, spec)
    };
    let rule = json!({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}});
    let jobs = [failing("twice", 1, Value::Null), failing("once", 42, json!({"rules": [rule]}))];
    stage.kubectl.create(&jobs).unwrap();
    for (name, pods) in [("twice", 2), ("once", 1)] {
        let object = format!("job/{name}");
        let failed =
            |job: &Value| e2e::cluster::condition(job, "Failed").then(|| job["status"]["failed"].clone());
        let count = stage.kubectl.until("the job has failed", &["get", &object], PATIENCE, failed).unwrap();
        assert_eq!(count, pods, "{name}");
    }
}

fn cron_job(stage: &Stage<'_>) {
    let main = container("main", "echo on time");
    let template = template("cron", json!({"restartPolicy": "Never", "containers": [main]}));
    let spec = json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}});
    stage.kubectl.create(&[of("CronJob", "cron", spec)]).unwrap();
    let done = |cron: &Value| cron["status"]["lastSuccessfulTime"].as_str().map(|_| ());
    stage.kubectl.until("the job of a minute", &["get", "cronjob/cron"], 2 * PATIENCE, done).unwrap();
}

/// Pods with names that stay, started in order, each found by its own name.
fn stateful_set(stage: &Stage<'_>) {
    let script = format!("mkdir /tmp/www; hostname >/tmp/www/index.html; httpd -p 8080 -h /tmp/www; {IDLE}");
    let mut main = container("main", &script);
    main["readinessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    let spec = json!({"replicas": 3, "serviceName": "set", "template": template("set", json!({"containers": [main]}))});
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "set"},
        "spec": {"clusterIP": "None", "selector": {"app": "set"}, "ports": [{"port": 8080}]},
    });
    stage.kubectl.create(&[service, of("StatefulSet", "set", spec)]).unwrap();
    stage.kubectl.run(&["rollout", "status", "statefulset/set", "--timeout=100s"]).unwrap();
    let started = |index: u8| stage.ready(&format!("set-{index}"))["status"]["startTime"].to_string();
    assert!(started(0) <= started(1) && started(1) <= started(2));
    asks(stage, "set-0", "set-2.set", 8080, "set-2\n");
    let before = stage.ready("set-1")["metadata"]["uid"].clone();
    stage.kubectl.run(&["delete", "pod/set-1"]).unwrap();
    stage.until("the same again", "set-1", |pod| {
        (pod["metadata"]["uid"] != before && e2e::cluster::condition(pod, "Ready")).then_some(())
    });
    asks(stage, "set-0", "set-1.set", 8080, "set-1\n");
}

/// Asks from a pod for the page of a server until it is as expected: DNS may know a name later.
pub(crate) fn asks(stage: &Stage<'_>, pod: &str, host: &str, port: u16, expected: &str) {
    let end = std::time::Instant::now() + PATIENCE;
    let script = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {host} {port} | tail -n 1");
    loop {
        let seen = stage.kubectl.run(&["exec", pod, "--", "sh", "-c", &script]);
        if seen.as_ref().is_ok_and(|text| text == expected) {
            return;
        }
        assert!(std::time::Instant::now() < end, "{host}: {seen:?}");
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
}

fn daemon_set(stage: &Stage<'_>) {
    let spec = json!({"template": template("set", json!({"containers": [container("main", IDLE)]}))});
    stage.kubectl.create(&[of("DaemonSet", "set", spec)]).unwrap();
    stage.kubectl.run(&["rollout", "status", "daemonset/set", "--timeout=100s"]).unwrap();
    let pods = stage.kubectl.get(&["get", "pods"]).unwrap();
    assert_eq!(pods["items"].as_array().map(Vec::len), Some(1));
}

/// Up, down to nothing, up again.
fn deployment(stage: &Stage<'_>) {
    let spec =
        json!({"replicas": 3, "template": template("web", json!({"containers": [container("main", IDLE)]}))});
    stage.kubectl.create(&[of("Deployment", "web", spec)]).unwrap();
    stage.kubectl.run(&["rollout", "status", "deployment/web", "--timeout=100s"]).unwrap();
    stage.kubectl.run(&["scale", "deployment/web", "--replicas=0"]).unwrap();
    let none = |list: &Value| list["items"].as_array()?.is_empty().then_some(());
    stage.kubectl.until("no pod is left", &["get", "pods"], PATIENCE, none).unwrap();
    stage.kubectl.run(&["scale", "deployment/web", "--replicas=2"]).unwrap();
    stage.kubectl.run(&["rollout", "restart", "deployment/web"]).unwrap();
    stage.kubectl.run(&["rollout", "status", "deployment/web", "--timeout=100s"]).unwrap();
}

/// Environment and files of ConfigMaps and Secrets.
fn secrets(stage: &Stage<'_>) {
    stage.kubectl.run(&["create", "secret", "generic", "secret", "--from-literal=word=xyzzy"]).unwrap();
    stage.kubectl.run(&["create", "configmap", "config", "--from-literal=color=brown"]).unwrap();
    let mut main =
        container("main", "echo $word $color; cat /secret/word /config/color; stat -L -c %a /secret/word");
    main["envFrom"] = json!([{"secretRef": {"name": "secret"}}, {"configMapRef": {"name": "config"}}]);
    main["volumeMounts"] =
        json!([{"name": "secret", "mountPath": "/secret"}, {"name": "config", "mountPath": "/config"}]);
    let volumes = json!([
        {"name": "secret", "secret": {"secretName": "secret", "defaultMode": 0o400}},
        {"name": "config", "configMap": {"name": "config"}},
    ]);
    let spec = json!({"restartPolicy": "Never", "containers": [main], "volumes": volumes});
    assert_eq!(stage.output(pod("reader", spec)), "xyzzy brown\nxyzzybrown400\n");
}
