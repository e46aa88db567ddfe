#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn quantities_are_kubernetes_own() {
    let table = [
        ("50M", Some(50_000_000)),
        ("10k", Some(10_000)),
        ("1Gi", Some(1 << 30)),
        ("1.5Ki", Some(1536)),
        ("1e3", Some(1000)),
        ("100m", Some(1)),
        (" 80 ", Some(80)),
        ("-5", Some(-5)),
        ("", None),
        ("M", None),
        ("1x", None),
        ("1.2.3", None),
        ("99999E", None),
    ];
    for (text, value) in table {
        assert_eq!(quantity::parse(text), value, "{text:?}");
    }
}

fn read(text: &str) -> OciResult<Classes> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("blockio.yaml");
    std::fs::write(&path, text).unwrap();
    Classes::read(Some(&path))
}

#[test]
fn a_class_of_block_i_o_is_what_its_file_says() {
    let classes =
        read("Classes:\n  slow:\n  - Weight: 80\n  - Devices: [/dev/null]\n    ThrottleReadBps: 50M\n");
    let classes = classes.unwrap();
    // A character device is none that blocks come from.
    let slow = classes.block_io("slow").unwrap();
    assert_eq!((slow.weight(), slow.throttle_read_bps_device().as_ref()), (Some(80), None));
    let error = classes.block_io("fast").unwrap_err().to_string();
    assert!(
        error.starts_with("block I/O class: \"fast\" is not in ") && error.ends_with("blockio.yaml"),
        "{error}"
    );
    let error = Classes::default().block_io("slow").unwrap_err().to_string();
    assert_eq!(error, "block I/O class: \"slow\": no file of classes is set");
}

#[test]
fn the_last_word_about_a_device_counts() {
    let files = |pattern: &str| glob::glob(pattern).unwrap().flatten();
    let Some(disk) = files("/dev/[vs]d[a-z]").chain(files("/dev/loop0")).next() else {
        return need::skip(need::Need::Kernel, "no block device");
    };
    let disk = disk.display();
    let classes = read(&format!(
        "Classes:\n  c:\n  - Devices: [{disk}]\n    ThrottleReadBps: 1k\n    ThrottleWriteIOPS: \"2\"\n  - Devices: [{disk}]\n    ThrottleReadBps: 3\n    Weight: 90\n"
    ));
    let class = classes.unwrap().block_io("c").unwrap();
    let rates = class.throttle_read_bps_device().clone().unwrap();
    assert_eq!(rates.iter().map(oci_spec::runtime::LinuxThrottleDevice::rate).collect::<Vec<_>>(), [3]);
    assert_eq!(class.throttle_write_iops_device().as_ref().unwrap()[0].rate(), 2);
    assert_eq!(class.weight_device().as_ref().unwrap()[0].weight(), Some(90));
}

#[test]
fn a_file_that_cannot_be_kept_is_refused_with_the_class() {
    for (text, words) in [
        ("Classes: {a: [{Weight: 5}]}", "class \"a\": Weight 5 is not within 10 to 1000"),
        ("Classes: {a: [{Weight: x}]}", "class \"a\": Weight \"x\" is no quantity"),
        ("Classes: {a: [{ThrottleReadBps: 1}]}", "class \"a\": rates need Devices that they are of"),
        ("Classes: {a: [{Devices: ['/dev/sd[a']}]}", "class \"a\": Devices \"/dev/sd[a\": "),
        ("Classes: {a: [{Wait: 5}]}", "unknown field"),
        ("classes", "blockio.yaml: "),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn a_class_of_cache_is_a_group_of_the_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let groups = rdt::Groups::of(dir.path());
    assert!(groups.class("gold").unwrap_err().to_string().contains("has no resctrl filesystem"));
    std::fs::write(dir.path().join("schemata"), "").unwrap();
    assert!(groups.class("gold").unwrap_err().to_string().contains("there is no group"));
    for name in ["", "..", "info", "a/b"] {
        assert!(groups.class(name).unwrap_err().to_string().contains("is no name of a group"), "{name}");
    }
    std::fs::create_dir(dir.path().join("gold")).unwrap();
    std::fs::write(dir.path().join("gold/tasks"), "").unwrap();
    let gold = groups.class("gold").unwrap();
    assert_eq!(groups.join(&gold).unwrap(), dir.path().join("gold"));
    let mut own = LinuxIntelRdt::default();
    own.set_clos_id(Some("own".to_owned()))
        .set_schemata(Some(vec!["L3:0=f".to_owned(), "MB:0=50".to_owned()]));
    assert_eq!(groups.join(&own).unwrap(), dir.path().join("own"));
    assert_eq!(std::fs::read_to_string(dir.path().join("own/schemata")).unwrap(), "L3:0=f\nMB:0=50\n");
}

#[test]
fn the_annotation_nearest_to_the_container_counts() {
    let map = |list: &[(&str, &str)]| -> BTreeMap<String, String> {
        list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let pod = map(&[
        ("blockio.resources.beta.kubernetes.io/pod", "all"),
        ("blockio.resources.beta.kubernetes.io/container.main", "main"),
        ("rdt.resources.beta.kubernetes.io/pod", "gold"),
    ]);
    let own = map(&[("io.kubernetes.cri.blockio-class", "own")]);
    let none = BTreeMap::new();
    for (kind, name, annotations, class) in [
        (Kind::BlockIo, "main", &own, Some("own")),
        (Kind::BlockIo, "main", &none, Some("main")),
        (Kind::BlockIo, "side", &none, Some("all")),
        (Kind::Rdt, "main", &own, Some("gold")),
    ] {
        assert_eq!(asked(kind, (name, annotations), &pod), class, "{kind:?} {name}");
    }
    assert_eq!(asked(Kind::Rdt, ("main", &none), &none), None);
}
