#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::json;

fn digest(fill: char) -> String {
    format!("sha256:{}", fill.to_string().repeat(64))
}

fn descriptor(media_type: &str, fill: char) -> serde_json::Value {
    json!({"mediaType": media_type, "digest": digest(fill), "size": 7})
}

fn read(document: &serde_json::Value, announced: &str) -> Result<Parsed, ManifestError> {
    parse(&serde_json::to_vec(document).unwrap(), announced)
}

fn good() -> serde_json::Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, 'c'),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", 'a')]
    })
}

#[test]
fn manifests_and_indexes_are_told_apart() {
    assert!(matches!(read(&good(), OCI_MANIFEST), Ok(Parsed::Manifest(_))));
    assert!(matches!(read(&good(), ""), Ok(Parsed::Manifest(_))));
    assert!(matches!(read(&good(), "application/json"), Ok(Parsed::Manifest(_))));
    let index = json!({"schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST, 'b')]});
    assert!(matches!(read(&index, OCI_INDEX), Ok(Parsed::Index(list)) if list.len() == 1));
    assert!(matches!(read(&index, ""), Ok(Parsed::Index(_))));
}

#[test]
fn what_is_refused() {
    let with = |key: &str, value: serde_json::Value| {
        let mut document = good();
        document[key] = value;
        document
    };
    type Check = fn(&ManifestError) -> bool;
    let table: Vec<(serde_json::Value, &str, Check)> = vec![
        (with("manifests", json!([])), OCI_MANIFEST, |e| matches!(e, ManifestError::Both)),
        (good(), OCI_INDEX, |e| matches!(e, ManifestError::Ambiguous { .. })),
        (with("mediaType", json!("text/plain")), OCI_MANIFEST, |e| matches!(e, ManifestError::MediaType(_))),
        (json!({"schemaVersion": 2}), "", |e| matches!(e, ManifestError::MediaType(_))),
        (json!({"schemaVersion": 1, "fsLayers": []}), "", |e| matches!(e, ManifestError::Schema1)),
        (good(), "application/vnd.docker.distribution.manifest.v1+prettyjws", |e| {
            matches!(e, ManifestError::Schema1)
        }),
        (with("layers", json!([])), "", |e| matches!(e, ManifestError::Layers(0))),
        (with("config", descriptor("application/vnd.wasm.config.v1+json", 'c')), "", |e| {
            matches!(e, ManifestError::NotAnImage(_))
        }),
        (with("config", json!({"mediaType": OCI_CONFIG, "digest": "sha256:../x", "size": 1})), "", |e| {
            matches!(e, ManifestError::Json { .. })
        }),
        (with("config", json!({"mediaType": OCI_CONFIG, "digest": digest('c'), "size": -1})), "", |e| {
            matches!(e, ManifestError::Json { .. })
        }),
        (with("config", json!(null)), "", |e| matches!(e, ManifestError::Missing { .. })),
        (json!([]), "", |e| matches!(e, ManifestError::Json { .. })),
    ];
    for (document, announced, expected) in table {
        let error = read(&document, announced).unwrap_err();
        assert!(expected(&error), "{document} {announced}: {error}");
    }
    assert!(parse(&b"[".repeat(100_000), "").is_err(), "deep nesting must not overflow the stack");
}

#[test]
fn what_is_taken() {
    for kind in ["", "text/html", "application/json", "application/octet-stream", DOCKER_CONFIG] {
        let mut document = good();
        document["config"] = descriptor(kind, 'c');
        assert!(read(&document, "").is_ok(), "config {kind:?}");
    }
    let mut document = good();
    document["config"] = json!({"digest": digest('c'), "size": 7});
    assert!(read(&document, "").is_ok(), "config without a type");
    for kind in [
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        OCI_LAYER,
        "",
        "application/vnd.oci.image.layer.v1.tar+bzip2",
        "application/x-odd",
    ] {
        let mut document = good();
        document["layers"] = json!([descriptor(kind, 'a')]);
        let Ok(Parsed::Manifest(manifest)) = read(&document, "") else { panic!("layer {kind}") };
        assert_eq!(
            manifest.layers[0].says_layer(),
            !kind.contains("bzip2") && !kind.contains("odd"),
            "{kind}"
        );
    }
}

#[test]
fn the_best_variant_is_selected() {
    let platform = |os: &str, architecture: &str, variant: Option<&str>| Platform {
        os: os.into(),
        architecture: architecture.into(),
        variant: variant.map(Into::into),
    };
    let entry = |fill: char, platform: Option<Platform>| Descriptor {
        media_type: OCI_MANIFEST.into(),
        digest: Digest::parse(&digest(fill)).unwrap(),
        size: 1,
        urls: None,
        platform,
    };
    let entries = [
        entry('0', Some(platform("unknown", "unknown", None))),
        entry('1', Some(platform("windows", "amd64", None))),
        entry('2', Some(platform("linux", "amd64", None))),
        entry('3', Some(platform("linux", "amd64", Some("v3")))),
        entry('4', Some(platform("linux", "arm64", None))),
        entry('5', Some(platform("linux", "arm", Some("v6")))),
        entry('6', Some(platform("linux", "arm", Some("v7")))),
    ];
    for (host, expected) in [
        (platform("linux", "amd64", Some("v2")), '2'),
        (platform("linux", "amd64", Some("v3")), '3'),
        (platform("linux", "amd64", Some("v4")), '3'),
        (platform("linux", "arm64", Some("v8")), '4'),
        (platform("linux", "arm", Some("v7")), '6'),
        (platform("linux", "arm", Some("v6")), '5'),
    ] {
        assert_eq!(select(&host, &entries).unwrap().digest.as_str(), digest(expected), "{}", host.text());
    }
    let error = select(&platform("linux", "riscv64", None), &entries).unwrap_err().to_string();
    assert!(error.contains("linux/riscv64") && error.contains("linux/arm/v6"), "{error}");
    assert!(select(&platform("linux", "riscv64", None), &[entry('7', None)]).is_ok());
    assert!(select(&platform("linux", "riscv64", None), &[]).is_err());
}

#[test]
fn platforms_are_told_as_others_tell_them() {
    let platform = |text: &str| {
        let mut parts = text.split('/');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        Platform { os: part(), architecture: part(), variant: Some(part()).filter(|part| !part.is_empty()) }
    };
    let (amd64, arm64) = (platform("linux/amd64/v2"), platform("linux/arm64/v8"));
    for image in
        ["linux/x86_64", "Linux/AMD64", "linux/x86-64/v1", "/amd64", "linux/", "linux/386", "linux/i386"]
    {
        assert!(amd64.fits(&platform(image)).is_some(), "{image}");
    }
    for image in
        ["linux/aarch64", "linux/arm64/8", "linux/arm", "linux/arm/v8", "linux/arm/6", "linux/armhf", "//"]
    {
        assert!(arm64.fits(&platform(image)).is_some(), "{image}");
    }
    for image in ["linux/arm64", "windows/amd64", "linux/amd64/v3", "linux/arm", "darwin/", "linux/amd64/x"] {
        assert_eq!(amd64.fits(&platform(image)), None, "{image}");
    }
    assert!(amd64.fits(&platform("linux/amd64")) > amd64.fits(&platform("linux/386")));
    assert!(arm64.fits(&platform("linux/arm/v7")) > arm64.fits(&platform("linux/arm/v6")));
}

#[test]
fn what_an_index_holds_beside_the_image_is_passed_over() {
    let entry = |fill: char, platform: serde_json::Value| json!({"mediaType": OCI_MANIFEST, "digest": digest(fill), "size": 7, "platform": platform});
    let host = Platform::host();
    let own = json!({"os": "linux", "architecture": host.architecture});
    let others = [
        json!({"mediaType": OCI_MANIFEST, "digest": "sha512:00", "size": 7, "platform": own}),
        json!({"mediaType": "application/x", "digest": digest('b'), "size": 7, "platform": own}),
        json!({"mediaType": OCI_MANIFEST, "digest": digest('c'), "size": 7}),
        json!({"mediaType": OCI_MANIFEST, "digest": digest('d'), "size": -1, "platform": own}),
        json!("nothing of this kind"),
        entry('e', json!({"os": "unknown", "architecture": "unknown"})),
        entry('f', json!({"os": "linux"})),
    ];
    let chosen = |manifests: &[serde_json::Value]| {
        let document = json!({"schemaVersion": 2, "manifests": manifests});
        let Parsed::Index(entries) = read(&document, OCI_INDEX)? else { panic!("an index") };
        select(&host, &entries).map(|entry| entry.digest.clone())
    };
    let all = [&others[..6], &[entry('a', own.clone())]].concat();
    assert_eq!(chosen(&all).unwrap().as_str(), digest('a'));
    assert_eq!(chosen(&others[..6]).unwrap().as_str(), digest('c'), "one that names no platform");
    assert_eq!(chosen(&others[6..]).unwrap().as_str(), digest('f'), "one of this machine's architecture");
    assert!(matches!(chosen(&others[..2]), Err(ManifestError::NoPlatform { .. })));
    assert!(matches!(chosen(&others[..1]), Err(ManifestError::Json { .. })));
}

#[test]
fn configs_as_go_writes_them() {
    let host = Platform::host();
    let document = json!({
        "architecture": host.architecture, "os": "linux", "created": "2026-01-01T00:00:00Z",
        "config": {"Env": null, "Cmd": ["sh"], "Entrypoint": null, "Volumes": {"/data": {}}, "Labels": null,
                   "User": "1000:1000", "StopSignal": "SIGQUIT", "ExposedPorts": {"80/tcp": {}}},
        "rootfs": {"type": "layers", "diff_ids": [digest('d')]}
    });
    let (description, diff_ids) = parse_config(&serde_json::to_vec(&document).unwrap()).unwrap();
    assert_eq!(description.run.cmd, ["sh"]);
    assert_eq!(description.run.volumes, ["/data"]);
    assert_eq!(description.run.stop_signal.as_deref(), Some("SIGQUIT"));
    assert_eq!(diff_ids.len(), 1);
    let other = json!({"architecture": "s390x", "os": "linux", "rootfs": {"diff_ids": []}});
    let error = parse_config(&serde_json::to_vec(&other).unwrap()).unwrap_err();
    assert!(matches!(error, ManifestError::NoPlatform { .. }), "{error}");
    assert!(parse_config(br#"{"rootfs":{"diff_ids":["sha256:../../x"]}}"#).is_err());
    assert!(parse_config(b"{}").is_err());
}
