//! What Prometheus is told of pulls and of the store.

use super::mock::{Behaviour, Mock, Pushed, gzip};
use super::{layer, noise};
use crate::{ImageConfig, ImageStore};
use std::time::Duration;

/// The value of a counter or gauge, or the count of a histogram, with this label value where it has one.
fn value(registry: &prometheus::Registry, name: &str, label: Option<&str>) -> u64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name);
    let metrics = family.map(prometheus::proto::MetricFamily::get_metric).unwrap_or_default();
    let fits = |metric: &&prometheus::proto::Metric| match label {
        Some(label) => metric.get_label().iter().any(|pair| pair.value() == label),
        None => true,
    };
    metrics.iter().find(fits).map_or(0, |metric| {
        let counter = metric.get_counter().get_value() + metric.get_gauge().get_value();
        // Whole numbers, as far as these go.
        format!("{counter:.0}").parse::<u64>().unwrap() + metric.get_histogram().get_sample_count()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_seconds_reuse_retries_and_sizes() {
    let (mock, directory) = (Mock::start().await, tempfile::tempdir().unwrap());
    let shared = gzip(&layer("shared", &noise(50_000)));
    let own = gzip(&layer("own", b"1"));
    let bytes = (shared.0.len() + own.0.len()) as u64;
    mock.push("app", "v1", &Pushed::manifest(vec![shared.clone(), own]));
    mock.push("other", "v1", &Pushed::manifest(vec![shared]));
    let registry = prometheus::Registry::new();
    let config = ImageConfig { root: directory.path().join("images"), ..Default::default() };
    let store = ImageStore::open(config, &registry).unwrap();
    let host = format!("http://{}", mock.address());
    let of = |name: &str, label: Option<&str>| value(&registry, &format!("corten_image_{name}"), label);

    mock.behave(Behaviour::BusyOnce);
    store.pull(&format!("{}/app:v1", mock.address()), None).await.unwrap();
    assert_eq!(of("pull_bytes_total", Some(&host)), bytes);
    assert_eq!(of("registry_retries_total", Some(&host)), 4, "manifest, config and two layers");
    assert_eq!(of("registry_requests_total", Some(&host)), 8);
    assert_eq!((of("layers_pulled_total", None), of("layers_reused_total", None)), (2, 0));
    assert_eq!((of("layer_unpack_seconds", None), of("pull_seconds", None)), (2, 1));
    mock.behave(Behaviour::Open);
    store.pull(&format!("{}/other:v1", mock.address()), None).await.unwrap();
    assert_eq!((of("layers_pulled_total", None), of("layers_reused_total", None)), (2, 1));
    store.pull(&format!("{}/absent:v1", mock.address()), None).await.unwrap_err();
    assert_eq!((of("pulls_total", Some("success")), of("pulls_total", Some("not_found"))), (2, 1));
    assert_eq!(of("pulls_in_progress", None), 0);
    // The sizes are told behind a pull.
    let end = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let told =
            [of("store_bytes", Some("layers")), of("store_bytes", Some("blobs")), of("store_inodes", None)];
        if value(&registry, "corten_images", None) == 2 && told.iter().all(|value| *value > 0) {
            return;
        }
        assert!(std::time::Instant::now() < end, "{told:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A daemon that starts anew has images, and nobody pulls for hours.
#[tokio::test(flavor = "multi_thread")]
async fn images_of_before_count_from_the_start_on() {
    let directory = tempfile::tempdir().unwrap();
    let mock = Mock::start().await;
    mock.push("app", "v1", &Pushed::manifest(vec![gzip(&layer("a", b"1"))]));
    let config = ImageConfig { root: directory.path().join("images"), ..Default::default() };
    let open = |registry: &prometheus::Registry| ImageStore::open(config.clone(), registry).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(30);
    let store = open(&prometheus::Registry::new());
    store.pull(&format!("{}/app:v1", mock.address()), None).await.unwrap();
    while !store.is_idle() {
        assert!(std::time::Instant::now() < end, "the store stays busy");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(store);
    let registry = prometheus::Registry::new();
    let store = std::sync::Arc::new(open(&registry));
    let cleaning = tokio::spawn(ImageStore::keep_clean(std::sync::Arc::downgrade(&store)));
    let told = || {
        let of = |name: &str, label| value(&registry, name, label);
        [
            of("corten_images", None),
            of("corten_image_store_bytes", Some("layers")),
            of("corten_image_store_inodes", None),
        ]
    };
    while !told().iter().all(|value| *value > 0) {
        assert!(std::time::Instant::now() < end, "{:?}", told());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cleaning.abort();
}

/// Whoever may pull names hosts as he likes; a series each would fill every memory that metrics are kept in.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_users_name_make_few_series() {
    let directory = tempfile::tempdir().unwrap();
    let registry = prometheus::Registry::new();
    let config = ImageConfig {
        root: directory.path().join("images"),
        certs_dir: directory.path().join("certs.d").into(),
        ..Default::default()
    };
    let configured = directory.path().join("certs.d/reg.example");
    let store = ImageStore::open(config, &registry).unwrap();
    let mut mocks = Vec::new();
    for _ in 0..40 {
        let mock = Mock::start().await;
        store.pull(&format!("{}/app:v1", mock.address()), None).await.unwrap_err();
        mocks.push(mock);
    }
    store.pull("127.0.0.1:1/app:v1", None).await.unwrap_err();
    let last = mocks.last().unwrap().address();
    std::fs::create_dir_all(&configured).unwrap();
    std::fs::write(configured.join("hosts.toml"), format!("server = \"http://{last}\"")).unwrap();
    store.pull("reg.example/app:v1", None).await.unwrap_err();
    let families = registry.gather();
    let requests = families.iter().find(|family| family.name() == "corten_image_registry_requests_total");
    let series = requests.unwrap().get_metric();
    assert!(series.len() <= 18, "{} series", series.len());
    let host = format!("http://{last}");
    for (label, count) in [("other", 25), (host.as_str(), 1)] {
        assert_eq!(value(&registry, "corten_image_registry_requests_total", Some(label)), count, "{label}");
    }
}
