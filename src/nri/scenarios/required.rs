//! Plugins without which no container is created.

use super::installed::{install, of};
use super::log::Log;
use super::*;

fn requiring(settings: &mut Settings) {
    settings.registration_timeout = Duration::from_millis(300);
    settings.validator.enable = true;
    settings.validator.required_plugins = vec!["policy".to_owned(), "10-broken".to_owned()];
    settings.validator.tolerate_missing_plugins_annotation = "without.plugins".to_owned();
}

#[tokio::test]
async fn one_that_is_missing_is_told_once_with_why_and_so_is_that_it_came() {
    let log = Log::catch();
    let stage = Stage::with(|dir| install(dir, "10-broken", "echo no licence >&2; exit 3"), requiring);
    let warned = |name: &str| log.lines(&["WARN", "a required plugin is not connected", name]);
    assert!(warned("").is_empty(), "they may still register");
    stage.until(|| warned("").len() == 2).await;
    let socket = stage.socket.display().to_string();
    assert!(
        warned("policy")[0].contains(&format!("has not connected to {socket}")),
        "{:?}",
        warned("policy")
    );
    assert!(
        warned("10-broken")[0].contains("it exited with code 3 (last line: no licence)"),
        "{:?}",
        warned("10-broken")
    );
    assert!(warned("").iter().all(|line| line.contains("unless_annotated=\"without.plugins\"")));
    let policy = stage.join(Manner::new("50", "policy")).await;
    let back = || log.lines(&["INFO", "a required plugin is connected", "policy"]);
    stage.until(|| back().len() == 1).await;
    assert!(
        back()[0].contains("others are not") && back()[0].contains("missing=\"10-broken\""),
        "{:?}",
        back()
    );
    // Others come and go without a word of it.
    drop(stage.join(Manner::new("60", "other")).await);
    stage.until(|| of(&stage, "60-other").is_some_and(|plugin| plugin.absence.is_some())).await;
    assert_eq!(warned("").len(), 2);
    drop(policy);
    stage.until(|| warned("policy").len() == 2).await;
    stage.change(|settings| settings.validator.required_plugins.truncate(1)).unwrap();
    let _again = stage.join(Manner::new("50", "policy")).await;
    stage.until(|| log.lines(&["INFO", "containers are created", "policy"]).len() == 1).await;
    stage.nri.shutdown().await;
    assert_eq!((warned("").len(), back().len()), (3, 2));
}

#[tokio::test]
async fn nothing_is_told_at_the_end_or_where_all_are_there() {
    let log = Log::catch();
    let stage = Stage::new(|settings| {
        requiring(settings);
        settings.registration_timeout = Duration::from_millis(100);
        settings.validator.required_plugins.pop();
    });
    let _policy = stage.join(Manner::new("50", "policy")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    stage.nri.shutdown().await;
    assert!(log.lines(&["a required plugin"]).is_empty());
}

#[tokio::test]
async fn a_pod_lacks_what_it_does_not_do_without() {
    let stage = Stage::new(requiring);
    let lack = stage.nri.lack_of(pod()).unwrap();
    assert_eq!(lack, "the required NRI plugins policy, 10-broken are not connected");
    let without = [("without.plugins".to_owned(), "true".to_owned())].into();
    assert_eq!(stage.nri.lack_of(PodSandbox { annotations: without, ..pod() }), None);
    stage.change(|settings| settings.validator.enable = false).unwrap();
    assert_eq!(stage.nri.lack_of(pod()), None);
    stage.nri.shutdown().await;
}
