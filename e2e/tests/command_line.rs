//! The command line of `corten`: what it shows of pods and containers is what the real crictl shows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::command::{self, Finished};
use e2e::pods::shell;
use e2e::runtime::Kind;
use e2e::tools;
use e2e::world::{BUSYBOX, World, wait_exited};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// The command line, pointed at a world's daemon.
struct Corten<'a>(&'a World);

impl Corten<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tools::corten("corten").unwrap());
        let (name, rest) = arguments.split_first().unwrap();
        command.arg(name).arg("--socket").arg(&self.0.daemon.place().socket).args(rest).env("TZ", "UTC");
        command
    }

    fn finish(&self, arguments: &[&str]) -> Finished {
        command::finish(&mut self.command(arguments), SOON).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> String {
        let Finished { status, stdout, stderr } = self.finish(arguments);
        assert!(status.success() && stderr.is_empty(), "{arguments:?}: {status}: {stderr}");
        stdout
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(arguments)).unwrap()
    }

    /// What it says where it fails.
    fn refusal(&self, arguments: &[&str]) -> String {
        let Finished { status, stdout, stderr } = self.finish(arguments);
        assert_eq!(status.code(), Some(1), "{arguments:?}: {stdout}{stderr}");
        stderr
    }
}

/// A world on Corten: another runtime has no such command line.
fn world() -> Option<World> {
    let world = World::new().unwrap()?;
    if world.daemon.kind() == Kind::Corten {
        return Some(world);
    }
    need::skip(need::Need::Corten, "the command line is Corten's");
    None
}

/// A running pod: ids of the pod, of a container that runs, and of one that ended with 3.
fn life(world: &World, name: &str) -> (String, String, String) {
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let mut config = world.pod(name).unwrap();
        config.labels.insert("app".into(), name.into());
        let pod = cri.run_pod(&config).await.unwrap();
        let script = "echo out; echo err >&2; trap 'exit 0' TERM; while :; do sleep 0.1; done";
        let main = cri.create(&pod, &shell("main", BUSYBOX, script), &config).await.unwrap();
        cri.start(&main).await.unwrap();
        let done = cri.create(&pod, &shell("done", BUSYBOX, "echo bye; exit 3"), &config).await.unwrap();
        cri.start(&done).await.unwrap();
        wait_exited(&cri, &done, SOON).await.unwrap();
        (pod, main, done)
    })
}

/// Everything that is in the first is in the second, with the same value.
fn holds(place: &str, crictl: &Value, own: &Value) {
    match (crictl, own) {
        (Value::Object(crictl), Value::Object(own)) => {
            for (key, value) in crictl {
                let place = format!("{place}.{key}");
                holds(&place, value, own.get(key).unwrap_or_else(|| panic!("{place} is missing")));
            }
        }
        _ => assert_eq!(crictl, own, "{place}"),
    }
}

#[test]
fn pods_and_containers_are_shown_as_crictl_shows_them() {
    let Some(world) = world() else { return };
    let (corten, crictl) = (Corten(&world), world.crictl().unwrap());
    let (pod, main, done) = life(&world, "shown");
    let other = life(&world, "other").0;
    for (theirs, own) in [
        (vec!["inspect", &main], vec!["inspect", &main]),
        (vec!["inspect", &done], vec!["inspect", "test/shown/done"]),
        (vec!["inspectp", &pod], vec!["inspect", "test/shown"]),
        (vec!["ps", "-a", "--pod", &pod, "-o", "json"], vec!["ps", "-a", "--pod", "shown", "-o", "json"]),
        (vec!["pods", "--id", &pod, "-o", "json"], vec!["pods", &pod, "-o", "json"]),
    ] {
        // Times as text, in the zone of whoever looks.
        let mut command = crictl.command(&theirs);
        let theirs = command::run(command.env("TZ", "UTC"), SOON).unwrap();
        holds("", &serde_json::from_str(&theirs).unwrap(), &corten.json(&own));
    }
    for (arguments, wanted) in [
        (vec!["pods", "-q"], vec![&other, &pod]),
        (vec!["pods", "-q", "-l", "app=shown"], vec![&pod]),
        (vec!["pods", "-q", "--state", "notready"], vec![]),
        (vec!["pods", "-q", "-n", "elsewhere"], vec![]),
        (vec!["ps", "-q", "--pod", "shown"], vec![&main]),
        (vec!["ps", "-q", "--pod", "shown", "-a"], vec![&done, &main]),
        (vec!["ps", "-q", "--pod", "shown", "--state", "exited"], vec![&done]),
    ] {
        assert_eq!(corten.run(&arguments).lines().collect::<Vec<_>>(), wanted, "{arguments:?}");
    }
    let table = corten.run(&["ps", "-a", "-o", "wide", "--pod", "shown"]);
    let line = table.lines().find(|line| line.contains(&done)).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        (&words[..4], &words[6..]),
        (&["test", "shown", "done", "Exited"][..], &[BUSYBOX, &done, &pod, "3", "Error"][..])
    );
    assert!(!table.contains('\x1b') && table.starts_with("NAMESPACE  POD "), "{table}");
}

#[test]
fn what_is_not_there_or_may_be_several_is_told() {
    let Some(world) = world() else { return };
    let corten = Corten(&world);
    let (pod, ..) = life(&world, "one");
    let (other, ..) = life(&world, "two");
    assert_eq!(
        corten.refusal(&["inspect", "nobody"]),
        "corten: no pod or container has the id or the name \"nobody\": `corten pods; corten ps -a` lists them\n"
    );
    let told = corten.refusal(&["logs", "main"]);
    assert!(told.contains("test/one/main") && told.contains("test/two/main"), "{told}");
    let shared = pod.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
    assert_eq!(corten.run(&["pods", "-q", &pod[..=shared]]), format!("{pod}\n"));
    let mut away = Command::new(tools::corten("corten").unwrap());
    let away = command::finish(away.args(["ps", "--socket", "/nonexistent.sock"]), SOON).unwrap();
    assert_eq!(
        (away.status.code(), away.stderr.as_str()),
        (
            Some(1),
            "corten: no daemon listens on /nonexistent.sock: is it running? `systemctl status corten` tells; --socket names another socket\n"
        )
    );
    // A reader that leaves early.
    let line = format!("{:?} | head -0", corten.command(&["ps"]));
    let piped = command::finish(Command::new("bash").args(["-c", &format!("set -o pipefail; {line}")]), SOON)
        .unwrap();
    assert!(piped.status.success() && piped.stderr.is_empty(), "{}", piped.stderr);
}

#[test]
fn logs_are_shown_from_where_they_are_wanted_to_the_container_s_end() {
    let Some(world) = world() else { return };
    let corten = Corten(&world);
    let id = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let config = world.pod("talker").unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        // It goes on when it finds the file.
        let script = "for i in 1 2 3 4; do echo line $i; done; echo odd >&2; while ! [ -e /go ]; do sleep 0.05; done; \
                      for i in 5 6 7 8; do echo line $i; sleep 0.1; done; exit 4";
        let id = cri.create(&pod, &shell("main", BUSYBOX, script), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        id
    });
    let first = "line 1\nline 2\nline 3\nline 4\n";
    e2e::wait::until("the log", SOON, || corten.finish(&["logs", "main"]).stderr == "odd\n").unwrap();
    assert_eq!(corten.finish(&["logs", "main"]).stdout, first);
    assert_eq!(corten.finish(&["logs", "--tail", "2", &id]).stdout, "line 4\n");
    assert_eq!(corten.finish(&["logs", "--tail=-1", &id]).stdout, corten.finish(&["logs", &id]).stdout);
    assert_eq!(corten.run(&["logs", "--since", "2100-01-01T00:00:00Z", &id]), "");
    let timed = corten.finish(&["logs", "-t", "--since", "1h", "talker/main"]).stdout;
    assert!(timed.lines().all(|line| line.starts_with("20") && line.contains("Z line ")), "{timed}");
    let wrong = corten.finish(&["logs", "--since", "yesterday", &id]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(wrong.stderr.contains("--since \"yesterday\": it is neither"), "{}", wrong.stderr);

    let printed = world.isolation.root().join("followed");
    let out = std::fs::File::create(&printed).unwrap();
    let mut following = corten.command(&["logs", "-f", &id]).stdout(out).spawn().unwrap();
    let told = || std::fs::read_to_string(&printed).unwrap();
    // The log is renamed only then.
    e2e::wait::until("the follower", SOON, || told() == first).unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.exec(&id, &["touch", "/go"], 10).await.unwrap();
        let log = world.log("talker", "main");
        // As the kubelet rotates.
        std::fs::rename(&log, log.with_extension("old")).unwrap();
        let request = e2e::proto::ReopenContainerLogRequest { container_id: id.clone() };
        cri.runtime.clone().reopen_container_log(request).await.unwrap();
    });
    let ended = e2e::wait::until("its end", SOON, || following.try_wait().unwrap().is_some());
    let _ = following.kill();
    assert!(following.wait().unwrap().success());
    ended.unwrap();
    assert_eq!(told(), format!("{first}line 5\nline 6\nline 7\nline 8\n"));
}

#[test]
fn a_command_has_its_streams_and_its_exit_code() {
    let Some(world) = world() else { return };
    let corten = Corten(&world);
    let (_, main, _) = life(&world, "execs");
    let ran = corten.finish(&["exec", "execs/main", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((ran.status.code(), ran.stdout.as_str(), ran.stderr.as_str()), (Some(7), "out\n", "err\n"));
    let mut command = corten.command(&["exec", "-i", &main, "md5sum"]);
    let input = vec![b'x'; 3 << 20];
    let fed = command::feed(&mut command, &input, SOON).unwrap();
    let sum = command::feed(&mut Command::new("md5sum"), &input, SOON).unwrap().stdout;
    assert_eq!((fed.status.code(), fed.stdout), (Some(0), sum));
    let large = corten.run(&["exec", &main, "sh", "-c", "yes | head -n 500000"]);
    assert_eq!(large.len(), 1_000_000);
    let refused = corten.refusal(&["exec", "execs/done", "--", "true"]);
    let told = "corten: cannot run a command in container test/execs/done: it is exited";
    assert!(refused.starts_with(told), "{refused}");
    let missing = corten.finish(&["exec", &main, "/nothing"]);
    assert_eq!(missing.status.code(), Some(127), "{}", missing.stderr);
}

#[test]
fn a_terminal_has_its_size_and_every_key() {
    let Some(world) = world() else { return };
    let corten = Corten(&world);
    let (_, main, _) = life(&world, "typed");
    // The pseudo-terminal of script(1), with a size of its own.
    let line = format!(
        "stty rows 33 cols 77; {:?}; echo ended with $?",
        corten.command(&["exec", "-it", &main, "sh"])
    );
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env("SHELL", "/bin/bash");
    let mut terminal = Typed::new(&mut script);
    terminal.hear("# ");
    terminal.say("stty size\r");
    terminal.hear("33 77");
    // An interrupt is the command's in the container, not the client's.
    terminal.say("sleep 1000\r");
    std::thread::sleep(Duration::from_millis(300));
    terminal.say("\u{3}");
    terminal.say("exit 9\r");
    terminal.hear("ended with 9");
}

/// A program to which is typed; killed when it is dropped.
struct Typed {
    child: std::process::Child,
    heard: String,
}

impl Typed {
    fn new(command: &mut Command) -> Self {
        use std::process::Stdio;
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Self { child, heard: String::new() }
    }

    fn say(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Reads until the text is there.
    fn hear(&mut self, wanted: &str) {
        while !self.heard.contains(wanted) {
            let mut buffer = [0; 4096];
            let count = self.child.stdout.as_mut().unwrap().read(&mut buffer).unwrap();
            assert_ne!(count, 0, "it ends behind {:?}", self.heard);
            self.heard += &String::from_utf8_lossy(&buffer[..count]);
        }
        self.heard.clear();
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn events_are_those_that_were_and_those_that_come() {
    let Some(world) = world() else { return };
    let corten = Corten(&world);
    let (pod, main, done) = life(&world, "eventful");
    let told = |text: &str| -> Vec<(String, String)> {
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .map(|event| (event["event"].as_str().unwrap().into(), event["id"].as_str().unwrap().into()))
            .collect()
    };
    let past = [
        ("created", &pod),
        ("created", &main),
        ("started", &main),
        ("created", &done),
        ("started", &done),
        ("stopped", &done),
    ];
    let past: Vec<(String, String)> = past.map(|(what, id)| (what.to_owned(), id.clone())).into();
    assert_eq!(told(&corten.run(&["events", "-o", "json", "--pod", "eventful"])), past);
    let text = corten.run(&["events", "-n", "test"]);
    assert!(
        text.contains(&format!("  stopped  container  test/eventful/done  {done}  exit code 3, Error\n")),
        "{text}"
    );
    assert_eq!(corten.run(&["events", "-n", "elsewhere"]), "");

    let mut following = corten.command(&["events", "-f", "-o", "json"]);
    let mut following = Typed::new(&mut following);
    following.hear(&format!("\"id\":\"{done}\",\"kind\":\"container\",\"namespace\":\"test\",\"pod\":\"eventful\",\"reason\":\"Error\""));
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.remove(&done).await.unwrap();
    });
    following.hear("\"container\":\"done\",\"event\":\"removed\"");
}

#[test]
fn usage_is_shown_once_where_nobody_looks() {
    let Some(world) = world() else { return };
    let corten = Corten(&world);
    let (pod, main) = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let config = world.pod("busy").unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let main = cri.create(&pod, &shell("main", BUSYBOX, "while :; do :; done"), &config).await.unwrap();
        cri.start(&main).await.unwrap();
        (pod, main)
    });
    let idle = life(&world, "idle").0;
    let picture = corten.json(&["top", "-o", "json"]);
    let pods = picture["pods"].as_array().unwrap();
    assert_eq!(pods.iter().map(|pod| pod["id"].as_str().unwrap()).collect::<Vec<_>>(), [&pod, &idle]);
    let container = &pods[0]["containers"][0];
    assert_eq!((&container["id"], &container["name"]), (&main.as_str().into(), &"main".into()));
    // A loop takes what it gets of a core, which is more than one that sleeps.
    let cpu = |value: &Value| value["cpuMillicores"].as_u64().unwrap();
    assert!(cpu(container) > 50 && cpu(container) > 2 * cpu(&pods[1]["containers"][0]), "{picture}");
    assert!(container["memoryBytes"].as_u64().unwrap() > 0, "{picture}");
    let table = corten.run(&["top", "--once", "--pod", "busy"]);
    assert!(
        table.starts_with("NAMESPACE  POD ") && table.lines().count() == 3 && !table.contains('\x1b'),
        "{table}"
    );
}
