//! What classes get of caches and bandwidth.

use super::node::{BANDWIDTH, FULL, Node, SECOND, SPLIT};

/// What is written for classes of a file.
fn gives(host: &[(&str, &str)], text: &str, wanted: &[(&str, &str)]) {
    let node = Node::new(host);
    let report = node.made(text).unwrap();
    assert_eq!(report.refused, Vec::<String>::new());
    for (class, schemata) in wanted {
        let file =
            if *class == "system/default" { "schemata".to_owned() } else { format!("{class}/schemata") };
        assert_eq!(node.read(&file), *schemata, "{class} of {text}");
    }
}

#[test]
fn partitions_have_bits_of_their_own_and_classes_shares_of_these() {
    gives(
        FULL,
        "
partitions:
  front:
    l3Allocation: {all: 60%, 1: '0xff000', 2: '9-15'}
    mbAllocation: {all: [100%]}
    classes:
      gold: {l3Allocation: 100%}
      silver:
        l3Allocation: {all: 100%, 0-1: 10%, 2: '0x70'}
        mbAllocation: {all: [40%], 1: [10%]}
  rear:
    l3Allocation: {all: 40%, 1: 0-10, '2': 0-6}
    mbAllocation: {all: [50%], 1: [80%]}
    classes:
      '': {l3Allocation: 50-100%, mbAllocation: [60%]}
      plain:
",
        &[
            ("gold", "L3:0=fff;1=ff000;2=fe00;3=fff\nMB:0=100;1=100\n"),
            ("silver", "L3:0=3;1=1000;2=e000;3=fff\nMB:0=40;1=10\n"),
            ("system/default", "L3:0=f8000;1=7e0;2=78;3=f8000\nMB:0=30;1=48\n"),
            ("plain", "L3:0=ff000;1=7ff;2=7f;3=ff000\nMB:0=50;1=80\n"),
        ],
    );
}

#[test]
fn percentages_of_partitions_are_rounded_down_but_to_no_less_than_the_least() {
    gives(
        FULL,
        "
partitions:
  a: {l3Allocation: {all: 1%, 1: 21%, 2: 33%}, classes: {a: }}
  b: {l3Allocation: {all: 98%, 1: 29%, 2: 33%}, classes: {b: }}
  c: {l3Allocation: {all: 1%, 1: 50%, 2: 33%}, classes: {c: }}
",
        &[
            // 20 bits: 1 of 0 is not there, so that b has what 1 and 1 leave.
            ("a", "L3:0=1;1=f;2=3f;3=1\nMB:0=100;1=100\n"),
            ("b", "L3:0=7fffe;1=1f0;2=fc0;3=7fffe\nMB:0=100;1=100\n"),
            ("c", "L3:0=80000;1=ffe00;2=7f000;3=80000\nMB:0=100;1=100\n"),
        ],
    );
}

#[test]
fn code_and_data_have_shares_of_their_own_where_the_host_tells_them_apart() {
    let text = "
partitions:
  a:
    l3Allocation: {0: {unified: 60%, code: 70%, data: 50%}, 1: 40%}
    classes: {a: }
  b:
    l3Allocation: {0: {unified: 40%, code: 30%, data: 50%}, 1: 60%}
    classes:
      b: {l3Allocation: {all: 100%, 1: {unified: 80%, code: 1%, data: '0x3'}}}
";
    gives(
        SPLIT,
        text,
        &[
            ("a", "L3CODE:0=3fff;1=ff\nL3DATA:0=3ff;1=ff\n"),
            ("b", "L3CODE:0=fc000;1=300\nL3DATA:0=ffc00;1=300\n"),
        ],
    );
    // The host is not asked for a split of every cache where it has none.
    let text = text.replace("1: 40%", "all: 40%").replace("1: 60%", "all: 60%");
    gives(FULL, &text, &[("b", "L3:0=ff000;1=3ff00;2=fff00;3=fff00\nMB:0=100;1=100\n")]);
}

#[test]
fn a_host_may_have_but_the_second_level_or_bandwidth() {
    let text = "
options: {l3: {optional: true}, mb: {optional: true}}
partitions:
  p:
    l2Allocation: {all: 50%, 1: 75%}
    l3Allocation: 50%
    mbAllocation: [50%]
    classes:
      c: {l2Allocation: {all: 100%, 1: '0,1'}, l3Allocation: 50%, mbAllocation: [20%]}
";
    gives(SECOND, text, &[("c", "L2:0=f;1=3\n")]);
    let node = Node::new(SECOND);
    let notes = node.made(text).unwrap().notes.join("\n");
    assert!(
        notes.contains("l3Allocation says nothing") && notes.contains("mbAllocation says nothing"),
        "{notes}"
    );
    let strict = text.replace("l3: {optional: true}", "l3: {optional: false}");
    let reason = node.refused(&strict);
    assert!(
        reason.starts_with("class \"c\": l3Allocation: ") && reason.contains("options.l3.optional"),
        "{reason}"
    );
    let strict = text.replace(", mb: {optional: true}", "");
    assert!(node.refused(&strict).starts_with("class \"c\": mbAllocation: "));
    // What no class asks for need not be there.
    gives(BANDWIDTH, "partitions: {p: {l2Allocation: 50%, classes: {c: }}}", &[("c", "MB:0=100;1=100\n")]);
}

#[test]
fn bandwidth_is_in_percent_or_in_megabytes_as_it_is_mounted() {
    let text = "
partitions:
  p:
    mbAllocation: {all: [50%, 2000MBps], 1: [1%, 4000MBps]}
    classes:
      c: {mbAllocation: [50%, 3000MBps]}
      all:
";
    gives(BANDWIDTH, text, &[("c", "MB:0=25;1=10\n"), ("all", "MB:0=50;1=10\n")]);
    let node = Node::new(BANDWIDTH);
    node.mounted_with("mba_MBps");
    node.write("schemata", "MB:0=4294967295;1=4294967295\n");
    node.made(text).unwrap();
    assert_eq!(node.read("c/schemata"), "MB:0=2000;1=3000\n");
    assert_eq!(node.read("all/schemata"), "MB:0=2000;1=4000\n");
    node.made("partitions: {p: {classes: {all: }}}").unwrap();
    assert_eq!(node.read("all/schemata"), "MB:0=4294967295;1=4294967295\n");
    let reason = node.refused("partitions: {p: {mbAllocation: [50%]}}");
    assert_eq!(
        reason,
        "partition \"p\": mbAllocation: cache 0 has no value in MBps, which this host counts in"
    );
    // AMD's processors count in something else, for which nobody has a value here.
    node.mounted_with("cdp");
    node.write("schemata", "MB:0=2048;1=2048\n");
    let reason = node.refused("partitions: {p: {mbAllocation: [50%], classes: {c: {mbAllocation: [50%]}}}}");
    assert!(reason.contains("this host gives none, at least not so"), "{reason}");
}

#[test]
fn caches_that_the_host_has_not_are_told() {
    let node = Node::new(FULL);
    let text = "partitions: {p: {l3Allocation: {all: 50%, '3-5,7': 20%}, classes: {c: }}}";
    let notes = node.made(text).unwrap().notes;
    assert_eq!(notes, ["partition \"p\": l3Allocation: this host has no cache 4, 5, 7"]);
    assert_eq!(node.read("c/schemata"), "L3:0=3ff;1=3ff;2=3ff;3=f\nMB:0=100;1=100\n");
}

#[test]
fn shares_that_cannot_be_given_are_refused_with_their_place() {
    let class = |cache: &str, share: &str| {
        format!("partitions: {{p: {{l3Allocation: {cache}, classes: {{c: {{l3Allocation: {share}}}}}}}}}")
    };
    let two =
        |a: &str, b: &str| format!("partitions: {{a: {{l3Allocation: {a}}}, b: {{l3Allocation: {b}}}}}");
    for (text, words) in [
        (
            class("'0xff00'", "'0x1ff'"),
            "class \"c\": l3Allocation: cache 0: unified: 0x1ff does not fit into the 8",
        ),
        (class("100%", "0%"), "class \"c\": l3Allocation: cache 0: unified: 0% is no share"),
        (class("'0xf00000'", "100%"), "partition \"p\": 0xf00000 is not within 0xfffff, which the cache has"),
        (two("60%", "41%"), "l3Allocation: cache 0: unified: the partitions ask for 101% together"),
        (two("60%", "'0xf'"), "partition \"a\" has a percentage and partition \"b\" bits"),
        (two("'0xf'", "'3-5'"), "partition \"b\": 0x38 has bits that another partition has too"),
        (two("0%", "0%"), "partition \"a\": too few bits are left for its 0%"),
        (two("1%", "3%"), "too few bits are left"),
        (
            "partitions: {a: {l3Allocation: 50%}, b: }".to_owned(),
            "partition \"b\" has none, which others have",
        ),
        (two("50%", "{all: {unified: 1%, code: 1%, data: 1%}}"), "cache 0: code: partition \"a\" has none"),
    ] {
        let reason = Node::new(FULL).refused(&text);
        assert!(reason.contains(words), "{text}: {reason}");
    }
    let reason = Node::new(SPLIT).refused(&class("100%", "'7'"));
    assert!(reason.contains("code: 0x80 has fewer than the 2 bits"), "{reason}");
    let many = "partitions: {p: {classes: {a: , b: , c: , d: }}}";
    assert_eq!(
        Node::new(SECOND).refused(many),
        "there are 4 classes, and this host has room for 3 beside its root"
    );
    Node::new(SECOND).made(&many.replace("d:", "'':")).unwrap();
}
