//! Plugins that do not answer, or not well.

use super::*;
use crate::Error;
use crate::api::FailurePolicy;
use crate::testing::refusal;
use crate::ttrpc::code;

const SHORT: Duration = Duration::from_millis(200);

fn impatient() -> Stage {
    Stage::new(|settings| {
        settings.request_timeout = SHORT;
        settings.synchronize_timeout = 5 * SHORT;
        settings.registration_timeout = 5 * SHORT;
    })
}

fn with(manner: Manner, fail_request: bool, keep_connected: bool) -> Manner {
    Manner { policy: Some(FailurePolicy { fail_request, keep_connected }), ..manner }
}

#[tokio::test]
async fn one_that_hangs_is_let_go_and_the_request_goes_on() {
    let stage = impatient();
    let hanging = stage.join(Manner::new("10", "hangs").hanging("CreateContainer")).await;
    let other = stage.join(Manner::new("20", "other")).await;
    stage.create("c", Duration::ZERO).await.unwrap();
    let reason = hanging.ended().await;
    assert!(!reason.is_empty());
    assert!(other.events().contains(&("CreateContainer".to_owned(), "c".to_owned())));
    stage.until(|| stage.nri.plugins().iter().filter(|one| one.connected).count() == 1).await;
    let begun = std::time::Instant::now();
    stage.create("d", Duration::ZERO).await.unwrap();
    assert!(begun.elapsed() < SHORT, "it is still waited for");
}

#[tokio::test]
async fn a_plugin_decides_what_comes_of_its_failures() {
    let stage = impatient();
    let manner = || Manner::new("10", "strict").hanging("CreateContainer");
    let strict = stage.join(with(manner(), true, true)).await;
    for _ in 0..2 {
        let error = stage.create("c", Duration::ZERO).await.unwrap_err();
        let Error::Unanswered { plugin, request, .. } = &error else { panic!("{error}") };
        assert_eq!((plugin.as_str(), *request), ("10-strict", "CreateContainer"));
    }
    drop(strict);
    stage.until_alone().await;
    let lenient = stage.join(with(manner(), false, true)).await;
    stage.create("d", Duration::ZERO).await.unwrap();
    stage.create("e", Duration::ZERO).await.unwrap();
    let status = &stage.nri.plugins()[0];
    let creates = status.calls.iter().find(|calls| calls.request == "CreateContainer").unwrap();
    assert_eq!((creates.total, creates.unanswered, status.restarts), (4, 4, 1));
    drop(lenient);
}

#[tokio::test]
async fn an_error_that_it_answers_fails_the_request_and_it_stays() {
    let stage = impatient();
    let manner = Manner::new("10", "refuses").answering(|call| {
        (call.container() == "bad").then(|| refusal(code::INVALID_ARGUMENT, "not this one"))
    });
    let _plugin = stage.join(manner).await;
    let error = stage.create("bad", Duration::ZERO).await.unwrap_err().to_string();
    assert_eq!(error, r#"NRI plugin "10-refuses" refuses CreateContainer: not this one"#);
    stage.create("good", Duration::ZERO).await.unwrap();
    assert!(stage.nri.plugins()[0].connected);
}

#[tokio::test]
async fn a_caller_that_goes_away_is_not_the_plugins_fault() {
    let stage = impatient();
    let _plugin = stage.join(Manner::new("10", "slow").hanging("CreateContainer")).await;
    for _ in 0..5 {
        let create = Box::pin(stage.create("c", Duration::ZERO));
        assert!(tokio::time::timeout(SHORT / 4, create).await.is_err());
    }
    let status = &stage.nri.plugins()[0];
    assert!(status.connected && status.pending.is_none());
    assert!(status.calls.iter().all(|calls| calls.unanswered == 0));
}

#[tokio::test]
async fn what_a_plugin_is_asked_is_known_while_it_is() {
    let stage = Arc::new(Stage::new(|_| {}));
    let _plugin = stage.join(Manner::new("10", "hangs").hanging("CreateContainer")).await;
    let creating = Arc::clone(&stage);
    let creating = tokio::spawn(async move { creating.create("c", Duration::ZERO).await.is_ok() });
    stage
        .until(|| stage.nri.plugins()[0].pending.is_some_and(|(request, _)| request == "CreateContainer"))
        .await;
    assert!(creating.await.unwrap());
}

#[tokio::test]
async fn who_disconnects_in_any_phase_disturbs_nobody() {
    for method in ["Configure", "Synchronize", "CreateContainer", "PostCreateContainer"] {
        let stage = Arc::new(Stage::new(|_| {}));
        let plugin = Plugin::connect(&stage.socket, Manner::new("10", "goes").hanging(method)).await.unwrap();
        let creating = Arc::clone(&stage);
        if method != "Configure" {
            stage.until(|| plugin.calls().iter().any(|call| call.method == "Synchronize")).await;
        }
        let creating = tokio::spawn(async move { creating.create("c", Duration::ZERO).await.is_ok() });
        stage.until(|| plugin.calls().iter().any(|call| call.method == method)).await;
        let begun = std::time::Instant::now();
        drop(plugin);
        assert!(creating.await.unwrap(), "{method}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{method}: a plugin that is gone is waited for");
        stage.until_alone().await;
    }
}

#[tokio::test]
async fn who_never_lets_itself_be_told_what_is_there_has_to_wait() {
    let stage = impatient();
    let manner = || Manner::new("10", "hangs").hanging("Synchronize");
    for _ in 0..3 {
        Plugin::connect(&stage.socket, manner()).await.unwrap().ended().await;
        stage.until_alone().await;
    }
    let refused = Plugin::connect(&stage.socket, manner()).await.err().unwrap().to_string();
    assert!(refused.contains("may not come back"), "{refused}");
    let begun = std::time::Instant::now();
    stage.create("c", Duration::ZERO).await.unwrap();
    assert!(begun.elapsed() < SHORT);
}

#[tokio::test]
async fn a_validator_that_hangs_fails_one_container_and_is_let_go() {
    let stage = impatient();
    let manner = || Manner::new("90", "judge").wanting(&[Event::ValidateContainerAdjustment]);
    let hanging = stage.join(manner().hanging("ValidateContainerAdjustment")).await;
    let error = stage.create("c", Duration::ZERO).await.unwrap_err();
    assert!(matches!(&error, Error::Rejected { validator, .. } if validator == "90-judge"), "{error}");
    hanging.ended().await;
    stage.until_alone().await;
    stage.create("d", Duration::ZERO).await.unwrap();
    let garbage =
        manner().answering(|call| (call.method == "ValidateContainerAdjustment").then(|| Ok(vec![0xff])));
    let garbage = stage.join(garbage).await;
    stage.create("e", Duration::ZERO).await.unwrap_err();
    garbage.ended().await;
}
