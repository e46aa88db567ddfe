//! How containers of a pod follow each other, and what is told of their ends.

use crate::stage::{self, IDLE, Scenario, Stage, container, once, pod};
use e2e::registry::{PASSWORD, Registry, USER};
use e2e::world::BUSYBOX;
use serde_json::{Value, json};

const SCENARIOS: &[Scenario] = &[
    ("init", init),
    ("sidecar", sidecar),
    ("message", message),
    ("message-of-the-log", message_of_the_log),
    ("no-program", no_program),
    ("no-image", no_image),
    ("never-pull", never_pull),
    ("pull-secret", pull_secret),
    ("restarts", restarts),
    ("grace", grace),
    ("deadline", deadline),
];

#[test]
fn containers_come_and_go_as_their_pod_says() {
    let Some(cluster) = stage::cluster("lives") else { return };
    stage::play(&cluster, SCENARIOS);
}

fn terminated(status: &Value, name: &str) -> Value {
    let all = ["containerStatuses", "initContainerStatuses"];
    let found =
        all.iter().filter_map(|kind| status[*kind].as_array()).flatten().find(|it| it["name"] == name);
    found.map(|it| it["state"]["terminated"].clone()).unwrap_or_default()
}

/// One after the other, then the container; one that fails keeps the container from starting.
fn init(stage: &Stage<'_>) {
    let volume = json!([{"name": "work", "mountPath": "/data"}]);
    let with = |name: &str, script: &str| {
        let mut made = container(name, script);
        made["volumeMounts"] = volume.clone();
        made
    };
    let spec = json!({
        "restartPolicy": "Never", "volumes": [{"name": "work", "emptyDir": {}}],
        "initContainers": [with("first", "echo first >>/data/all"), with("second", "echo second >>/data/all")],
        "containers": [with("main", "cat /data/all")],
    });
    assert_eq!(stage.output(pod("init", spec)), "first\nsecond\n");
    let spec = json!({
        "restartPolicy": "Never", "initContainers": [container("first", "exit 4")],
        "containers": [container("main", "true")],
    });
    stage.create(pod("failing", spec));
    let status = stage.ended("failing");
    assert_eq!(status["phase"], "Failed");
    assert_eq!(terminated(&status, "first")["exitCode"], 4);
    assert_eq!(terminated(&status, "main"), Value::Null);
}

/// It starts before the container, is there while that runs, and ends after it.
fn sidecar(stage: &Stage<'_>) {
    let mut beside = container("beside", &format!("touch /data/up; {IDLE}"));
    beside["restartPolicy"] = json!("Always");
    beside["startupProbe"] = json!({"exec": {"command": ["cat", "/data/up"]}, "periodSeconds": 1});
    let mut main = container("main", "cat /data/up && echo there");
    for it in [&mut beside, &mut main] {
        it["volumeMounts"] = json!([{"name": "work", "mountPath": "/data"}]);
    }
    let spec = json!({
        "restartPolicy": "Never", "initContainers": [beside], "containers": [main],
        "volumes": [{"name": "work", "emptyDir": {}}], "terminationGracePeriodSeconds": 20,
    });
    stage.create(pod("sidecar", spec));
    let status = stage.ended("sidecar");
    assert_eq!(status["phase"], "Succeeded", "{status:#}");
    let (beside, main) = (terminated(&status, "beside"), terminated(&status, "main"));
    assert_eq!(beside["exitCode"], 0, "{status:#}");
    assert!(beside["finishedAt"].as_str() >= main["finishedAt"].as_str(), "{status:#}");
}

fn message(stage: &Stage<'_>) {
    stage.create(once("message", "echo out of ideas >/dev/termination-log; exit 7"));
    let status = stage.ended("message");
    let end = terminated(&status, "main");
    assert_eq!((&end["exitCode"], &end["reason"]), (&json!(7), &json!("Error")), "{end:#}");
    // The kubelet creates it with the image's id.
    assert_eq!(status["containerStatuses"][0]["image"], BUSYBOX, "{status:#}");
    assert_eq!(end["message"], "out of ideas\n");
}

fn message_of_the_log(stage: &Stage<'_>) {
    let mut pod = once("message", "echo the last words; exit 1");
    pod["spec"]["containers"][0]["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
    stage.create(pod);
    let end = terminated(&stage.ended("message"), "main");
    assert_eq!(end["message"], "the last words\n", "{end:#}");
}

/// What cannot be executed is told where a person looks.
fn no_program(stage: &Stage<'_>) {
    let main = json!({"name": "main", "image": BUSYBOX, "command": ["/no/such/program"]});
    stage.create(pod("none", json!({"restartPolicy": "Never", "containers": [main]})));
    let end = terminated(&stage.ended("none"), "main");
    assert_eq!((&end["exitCode"], &end["reason"]), (&json!(128), &json!("StartError")), "{end:#}");
    assert!(end["message"].as_str().unwrap().contains("/no/such/program"), "{end:#}");
}

fn waits_for(stage: &Stage<'_>, name: &str, reason: &'static str) -> Value {
    stage.until("the reason of the wait", name, |pod| {
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        (waiting["reason"] == reason).then(|| waiting.clone())
    })
}

fn no_image(stage: &Stage<'_>) {
    let main = json!({"name": "main", "image": "registry.test/no-such:1"});
    stage.create(pod("none", json!({"containers": [main]})));
    let waiting = waits_for(stage, "none", "ImagePullBackOff");
    assert!(waiting["message"].as_str().unwrap().contains("registry.test/no-such:1"), "{waiting:#}");
}

fn never_pull(stage: &Stage<'_>) {
    let main = json!({"name": "main", "image": "registry.test/absent:1", "imagePullPolicy": "Never"});
    stage.create(pod("never", json!({"containers": [main]})));
    waits_for(stage, "never", "ErrImageNeverPull");
    let mut main = container("main", "echo again");
    main["imagePullPolicy"] = json!("Always");
    let spec = json!({"restartPolicy": "Never", "containers": [main]});
    assert_eq!(stage.output(pod("always", spec)), "again\n");
}

/// A registry that wants a password gives to the pods that know it, and to those alone: to whom else the image is refused also
/// when it is there already.
fn pull_secret(stage: &Stage<'_>) {
    let world = &stage.cluster.node.world;
    let registry = Registry::start_with_password(&world.isolation.directory("guarded").unwrap()).unwrap();
    registry.push("guarded", "1", &e2e::image::busybox().unwrap()).unwrap();
    let host = registry.address().to_string();
    let hosts = world.daemon.place().certs.join(&host);
    std::fs::create_dir_all(&hosts).unwrap();
    let text = format!(
        "server = \"http://{host}\"\n[host.\"http://{host}\"]\ncapabilities = [\"pull\", \"resolve\"]\n"
    );
    std::fs::write(hosts.join("hosts.toml"), text).unwrap();
    for (name, password) in [("right", PASSWORD), ("wrong", "sesame")] {
        let (user, password) = (format!("--docker-username={USER}"), format!("--docker-password={password}"));
        let server = format!("--docker-server={host}");
        let words = ["create", "secret", "docker-registry", name, &server, &user, &password];
        stage.kubectl.run(&words).unwrap();
    }
    let of = |name: &str, secret: Option<&str>| {
        let main =
            json!({"name": "main", "image": format!("{host}/guarded:1"), "command": ["echo", "let in"]});
        let mut spec = json!({"restartPolicy": "Never", "containers": [main]});
        if let Some(secret) = secret {
            spec["imagePullSecrets"] = json!([{"name": secret}]);
        }
        pod(name, spec)
    };
    stage.create(of("nobody", None));
    stage.create(of("stranger", Some("wrong")));
    for name in ["nobody", "stranger"] {
        let waiting = waits_for(stage, name, "ImagePullBackOff");
        assert!(waiting["message"].as_str().unwrap().contains("guarded:1"), "{waiting:#}");
    }
    assert_eq!(stage.output(of("friend", Some("right"))), "let in\n");
    stage.create(of("late", None));
    waits_for(stage, "late", "ImagePullBackOff");
}

/// Each restart is counted, the log of the one before can be read, and its end is told.
fn restarts(stage: &Stage<'_>) {
    let mut main = container(
        "main",
        "n=$(cat /data/n 2>/dev/null || echo 0); echo life $n; echo $((n + 1)) >/data/n; [ $n -ge 2 ] && exec sleep 1000000; exit 5",
    );
    main["volumeMounts"] = json!([{"name": "work", "mountPath": "/data"}]);
    stage.create(pod("again", json!({"containers": [main], "volumes": [{"name": "work", "emptyDir": {}}]})));
    let status = stage.until("the third life", "again", |pod| {
        let status = &pod["status"]["containerStatuses"][0];
        (status["restartCount"] == 2 && status["state"]["running"].is_object()).then(|| status.clone())
    });
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 5, "{status:#}");
    assert_eq!(stage.kubectl.run(&["logs", "again"]).unwrap(), "life 2\n");
    assert_eq!(stage.kubectl.run(&["logs", "again", "--previous"]).unwrap(), "life 1\n");
}

/// Who does not heed SIGTERM is killed when the time is up, not before.
fn grace(stage: &Stage<'_>) {
    let mut stubborn = pod(
        "stubborn",
        json!({"containers": [container("main", "trap '' TERM; while :; do sleep 0.1; done")]}),
    );
    stubborn["spec"]["terminationGracePeriodSeconds"] = json!(5);
    stage.create(stubborn);
    stage.ready("stubborn");
    let begin = std::time::Instant::now();
    stage.kubectl.run(&["delete", "pod/stubborn"]).unwrap();
    assert!(begin.elapsed().as_secs() >= 5, "it was gone after {:?}", begin.elapsed());
    stage.create(pod(
        "forced",
        json!({"containers": [container("main", IDLE)], "terminationGracePeriodSeconds": 600}),
    ));
    stage.ready("forced");
    stage.kubectl.run(&["delete", "pod/forced", "--grace-period=0", "--force"]).unwrap();
}

fn deadline(stage: &Stage<'_>) {
    let mut late = once("late", "exec sleep 1000000");
    late["spec"]["activeDeadlineSeconds"] = json!(2);
    stage.create(late);
    assert_eq!(stage.ended("late")["reason"], "DeadlineExceeded");
}
