//! Servers of names that do not answer, or know nothing.

use super::Node;
use model::ErrorKind;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tokio::task::{JoinSet, spawn_blocking};

const LONG: Duration = Duration::from_secs(60);
/// Far more than the runtime of a test has threads for work that blocks.
const PULLS: usize = 60;

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).max_blocking_threads(4).enable_all().build().unwrap()
}

#[test]
fn work_that_blocks_goes_on_whatever_names_pulls_wait_for() {
    let runtime = runtime();
    let (gate, closed) = mpsc::channel::<()>();
    let closed = Mutex::new(closed);
    let under_way = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        let node = Node::with(|config| config.dial_timeout_seconds = 30);
        let counted = Arc::clone(&under_way);
        node.store.look_up_with(Box::new(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = closed.lock().unwrap().recv();
            Err(io::ErrorKind::NotFound.into())
        }));
        let mut pulls = JoinSet::new();
        for number in 0..PULLS {
            let store = Arc::clone(&node.store);
            // Each of its own, and all of one name.
            for reference in [format!("n{number}.example/app:v1"), format!("one.example/app{number}:v1")] {
                let store = Arc::clone(&store);
                pulls.spawn(async move { store.pull(&reference, None).await.unwrap_err().to_string() });
            }
        }
        tokio::time::timeout(LONG, async {
            while under_way.load(Ordering::SeqCst) < 5 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
        // Those that go away make no room, and need none.
        pulls.abort_all();
        for _ in 0..20 {
            let done = tokio::time::timeout(Duration::from_secs(10), spawn_blocking(|| ())).await;
            assert!(done.is_ok(), "{} look-ups are in the way", under_way.load(Ordering::SeqCst));
        }
        drop(gate);
    });
    runtime.shutdown_background();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_an_address_is_told_in_one_sentence() {
    let node = Node::new();
    let refused = "failed to lookup address information: Temporary failure in name resolution";
    node.store.look_up_with(Box::new(move |_| Err(io::Error::other(refused))));
    let error = node.store.pull("reg.example/app:v1", None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "pull reg.example/app:v1: https://reg.example: cannot be reached: the name reg.example cannot be resolved: \
         temporary failure in name resolution"
    );
    assert_eq!(error.kind(), ErrorKind::Unavailable);

    let (_gate, closed) = mpsc::channel::<()>();
    let closed = Mutex::new(closed);
    node.store.look_up_with(Box::new(move |_| {
        let _ = closed.lock().unwrap().recv();
        Ok(Vec::new())
    }));
    let error = node.store.pull("reg.example:5000/app:v1", None).await.unwrap_err();
    let told = "the name reg.example cannot be resolved: no name server answered within 1.8s";
    assert!(error.to_string().ends_with(told), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
