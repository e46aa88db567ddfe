//! Clients of a container that runs.

use crate::talk::Talk;
use crate::{SOON, TRANSPORTS, start};
use e2e::pods;
use e2e::runtime::Kind;
use e2e::world::{BUSYBOX, World, wait_exited};
use std::fs;
use std::io::Read;
use std::time::{Duration, Instant};

#[test]
fn attached_clients_see_what_comes_and_feed_what_reads() {
    let Some(world) = World::new().unwrap() else { return };
    let crictl = world.crictl().unwrap();
    for transport in TRANSPORTS {
        let script =
            "echo before; while read line; do echo out $line; echo err $line >&2; done; echo over; exit 5";
        let mut container = pods::shell("main", BUSYBOX, script);
        (container.stdin, container.stdin_once) = (true, true);
        let name = format!("attach-{transport}");
        let (_, id) = start(&world, &name, &container);
        let mut watcher = Talk::new(&mut crictl.command(&["attach", "-r", transport, &id]));
        let mut talk = Talk::new(&mut crictl.command(&["attach", "-i", "-r", transport, &id]));
        talk.say("one\n");
        talk.hear("out one\n");
        // Whoever attached may have done so after the first line.
        let since = Instant::now();
        let mut count = 0;
        while !watcher.heard.contains("out ") {
            assert!(since.elapsed() < SOON, "the watcher sees nothing");
            count += 1;
            talk.say(&format!("{count}\n"));
            talk.hear(&format!("out {count}\n"));
            let some = watcher.hear_some();
            watcher.heard += &some;
        }
        // Its input ends, and with it the container's; the output comes to the end.
        drop(talk.child.stdin.take());
        talk.hear("over\n");
        assert!(talk.end() && watcher.end(), "{transport}: attach fails when the container exits");
        let status = world.tokio.block_on(async {
            let cri = world.daemon.client().await.unwrap();
            wait_exited(&cri, &id, SOON).await.unwrap()
        });
        assert_eq!(status.exit_code, 5);
        let log = fs::read_to_string(world.log(&name, "main")).unwrap();
        assert!(log.contains("F before") && log.contains("F out one") && log.contains("F over"), "{log}");
        let late = crictl.finish(&["attach", "-r", transport, &id]).unwrap();
        assert!(!late.status.success(), "attached to a container that has ended");
    }
}

#[test]
fn a_client_that_never_reads_holds_up_no_container() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "containerd waits for such a client");
        return;
    }
    let crictl = world.crictl().unwrap();
    let script = "until [ -e /go ]; do echo tick; sleep 0.05; done; head -c 60000000 /dev/zero | tr '\\0' 'x' | fold -w 99; echo; echo over";
    let (_, id) = start(&world, "lazy", &pods::shell("main", BUSYBOX, script));
    // Its output goes to a pipe that nobody reads.
    let mut lazy = Talk::new(&mut crictl.command(&["attach", &id]));
    lazy.hear("tick\n");
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.shell(&id, "touch /go").await.unwrap();
        wait_exited(&cri, &id, Duration::from_secs(60)).await.unwrap();
    });
    let log = fs::read_to_string(world.log("lazy", "main")).unwrap();
    assert!(log.len() > 60_000_000 && log.trim_end().ends_with("F over"), "{} bytes", log.len());
    let mut rest = Vec::new();
    lazy.child.stdout.as_mut().unwrap().read_to_end(&mut rest).unwrap();
    assert!(rest.len() < 60_000_000, "{} bytes: nothing was dropped", rest.len());
}
