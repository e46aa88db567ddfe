//! Groups that a file of classes of cache describes: what is refused of it, how they are made, and how they follow it.

use super::node::{FULL, Node};
use super::{Classes, Kind, PathBuf, adjusted, own_groups, remove_group};
use std::os::unix::fs::PermissionsExt;

const TWO: &str = "
partitions:
  p:
    l3Allocation: 50%
    classes: {gold: , silver: {l3Allocation: 50%}}
";
const ONE: &str = "partitions: {p: {l3Allocation: 50%, classes: {gold: {l3Allocation: 20%}}}}";

#[test]
fn what_is_not_of_the_form_is_refused_by_name_on_any_host() {
    let class = |text: &str| {
        format!("partitions: {{p: {{l3Allocation: 100%, mbAllocation: [100%], classes: {{c: {{{text}}}}}}}}}")
    };
    let table = [
        ("partition: {}".to_owned(), "unknown field"),
        ("options: {l4: {optional: true}}".to_owned(), "unknown field"),
        ("options: {l3: {optional: maybe}}".to_owned(), "maybe"),
        ("partitions: gold".to_owned(), "expected"),
        (
            "partitions: {p: {l3Allocation: 101%}}".to_owned(),
            "partition \"p\": l3Allocation: all: unified: \"101%\"",
        ),
        (
            "partitions: {p: {l3Allocation: 50-60%}}".to_owned(),
            "l3Allocation: a partition has one percentage or bits",
        ),
        ("partitions: {p: {l3Allocation: {a: 50%}}}".to_owned(), "\"a\" names no caches: \"a\" is no number"),
        ("partitions: {p: {l3Allocation: {200: 50%}}}".to_owned(), "\"200\" is no number from 0 to 127"),
        ("partitions: {p: {l3Allocation: {3-1: 50%}}}".to_owned(), "\"3-1\" is no range"),
        ("partitions: {p: {l3Allocation: {0-3: 5%, 2: 50%}}}".to_owned(), "cache 2 is named twice"),
        (
            "partitions: {a: {classes: {c: }}, b: {classes: {c: }}}".to_owned(),
            "class \"c\" is in another partition",
        ),
        (
            "partitions: {a: {classes: {'': , system/default: }}}".to_owned(),
            "\"system/default\" is there twice",
        ),
        ("partitions: {a: {classes: {'..': }}}".to_owned(), "class \"..\": this is no name of a group"),
        ("partitions: {a: {classes: {a/b: }}}".to_owned(), "class \"a/b\": this is no name of a group"),
        ("partitions: {a: {classes: {info: }}}".to_owned(), "class \"info\": this is no name of a group"),
        (class("l2Allocation: 5%"), "class \"c\": l2Allocation: the partition has none"),
        (class("l3Allocation: 60"), "60%"),
        (class("l3Allocation: 0xff"), "invalid type"),
        (class("l3Allocation: {0: 0xff}"), "invalid type"),
        (class("l3Allocation: '0x'"), "\"0x\" is no mask"),
        (class("l3Allocation: '0xfg'"), "\"0xfg\" is no mask of bits"),
        (class("l3Allocation: '0x1ffffffffffffffff'"), "is no mask of at most 64 bits"),
        (class("l3Allocation: '0x2f'"), "\"0x2f\" is not one block of bits"),
        (class("l3Allocation: '0x0'"), "\"0x0\" is not one block of bits"),
        (class("l3Allocation: '0-64'"), "\"64\" is no number from 0 to 63"),
        (class("l3Allocation: 60-50%"), "\"60-50%\" is no percentage or range"),
        (class("l3Allocation: +5%"), "\"+5%\" is no percentage"),
        (class("l3Allocation: ''"), "all: unified is not there"),
        (class("l3Allocation: {all: {data: 5%}}"), "unified is not there"),
        (class("l3Allocation: {all: {unified: 5%, data: 5%}}"), "data is there without code"),
        (class("l3Allocation: {all: {unified: 5%, code: 5%}}"), "code is there without data"),
        (class("l3Allocation: {all: {united: 5%}}"), "unknown field"),
        (class("mbAllocation: 50%"), "expected a list"),
        (class("mbAllocation: [50]"), "invalid type"),
        (class("mbAllocation: [50GBps]"), "\"50GBps\" ends in neither % nor MBps"),
        (class("mbAllocation: [101%]"), "\"101%\" is no number from 0 to 100"),
        (class("mbAllocation: [xMBps]"), "\"xMBps\" is no number"),
        (class("mbAllocation: [50%, 60%]"), "\"60%\" is the second one of its unit"),
        (class("kubernetes: {allowPodAnnotation: true}"), "unknown field"),
    ];
    // Half of the host's are asked of a host that has no such caches: it is no matter of theirs.
    for (host, (text, words)) in [FULL, &[]].into_iter().cycle().zip(table) {
        let reason = Node::new(host).refused(&text);
        assert!(reason.contains(words), "{text}: {reason}");
    }
    let node = Node::new(&[]);
    assert!(node.classes().unwrap_err().to_string().contains("rdt.yaml: No such file"));
    node.say(&format!("# {}\n", "x".repeat(1 << 20)));
    assert!(node.classes().unwrap_err().to_string().contains("no regular file of at most 1 MiB"));
    for text in
        ["", "# nothing\n", "options:\npartitions:\n", "partitions: {p: }", "partitions: {p: {classes: }}"]
    {
        assert_eq!(Node::new(FULL).made(text).unwrap().made, Vec::<String>::new(), "{text:?}");
    }
}

#[test]
fn groups_are_made_once_and_only_those_of_this_making_are_removed() {
    let node = Node::new(FULL);
    node.fill("silver", "");
    node.fill("others", "");
    let report = node.made(TWO).unwrap();
    assert_eq!(
        (report.made, report.notes.len(), report.refused.len()),
        (vec!["gold".into(), "silver".into()], 0, 0)
    );
    assert_eq!(node.read("silver/schemata"), "L3:0=1f;1=1f;2=1f;3=1f\nMB:0=100;1=100\n");
    assert_eq!(std::fs::read_to_string(node.record()).unwrap(), r#"["gold"]"#);
    assert_eq!(std::fs::metadata(node.record()).unwrap().permissions().mode() & 0o777, 0o600);
    // Again, as after a restart.
    node.fill("gold", "");
    node.made(TWO).unwrap();
    assert_eq!(std::fs::read_to_string(node.record()).unwrap(), r#"["gold"]"#);
    // One with processes stays.
    node.fill("gold", "4711\n");
    let none = "partitions: {p: {classes: {iron: }}}";
    let notes = node.made(none).unwrap().notes;
    assert_eq!(notes, ["group \"gold\" is of no class any more, and stays: it has processes"]);
    assert_eq!(std::fs::read_to_string(node.record()).unwrap(), r#"["gold","iron"]"#);
    node.empty("gold");
    node.made(none).unwrap();
    assert!(!node.has("gold") && node.has("silver") && node.has("others"));
    assert_eq!(std::fs::read_to_string(node.record()).unwrap(), r#"["iron"]"#);
    assert_eq!(own_groups(&node.record(), &node.resctrl()), [node.root().join("iron")]);
    assert_eq!(own_groups(&node.file(), &node.resctrl()), Vec::<PathBuf>::new());
    // A group that is gone is no reason to keep its name.
    std::fs::remove_dir_all(node.root().join("iron")).unwrap();
    node.made("").unwrap();
    assert!(remove_group(&node.root().join("iron")).unwrap());
    node.fill("busy", "1\n");
    assert!(!remove_group(&node.root().join("busy")).unwrap());
    assert_eq!(std::fs::read_to_string(node.record()).unwrap(), "[]");
}

#[test]
fn what_the_file_says_when_a_class_is_asked_for_counts() {
    let node = Node::new(FULL);
    node.say(TWO);
    let classes = node.classes().unwrap();
    // Nothing was made yet, and the kernel has no group without a file of tasks.
    assert!(classes.rdt("gold").unwrap_err().to_string().contains("\"gold\": there is no group"));
    assert_eq!(node.read("gold/schemata"), "L3:0=3ff;1=3ff;2=3ff;3=3ff\nMB:0=100;1=100\n");
    node.fill("gold", "");
    node.fill("silver", "");
    assert_eq!(classes.rdt("gold").unwrap().clos_id().as_deref(), Some("gold"));
    node.say(ONE);
    classes.rdt("gold").unwrap();
    assert_eq!(node.read("gold/schemata"), "L3:0=3;1=3;2=3;3=3\nMB:0=100;1=100\n");
    assert!(classes.rdt("bronze").unwrap_err().to_string().contains("there is no group"));
    // A group of somebody else's is a class, too.
    node.fill("others", "");
    classes.rdt("others").unwrap();
    node.say("partitions: {p: {l3Allocation: 200%}}");
    let error = classes.rdt("gold").unwrap_err().to_string();
    assert!(error.contains("rdt.yaml: partition \"p\": l3Allocation: all: unified: \"200%\""), "{error}");
    node.say(ONE);
    classes.rdt("gold").unwrap();
    // Who is in a group already needs no file.
    node.say("partitions: no");
    let mut gold = oci_spec::runtime::LinuxIntelRdt::default();
    gold.set_clos_id(Some("gold".to_owned()));
    assert_eq!(classes.group(Some(&gold)).unwrap(), Some(node.root().join("gold")));
}

#[test]
fn a_file_that_changes_is_followed_and_told_once() {
    let node = Node::new(FULL);
    let long_ago = |text: &str, seconds| {
        node.say(text);
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
        std::fs::File::open(node.file()).unwrap().set_modified(time).unwrap();
    };
    long_ago(TWO, 100);
    let classes = node.classes().unwrap();
    assert_eq!(classes.follow_groups().unwrap().unwrap().made, ["gold", "silver"]);
    assert!(classes.follow_groups().unwrap().is_none());
    node.say(ONE);
    assert!(classes.follow_groups().unwrap().is_none(), "it may not be whole yet");
    long_ago(ONE, 50);
    assert_eq!(classes.follow_groups().unwrap().unwrap().made, ["gold"]);
    long_ago("partitions: no", 40);
    assert!(classes.follow_groups().is_err());
    assert!(classes.follow_groups().unwrap().is_none());
    std::fs::remove_file(node.file()).unwrap();
    assert!(classes.follow_groups().is_err());
    assert!(classes.follow_groups().unwrap().is_none());
    long_ago(ONE, 30);
    assert_eq!(classes.follow_groups().unwrap().unwrap().made, ["gold"]);
    // Who asks for a class reads it at once; what came of it is told to who follows.
    node.fill("gold", "");
    node.say(TWO);
    node.fill("silver", "");
    classes.rdt("silver").unwrap();
    assert_eq!(classes.follow_groups().unwrap().unwrap().made, ["gold", "silver"]);
}

#[test]
fn a_class_that_the_kernel_refuses_is_refused_by_name_and_the_others_are_there() {
    let node = Node::new(FULL);
    node.write("silver", "a file, where no group can be\n");
    node.say(TWO);
    let classes = node.classes().unwrap();
    let report = classes.make_groups().unwrap().unwrap();
    assert_eq!(report.made, ["gold"]);
    assert!(
        report.refused[0].starts_with("\"silver\": ") && report.refused[0].ends_with("is no group"),
        "{report:?}"
    );
    node.fill("gold", "");
    classes.rdt("gold").unwrap();
    let error = classes.rdt("silver").unwrap_err().to_string();
    assert!(
        error.starts_with("runtime.rdt_config_file: RDT class: \"silver\": ")
            && error.ends_with("is no group"),
        "{error}"
    );
    // It is tried again.
    std::fs::remove_file(node.root().join("silver")).unwrap();
    node.fill("silver", "");
    classes.rdt("silver").unwrap();
    // The kernel says why.
    std::fs::remove_file(node.root().join("silver/schemata")).unwrap();
    std::fs::create_dir(node.root().join("silver/schemata")).unwrap();
    node.write("info/last_cmd_status", "schemata are taken by others\n");
    let report = classes.make_groups().unwrap().unwrap();
    assert!(report.refused[0].ends_with(": schemata are taken by others"), "{report:?}");
}

#[test]
fn a_host_without_groups_refuses_their_classes_until_it_has_some() {
    let node = Node::new(&[]);
    node.say(TWO);
    let classes = node.classes().unwrap();
    assert!(classes.make_groups().unwrap().is_none() && classes.follow_groups().unwrap().is_none());
    assert!(!node.record().exists());
    let error = classes.rdt("gold").unwrap_err().to_string();
    assert!(error.starts_with("RDT class: \"gold\": the host has no resctrl filesystem at "), "{error}");
    let lenient = node.classes().unwrap().passing_over(vec![Kind::Rdt]);
    adjusted(&lenient, &[("rdt", "gold")]).unwrap();
    // That a file has become wrong shows there, too.
    let long_ago = |text: &str, seconds| {
        node.say(text);
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
        std::fs::File::open(node.file()).unwrap().set_modified(time).unwrap();
    };
    long_ago("partitions: no", 100);
    assert!(classes.follow_groups().is_err());
    assert!(classes.follow_groups().unwrap().is_none(), "once");
    long_ago(TWO, 50);
    assert!(classes.follow_groups().unwrap().is_none());
    for (path, text) in FULL {
        node.write(path, text);
    }
    // Before anybody asks for a class.
    assert_eq!(classes.follow_groups().unwrap().unwrap().made, ["gold", "silver"]);
    node.fill("gold", "");
    adjusted(&classes, &[("rdt", "gold")]).unwrap();
    assert_eq!(node.read("gold/schemata"), "L3:0=3ff;1=3ff;2=3ff;3=3ff\nMB:0=100;1=100\n");
}

#[test]
fn a_class_may_be_denied_to_annotations() {
    let node = Node::new(FULL);
    for class in ["a", "b"] {
        node.fill(class, "");
    }
    node.say(
        "
partitions:
  p:
    classes:
      a: {kubernetes: {denyPodAnnotation: true}}
      b: {kubernetes: {denyContainerAnnotation: true, denyPodAnnotation: false}}
",
    );
    let classes = node.classes().unwrap();
    let error = adjusted(&classes, &[("rdt", "a")]).unwrap_err().to_string();
    assert!(error.ends_with("/pod: RDT class: \"a\": its file denies it to annotations of pods"), "{error}");
    adjusted(&classes, &[("rdt", "b")]).unwrap();
    // Plugins are not asked.
    classes.rdt("a").unwrap();
    let by_container = |class| classes.rdt.class(class, Some(super::Origin::Container));
    by_container("a").unwrap();
    let error = by_container("b").unwrap_err().to_string();
    assert_eq!(error, "RDT class: \"b\": its file denies it to annotations of containers");
    assert!(Classes::default().make_groups().unwrap().is_none());
}
