//! Settings that change while plugins are there.

use super::installed::{install, of, read};
use super::*;
use crate::Error;

#[tokio::test]
async fn other_time_outs_and_another_judge_hold_at_once() {
    let stage = Stage::new(|settings| settings.request_timeout = Duration::from_secs(600));
    let hung = stage.join(Manner::new("10", "hangs").hanging("CreateContainer")).await;
    let short = Duration::from_millis(100);
    stage.change(|settings| settings.request_timeout = short).unwrap();
    assert!(stage.nri.plugins()[0].connected, "it is let go");
    stage.create("c", Duration::ZERO).await.unwrap();
    hung.ended().await;
    let require = |settings: &mut Settings| {
        settings.validator.enable = true;
        settings.validator.required_plugins = vec!["needed".to_owned()];
    };
    stage.change(require).unwrap();
    let error = stage.create("d", Duration::ZERO).await.unwrap_err().to_string();
    assert!(error.contains("needed"), "{error}");
    // Without plugins there is no judge.
    stage
        .change(|settings| {
            require(settings);
            settings.enable = false;
        })
        .unwrap();
    stage.create("d", Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn the_socket_moves_and_who_is_connected_stays() {
    let stage = Stage::new(|_| {});
    let first = stage.join(Manner::new("10", "first")).await;
    let elsewhere = stage._dir.path().join("elsewhere/nri.sock");
    stage.change(|settings| settings.socket.clone_from(&elsewhere)).unwrap();
    assert!(!stage.socket.exists() && elsewhere.exists());
    let second = Plugin::join(&elsewhere, Manner::new("20", "second")).await.unwrap();
    stage.create("c", Duration::ZERO).await.unwrap();
    for plugin in [&first, &second] {
        assert!(plugin.events().contains(&("CreateContainer".to_owned(), "c".to_owned())));
    }
    // One that is another's is refused, and nothing changes.
    let others = stage._dir.path().join("others.sock");
    let _other = std::os::unix::net::UnixListener::bind(&others).unwrap();
    let refused = stage.change(|settings| {
        settings.socket.clone_from(&others);
        settings.validator.enable = true;
        settings.validator.required_plugins = vec!["needed".to_owned()];
    });
    assert!(matches!(refused, Err(Error::Occupied { .. })));
    stage.create("d", Duration::ZERO).await.unwrap();
    Plugin::join(&elsewhere, Manner::new("30", "third")).await.unwrap();
    assert!(others.exists());
}

#[tokio::test]
async fn who_is_let_in_no_more_goes_and_may_come_again_later() {
    let stage = Stage::new(|_| {});
    let closings: [fn(&mut Settings); 2] =
        [|settings| settings.external = false, |settings| settings.enable = false];
    for close in closings {
        let plugin = stage.join(Manner::new("10", "outside")).await;
        stage.change(close).unwrap();
        plugin.ended().await;
        stage.until_alone().await;
        assert!(!stage.socket.exists());
        stage.create("c", Duration::ZERO).await.unwrap();
        stage.change(|_| {}).unwrap();
        assert!(stage.socket.exists());
    }
    stage.join(Manner::new("10", "outside")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_directories_bring_other_plugins() {
    let configured = |dir: &std::path::Path, text: &str| {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("own.conf"), text).unwrap();
    };
    let stage = Stage::with(
        |dir| {
            install(dir, "10-own", "");
            configured(&dir.join("conf.d"), "one");
        },
        |_| {},
    );
    let dir = stage._dir.path().to_owned();
    let is_there = |name: &'static str| of(&stage, name).is_some_and(|plugin| plugin.connected);
    stage.until(|| is_there("10-own")).await;
    let outside = stage.join(Manner::new("50", "outside")).await;
    let pid = of(&stage, "10-own").and_then(|plugin| plugin.pid);
    // The same text elsewhere is the same.
    configured(&dir.join("same.d"), "one");
    stage.change(|settings| settings.configurations = dir.join("same.d")).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(of(&stage, "10-own").and_then(|plugin| plugin.pid), pid);
    configured(&dir.join("other.d"), "two");
    stage.change(|settings| settings.configurations = dir.join("other.d")).unwrap();
    stage.until(|| is_there("10-own") && of(&stage, "10-own").and_then(|plugin| plugin.pid) != pid).await;
    assert_eq!(read(&stage, "configuration"), "two");
    let pid = of(&stage, "10-own").and_then(|plugin| plugin.pid).unwrap();
    // No setting is another, but what they lead to is.
    configured(&dir.join("other.d"), "three");
    install(&dir, "30-late", "");
    stage.nri.look_again();
    stage
        .until(|| {
            is_there("30-late")
                && is_there("10-own")
                && of(&stage, "10-own").and_then(|plugin| plugin.pid) != Some(pid)
        })
        .await;
    std::fs::remove_file(dir.join("plugins/30-late")).unwrap();
    stage.nri.look_again();
    stage.until(|| of(&stage, "30-late").is_none()).await;
    let pid = of(&stage, "10-own").and_then(|plugin| plugin.pid).unwrap();
    // Another directory: the one goes, with its process, and the other comes.
    install(&dir.join("new"), "20-other", "");
    stage.change(|settings| settings.plugins = dir.join("new/plugins")).unwrap();
    stage.until(|| is_there("20-other") && of(&stage, "10-own").is_none()).await;
    stage.until(|| !std::path::Path::new(&format!("/proc/{pid}")).exists()).await;
    assert!(is_there("50-outside"), "{:?}", outside.events());
    stage.change(|settings| settings.plugins = dir.join("nowhere")).unwrap();
    stage.until(|| of(&stage, "20-other").is_none()).await;
    stage.nri.shutdown().await;
}
