#![allow(clippy::unwrap_used)]

use super::*;

mod groups;
mod node;
mod passed_over;
mod shares;

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

fn resctrl(root: &Path) -> Resctrl {
    Resctrl { root: root.to_path_buf(), mounts: root.with_extension("mounts") }
}

/// The file is read again when a class is asked for.
struct Read {
    dir: tempfile::TempDir,
    classes: Classes,
}

impl Read {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blockio.yaml");
        std::fs::write(&path, text).unwrap();
        let classes = Classes::new(Some(&path), &resctrl(&dir.path().join("resctrl")));
        Self { dir, classes }
    }

    fn classes(&self) -> &Classes {
        &self.classes
    }
}

#[test]
fn a_class_of_block_i_o_is_what_its_file_says() {
    let read =
        Read::new("Classes:\n  slow:\n  - Weight: 80\n  - Devices: [/dev/null]\n    ThrottleReadBps: 50M\n");
    let classes = read.classes();
    // A character device is none that blocks come from.
    let slow = classes.block_io("slow").unwrap();
    assert_eq!((slow.weight(), slow.throttle_read_bps_device().as_ref()), (Some(80), None));
    let error = classes.block_io("fast").unwrap_err().to_string();
    assert!(
        error.starts_with("block I/O class: \"fast\" is not in ")
            && error.ends_with("blockio.yaml (runtime.blockio_config_file)"),
        "{error}"
    );
    let error = Classes::default().block_io("slow").unwrap_err().to_string();
    assert_eq!(error, "block I/O class: \"slow\": runtime.blockio_config_file names no file of classes");
}

#[test]
fn the_last_word_about_a_device_counts() {
    let files = |pattern: &str| glob::glob(pattern).unwrap().flatten();
    let Some(disk) = files("/dev/[vs]d[a-z]").chain(files("/dev/loop0")).next() else {
        return need::skip(need::Need::Kernel, "no block device");
    };
    let disk = disk.display();
    let read = Read::new(&format!(
        "Classes:\n  c:\n  - Devices: [{disk}]\n    ThrottleReadBps: 1k\n    ThrottleWriteIOPS: \"2\"\n  - Devices: [{disk}]\n    ThrottleReadBps: 3\n    Weight: 90\n"
    ));
    let class = read.classes().block_io("c").unwrap();
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
        ("Classes:\n  a:\n  - Wait: 5\n", "line 3"),
        ("classes", "blockio.yaml: "),
    ] {
        let error = Read::new(text).classes().check_file(Kind::BlockIo).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn a_class_of_cache_is_a_group_of_the_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let groups = rdt::Groups::of(&resctrl(dir.path()));
    let class = |name| groups.class(name, None);
    assert!(class("gold").unwrap_err().to_string().contains("has no resctrl filesystem"));
    std::fs::write(dir.path().join("schemata"), "").unwrap();
    assert!(class("gold").unwrap_err().to_string().contains("there is no group"));
    for name in ["", "..", "info", "a/b"] {
        assert!(class(name).unwrap_err().to_string().contains("is no name of a group"), "{name}");
    }
    std::fs::create_dir(dir.path().join("gold")).unwrap();
    std::fs::write(dir.path().join("gold/tasks"), "").unwrap();
    let gold = class("gold").unwrap();
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
        (Kind::BlockIo, "main", &own, ("own", Origin::Container, "io.kubernetes.cri.blockio-class")),
        (
            Kind::BlockIo,
            "main",
            &none,
            ("main", Origin::Pod, "blockio.resources.beta.kubernetes.io/container.main"),
        ),
        (Kind::BlockIo, "side", &none, ("all", Origin::Pod, "blockio.resources.beta.kubernetes.io/pod")),
        (Kind::Rdt, "main", &own, ("gold", Origin::Pod, "rdt.resources.beta.kubernetes.io/pod")),
    ] {
        let (class, by, annotation) = class;
        let expected = Asked { class, by, annotation: annotation.to_owned() };
        assert_eq!(asked(kind, (name, annotations), &pod), Some(expected), "{kind:?} {name}");
    }
    assert_eq!(asked(Kind::Rdt, ("main", &none), &none), None);
}

#[test]
fn what_the_file_says_when_a_class_is_asked_for_counts() {
    let read = Read::new("Classes: {a: [{Weight: 80}]}");
    let weight = || read.classes().block_io("a").map(|class| class.weight());
    assert_eq!(weight().unwrap(), Some(80));
    std::fs::write(read.dir.path().join("blockio.yaml"), "Classes: {a: [{Weight: 90}]}").unwrap();
    assert_eq!(weight().unwrap(), Some(90));
    std::fs::write(read.dir.path().join("blockio.yaml"), "Classes: {a: [{Weight: 5}]}").unwrap();
    assert!(weight().unwrap_err().to_string().contains("Weight 5 is not within"));
}

#[test]
fn a_file_that_is_wrong_is_news_until_it_is_another_problem_or_none() {
    let read = Read::new("Classes: {a: [{Weight: 5}]}");
    let news = || read.classes().new_problem(Kind::BlockIo).map(|problem| problem.to_string());
    let say = |text: &str| std::fs::write(read.dir.path().join("blockio.yaml"), text).unwrap();
    assert!(news().unwrap().contains("Weight 5 is not within"));
    assert_eq!(news(), None, "it is told already");
    say("Classes: {a: [{Weight: 6}]}");
    assert!(news().unwrap().contains("Weight 6 is not within"));
    say("Classes: {a: [{Weight: 80}]}");
    assert_eq!(news(), None);
    assert_eq!(read.classes().block_io("a").unwrap().weight(), Some(80));
    say("Classes: {a: [{Weight: 6}]}");
    assert!(news().is_some(), "it was right meanwhile");
}

/// What becomes of a spec where annotations of the pod ask for these classes.
fn adjusted(classes: &Classes, asked: &[(&str, &str)]) -> OciResult<Spec> {
    let annotation = |(kind, class): &(&str, &str)| {
        (format!("{kind}.resources.beta.kubernetes.io/pod"), (*class).to_owned())
    };
    let annotations = asked.iter().map(annotation).collect();
    let sandbox = model::SandboxConfig { annotations, ..model::SandboxConfig::default() };
    let subject = Subject {
        sandbox_id: &model::SandboxId::new("pod"),
        sandbox: &sandbox,
        container_id: &model::ContainerId::new("container"),
        container: &model::ContainerConfig::default(),
    };
    let mut spec = Spec::default();
    classes.adjust(&mut spec, &subject).map(|()| spec)
}

#[test]
fn annotations_give_classes_or_the_container_is_refused() {
    let read = Read::new("Classes: {slow: [{Weight: 80}]}");
    let groups = read.dir.path().join("resctrl");
    let told = |classes: &Classes, asked: &[(&str, &str)]| adjusted(classes, asked).unwrap_err().to_string();
    assert!(told(read.classes(), &[("rdt", "gold")]).contains("has no resctrl filesystem"));
    std::fs::create_dir_all(groups.join("gold")).unwrap();
    for file in ["schemata", "gold/tasks"] {
        std::fs::write(groups.join(file), "").unwrap();
    }
    let spec = adjusted(read.classes(), &[("blockio", "slow"), ("rdt", "gold")]).unwrap();
    let linux = spec.linux().as_ref().unwrap();
    let class = linux.resources().as_ref().unwrap().block_io().as_ref().unwrap();
    assert_eq!(class.weight(), Some(80));
    assert_eq!(linux.intel_rdt().as_ref().unwrap().clos_id().as_deref(), Some("gold"));
    assert_eq!(adjusted(read.classes(), &[]).unwrap(), Spec::default());
    assert!(told(read.classes(), &[("blockio", "fast")]).contains("\"fast\" is not in "));
    let refused = told(read.classes(), &[("blockio", "fast")]);
    assert!(
        refused.starts_with("annotation blockio.resources.beta.kubernetes.io/pod: block I/O class: "),
        "{refused}"
    );
    std::fs::write(read.dir.path().join("blockio.yaml"), "Classes: {slow: [{Weight: 5}]}").unwrap();
    let wrong = told(read.classes(), &[("blockio", "slow")]);
    assert!(
        wrong.starts_with(
            "annotation blockio.resources.beta.kubernetes.io/pod: runtime.blockio_config_file: "
        ),
        "{wrong}"
    );
    // Passed over is what the node has no classes of, and not a class that it has not.
    let none = || Classes::new(None, &resctrl(Path::new("/none")));
    assert!(told(&none(), &[("blockio", "slow")]).contains("runtime.blockio_config_file"));
    let lenient = none().passing_over(vec![Kind::BlockIo, Kind::Rdt]);
    assert_eq!(adjusted(&lenient, &[("blockio", "slow"), ("rdt", "gold")]).unwrap(), Spec::default());
    let known = Classes::new(None, &resctrl(&groups)).passing_over(vec![Kind::Rdt]);
    assert!(told(&known, &[("rdt", "silver")]).contains("there is no group"));
}
