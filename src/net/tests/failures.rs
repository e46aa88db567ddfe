use super::harness::{Node, eventually, list, pod, runs};
use crate::NetError;
use cni::types::Command;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_failed_add_is_deleted_in_reverse() {
    let node = Node::new();
    node.address_plugin("a");
    node.plugin("b", r#"[ $CNI_COMMAND = DEL ] && exit 0; echo '{"cniVersion": "1.0.0", "code": 11, "msg": "no lease", "details": "pool"}'; exit 1"#);
    node.address_plugin("c");
    node.conf("10.conflist", &list("1.0.0", &["a", "b", "c"]));
    let network = node.open();
    let error = network.attach(&pod("c1")).await.unwrap_err();
    assert_eq!(node.calls(), ["a ADD", "b ADD", "c DEL", "b DEL", "a DEL"]);
    assert_eq!(node.stdin("c", "DEL")["prevResult"]["x-own"], 7, "the last result that there was");
    assert_eq!(error.to_string(), "cni ADD b: no lease; pool (it may work later)");
    assert_eq!(error.kind(), model::ErrorKind::Unavailable);
    let NetError::Plugin { plugin, command, source } = &error else { panic!("{error:?}") };
    assert_eq!(
        (plugin.as_str(), *command, source.code, source.details.as_str()),
        ("b", Command::Add, 11, "pool")
    );
    assert!(!error.leaves_residue());
    assert_eq!(node.journal(), 0);
}

#[tokio::test]
async fn a_failed_add_goes_whatever_has_become_of_its_record() {
    let node = Node::new();
    let record = "$D/state/attachments/c1-eth0.json";
    node.plugin("a", &format!("[ $CNI_COMMAND = DEL ] && exit 0; rm {record}; mkdir -p {record}/x; echo '{{\"code\": 11, \"msg\": \"no lease\"}}'; exit 1"));
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    let error = node.open().attach(&pod("c1")).await.unwrap_err();
    assert_eq!(error.to_string(), "cni ADD a: no lease (it may work later)");
    assert_eq!(error.kind(), model::ErrorKind::Unavailable);
    assert_eq!(node.journal(), 0);
}

#[tokio::test]
async fn an_unknown_container_needs_no_deleting() {
    let node = Node::new();
    node.plugin("a", r#"echo '{"code": 3, "msg": "unknown container"}'; exit 1"#);
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    node.open().detach(&pod("c1"), None).await.unwrap();
    assert_eq!(node.calls(), ["a DEL"]);
}

#[tokio::test]
async fn a_pod_that_cannot_be_attached_is_refused_early_and_needs_no_deleting() {
    let mut shaped = pod("c1");
    shaped.annotations.insert("kubernetes.io/ingress-bandwidth".to_owned(), "abc".to_owned());
    let mut named = pod("c1");
    named.name = "a;b".to_owned();
    let node = Node::new();
    node.address_plugin("a");
    let network = node.open();
    for is_configured in [false, true] {
        if is_configured {
            node.conf("10.conflist", &list("1.0.0", &["a"]));
            eventually("ready", || network.status().ready).await;
            let error = network.attach(&shaped).await.unwrap_err();
            assert_eq!(error.kind(), model::ErrorKind::InvalidArgument, "{error}");
        }
        network.validate(&pod("c1")).unwrap();
        for bad in [&shaped, &named] {
            let error = network.validate(bad).unwrap_err();
            assert_eq!(error.kind(), model::ErrorKind::InvalidArgument, "{error}");
            network.detach(bad, None).await.unwrap();
        }
    }
    assert_eq!((node.calls().len(), node.journal()), (0, 0));
    // What is recorded is deleted, whatever the pod has become.
    network.attach(&pod("c1")).await.unwrap();
    network.detach(&shaped, None).await.unwrap();
    assert_eq!(node.calls(), ["a ADD", "a DEL"]);
}

#[tokio::test]
async fn a_hanging_plugin_is_killed_with_all_it_started() {
    let mut node = Node::new();
    node.settings.plugin_timeout_seconds = 1;
    node.plugin("a", "[ $CNI_COMMAND = DEL ] && exit 0; sh -c 'echo $$ > '$D'/grandchild; sleep 1000' & echo $$ > $D/child; sleep 1000");
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    let network = node.open();
    let begin = Instant::now();
    let error = network.attach(&pod("c1")).await.unwrap_err();
    assert_eq!(error.kind(), model::ErrorKind::DeadlineExceeded, "{error}");
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert_eq!(node.calls(), ["a ADD", "a DEL"], "DEL has a deadline of its own");
    for name in ["child", "grandchild"] {
        let pid = fs::read_to_string(node.path(name)).unwrap();
        eventually(name, || !runs(&pid)).await;
    }
}

#[tokio::test]
async fn a_caller_that_gives_up_leaves_no_plugin() {
    let node = Node::new();
    node.plugin(
        "a",
        "sleep 1000 & echo $! > $D/grandchild; echo $$ > $D/child.tmp; mv $D/child.tmp $D/child; wait",
    );
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    let network = node.open();
    let pod = pod("c1");
    let attach = network.attach(&pod);
    tokio::select! {
        _ = attach => panic!("it hangs"),
        () = eventually("started", || node.path("child").exists()) => {}
    }
    for name in ["child", "grandchild"] {
        let pid = fs::read_to_string(node.path(name)).unwrap();
        eventually(name, || !runs(&pid)).await;
    }
    assert_eq!(node.journal(), 1, "what is half done is known");
}

#[tokio::test]
async fn a_daemon_that_a_plugin_leaves_behind_holds_nobody_up() {
    let node = Node::new();
    node.plugin("a", &format!("sleep 30 & echo $! > $D/left; echo '{}'", super::harness::RESULT));
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    let begin = Instant::now();
    node.open().attach(&pod("c1")).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(8));
    let pid = fs::read_to_string(node.path("left")).unwrap();
    assert!(runs(&pid));
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid.trim().parse().unwrap()),
        nix::sys::signal::SIGKILL,
    )
    .unwrap();
}

#[tokio::test]
async fn output_that_is_no_result_is_an_error() {
    let table = [
        ("echo hello", "hello"),
        ("true", "decode result"),
        ("echo '[1]'", "not an object"),
        (r#"echo '{"cniVersion": "7.0.0"}'"#, "7.0.0"),
        (r#"echo '{"ips": [{"address": "10.0.0.2/24", "interface": 4}]}'"#, "interface 4"),
        (r#"echo '{"dns": {}}'"#, "no address"),
        ("echo oops; exit 1", "exit status: 1: oops"),
        ("kill -9 $$", "signal: 9"),
    ];
    for (body, expected) in table {
        let node = Node::new();
        node.plugin("a", &format!("[ $CNI_COMMAND = ADD ] || exit 0; {body}"));
        node.conf("10.conflist", &list("1.0.0", &["a"]));
        let error = node.open().attach(&pod("c1")).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{body}: {error}");
        assert_eq!(error.kind(), model::ErrorKind::Internal, "{error}");
        assert_eq!(node.calls(), ["a ADD", "a DEL"], "{body}");
    }
}

#[tokio::test]
async fn endless_output_is_cut_off() {
    let node = Node::new();
    node.plugin("a", "[ $CNI_COMMAND = ADD ] || exit 0; echo $$ > $D/child; cat /dev/zero");
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    let error = node.open().attach(&pod("c1")).await.unwrap_err();
    assert!(matches!(error, NetError::OutputTooLarge { limit: 10_485_760, .. }), "{error}");
    let pid = fs::read_to_string(node.path("child")).unwrap();
    assert!(!runs(&pid));
    assert_eq!(node.calls(), ["a ADD", "a DEL"]);
}

#[tokio::test]
async fn endless_standard_error_and_unread_input_do_not_block() {
    let node = Node::new();
    let path = node.settings.bin_dirs[0].join("a");
    fs::write(&path, format!("#!/bin/sh\nhead -c 3000000 /dev/zero >&2; echo '{}'", super::harness::RESULT))
        .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let filler = "x".repeat(500_000);
    node.conf(
        "10.conflist",
        &format!(
            r#"{{"name": "n", "cniVersion": "1.0.0", "plugins": [{{"type": "a", "filler": "{filler}"}}]}}"#
        ),
    );
    node.open().attach(&pod("c1")).await.unwrap();
}

#[tokio::test]
async fn an_absent_plugin_is_named_by_status_and_attach() {
    let node = Node::new();
    node.address_plugin("a");
    node.conf("10.conflist", &list("1.0.0", &["a", "absent"]));
    let network = node.open();
    let status = network.status();
    assert!(!status.ready && status.message.contains("no CNI plugin absent"), "{status:?}");
    let error = network.attach(&pod("c1")).await.unwrap_err();
    assert!(error.to_string().contains("cni ADD absent: no such plugin in"), "{error}");
    assert_eq!(error.kind(), model::ErrorKind::Unavailable);
    assert_eq!((node.calls(), error.leaves_residue()), (vec!["a ADD".to_owned(), "a DEL".to_owned()], false));
    node.address_plugin("absent");
    eventually("ready", || network.status().ready).await;
    network.attach(&pod("c2")).await.unwrap();
}

#[tokio::test]
async fn a_type_that_leads_out_of_the_directory_is_refused() {
    let node = Node::new();
    fs::copy("/bin/true", node.path("evil")).unwrap();
    node.conf("10.conflist", &list("1.0.0", &["../evil"]));
    let network = node.open();
    let status = network.status();
    assert!(!status.ready && status.message.contains("../evil"), "{status:?}");
    assert!(matches!(network.attach(&pod("c1")).await, Err(NetError::NotReady { .. })));
}
