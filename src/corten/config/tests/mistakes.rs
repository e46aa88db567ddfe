//! Mistakes, with what is said of them.

use super::*;

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_valid_one() {
    let text =
        refusal("# a comment\nsocket = \"/run/x.sock\"\n\n[log]\nformat = \"json\"\nlevle = \"debug\"\n");
    assert_eq!(text, "corten.toml:6: unknown key `log.levle`, did you mean `log.level`?");
    let text = refusal("[netwrok]\nmtu = 1400\n");
    assert_eq!(text, "corten.toml:1: unknown key `netwrok`, did you mean `network`?");
    let text = refusal("runtime.pids_limits = 5\n");
    assert_eq!(text, "corten.toml:1: unknown key `runtime.pids_limits`, did you mean `runtime.pids_limit`?");
    let text = refusal("[network]\nstate_dir = \"/elsewhere\"\n");
    assert!(text.starts_with("corten.toml:2: unknown key `network.state_dir`"), "{text}");
}

#[test]
fn wrong_types_and_words_are_refused_with_their_line() {
    let table = [
        (
            "[runtime]\nseccomp_default = \"yes\"",
            "corten.toml:2: `runtime.seccomp_default`: expected true or false, without quotes, found \"yes\"",
        ),
        ("socket = 5", "corten.toml:1: `socket`: expected a path in quotes, found 5"),
        ("log = \"debug\"", "corten.toml:1: `log`: expected a section [log], found \"debug\""),
        (
            "[daemon]\n\nworkers = -1",
            "corten.toml:3: `daemon.workers`: expected a whole number of 0 or more, without quotes, found -1",
        ),
        (
            "[daemon]\nworkers = \"4\"",
            "corten.toml:2: `daemon.workers`: expected a whole number of 0 or more, without quotes, found \"4\"",
        ),
        (
            "[daemon]\ndrain_seconds = \"30s\"",
            "corten.toml:2: `daemon.drain_seconds`: expected a whole number of seconds of 0 or more, without quotes, found \"30s\"",
        ),
        (
            "[log]\nformat = \"jsn\"",
            "corten.toml:2: `log.format`: `jsn` is not one of text, json, did you mean",
        ),
        (
            "[network]\nsubnets = [\n  \"10.88.0.0/16\",\n  \"ten\",\n]",
            "corten.toml:4: `network.subnets.1`: expected a subnet such as \"10.88.0.0/16\" or",
        ),
        (
            "[network]\nsubnets = [\"10.88.0.0/33\"]",
            "corten.toml:2: `network.subnets.0`: expected a subnet such as \"10.88.0.0/16\" or \"fd10:88::/64\", whose \
             prefix has at most 32 bits, or 128 with IPv6, found \"10.88.0.0/33\"",
        ),
        (
            "[stream]\naddress = \"localhost:9\"",
            "corten.toml:2: `stream.address`: expected an IP address with a port, for example \"127.0.0.1:0\", found",
        ),
        (
            "[metrics]\naddress = \"localhost:9\"",
            "corten.toml:2: `metrics.address`: expected an IP address with a port, for example 127.0.0.1:10290, the absolute \
             path of a socket, or nothing, found \"localhost:9\"",
        ),
        (
            "[runtime]\ndefault_capabilities = [1]",
            "corten.toml:2: `runtime.default_capabilities.0`: expected text in quotes, found 1",
        ),
        ("[log]\nlevel = 2020-01-01", "corten.toml:2: no setting is a date"),
        ("x = 99999999999999999999", "corten.toml:1: the number 99999999999999999999 does not fit 64 bits"),
    ];
    for (main, expected) in table {
        let text = refusal(main);
        assert!(text.starts_with(expected), "{main:?} gives {text:?}, not {expected:?}");
    }
}

#[test]
fn usual_mistakes_are_told_with_what_mends_them() {
    let table = [
        ("[log]\nlevel = info\n", "corten.toml:2: text needs quotes: write `level = \"info\"`"),
        ("[log]\nlevel=info\n", "corten.toml:2: text needs quotes: write `level = \"info\"`"),
        ("socket = /run/x.sock\n", "corten.toml:1: text needs quotes: write `socket = \"/run/x.sock\"`"),
        ("level = \"debug\"\n", "corten.toml:1: unknown key `level`, did you mean `log.level`?"),
        (
            "[runtime]\npids = 5\n",
            "corten.toml:2: unknown key `runtime.pids`, did you mean `runtime.pids_limit`?",
        ),
        (
            "[log]\nformat = \"json\"\n\n[log]\nlevel = \"info\"\n",
            "corten.toml:4: `log` stands here a second time, the first is in line 1",
        ),
        (
            "[log]\nlevel = \"info\"\nlevel = \"debug\"\n",
            "corten.toml:3: `level` stands here a second time, the first is in line 2",
        ),
        ("[log]\nlevel = info # all\n", "corten.toml:2: text needs quotes: write `level = \"info\"`"),
        (
            "[runtime]\nseccomp_default = True\n",
            "corten.toml:2: expected true or false: write `seccomp_default = true`",
        ),
        (
            "[runtime]\nselinux = off # yet\n",
            "corten.toml:2: expected true or false: write `selinux = false`",
        ),
        ("[log]\nlevel = off\n", "corten.toml:2: text needs quotes: write `level = \"off\"`"),
        ("version = 3\n[plugins]\n", "corten.toml:2: this looks like containerd's config.toml"),
        ("[crio.runtime]\nx = 1\n", "corten.toml:1: this looks like CRI-O's crio.conf"),
    ];
    for (main, expected) in table {
        let text = refusal(main);
        assert!(text.starts_with(expected), "{main:?} gives {text:?}, not {expected:?}");
    }
    for (main, said) in [
        ("zebra = 1\n", "corten.toml:1: unknown key `zebra`"),
        ("[runtime]\nsandbox = 1\n", "corten.toml:2: unknown key `runtime.sandbox`"),
        ("[log]\nlines = 1\n", "corten.toml:2: unknown key `log.lines`"),
        ("[runtime]\nlimit = 1\n", "corten.toml:2: unknown key `runtime.limit`"),
    ] {
        assert_eq!(refusal(main), said, "no guess far off");
    }
}

#[test]
fn broken_toml_is_refused_with_its_line() {
    for (main, line) in [("a = 1\nb = \n", 2), ("[log]\n\nlevel = \"x", 3), ("[log]\n[log]\n", 2)] {
        let text = refusal(main);
        assert!(text.starts_with(&format!("corten.toml:{line}: ")), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
}

#[test]
fn values_out_of_range_are_refused_with_their_line() {
    let table = [
        ("\nstate_dir = \"run\"", "corten.toml:2: `state_dir`: `run` is no absolute path"),
        ("data_dir = \"/var/../etc\"", "corten.toml:1: `data_dir`: `/var/../etc` is no absolute path"),
        ("data_dir = \"/\"", "corten.toml:1: `data_dir`: is the root directory"),
        ("data_dir = \"/run/corten/data\"", "corten.toml:1: `data_dir`: lies within state_dir"),
        ("state_dir = \"/var/lib/corten/run\"", "`data_dir`: lies within state_dir, or around it"),
        ("[daemon]\nworkers = 1000", "corten.toml:2: `daemon.workers`: 1000 is not within 0 to 256"),
        ("[log]\nlevel = \"loud\"", "corten.toml:2: `log.level`: `loud` is neither a level"),
        (
            "[nri]\nenable = false\n[nri.default_validator]\nenable = true\nrequired_plugins = [\"policy\"]",
            "corten.toml:5: `nri.default_validator.required_plugins`: cannot be there, as plugins are not served",
        ),
        ("[nri]\ndisable = true", "corten.toml:2: unknown key `nri.disable`, did you mean `nri.enable`?"),
        ("[network]\nmtu = 10", "corten.toml:2: `network.mtu`: 10 is not within 68 to 65535"),
        (
            "[runtime]\ncgroup_parent = \"kubepods.slice\"\ncgroup_driver = \"cgroupfs\"",
            "corten.toml:2: `runtime.cgroup_parent`: names a systemd slice",
        ),
        (
            "[runtime]\ncgroup_parent = \"/pods\"\ncgroup_driver = \"systemd\"",
            "corten.toml:2: `runtime.cgroup_parent`: names no slice",
        ),
        (
            "[runtime]\ndefault_capabilities = [\"net raw\"]",
            "corten.toml:2: `runtime.default_capabilities`: `net raw` is no capability",
        ),
        (
            "[runtime]\ndefault_sysctls = { \"vm.swappiness\" = \"1\" }",
            "corten.toml:2: `runtime.default_sysctls`: \"vm.swappiness\" is not a parameter of namespaces",
        ),
        (
            "[runtime]\ndefault_sysctls = { \"net.ipv4.ip_forward\" = 1 }",
            "corten.toml:2: `runtime.default_sysctls.net.ipv4.ip_forward`: expected text in quotes",
        ),
        (
            "[metrics]\naddress = \"/run/corten/corten.sock\"",
            "corten.toml:2: `metrics.address`: is the CRI's own",
        ),
    ];
    for (main, expected) in table {
        let text = refusal(main);
        assert!(text.starts_with(expected), "{main:?} gives {text:?}, not {expected:?}");
    }
    let long = format!("socket = \"/run/{}\"", "s".repeat(120));
    assert!(refusal(&long).contains("125 bytes are too long for a socket"), "{}", refusal(&long));
}

#[test]
fn every_mistake_is_told_at_once_in_the_order_of_the_files() {
    let etc = Etc::new(
        "scoket = \"/run/x.sock\"\ndata_dir = \"data\"\n[daemon]\nworkers = -1\ndrain_seconds = 9999\n[network]\n\
         subnets = [\"ten\", \"10.88.0.0/16\", \"eleven\"]\nmtu = 1\n[handlers.a]\nbinary = \"/bin/a\"\n\
         [handlers.b]\ntype = \"oci\"\nbinary = \"b\"\nextra = 1\n[runtime]\ndefault_handler = \"a\"\n\
         default_capabilities = [\"FLY\", \"CHOWN\", \"SWIM\"]\n",
    );
    etc.drop_in("10.toml", "[log]\nlevel = \"loud\"\nformat = 3\n");
    let said = load(Some(&etc.main())).unwrap_err().lines();
    let at = |line: &String| {
        let text = line.replace(&format!("{}/", etc.0.path().display()), "");
        text.split("`: ")
            .next()
            .unwrap()
            .replace(": unknown key", ":")
            .split(", did")
            .next()
            .unwrap()
            .to_owned()
    };
    let found: Vec<String> = said.iter().map(at).collect();
    let expected = [
        "corten.toml:1: `scoket`",
        "corten.toml:2: `data_dir",
        "corten.toml:4: `daemon.workers",
        "corten.toml:5: `daemon.drain_seconds",
        "corten.toml:7: `network.subnets.0",
        "corten.toml:7: `network.subnets.2",
        "corten.toml:8: `network.mtu",
        "corten.toml:9: `handlers.a",
        "corten.toml:13: `handlers.b.binary",
        "corten.toml:14: `handlers.b.extra`",
        "corten.toml:17: `runtime.default_capabilities",
        "corten.toml:17: `runtime.default_capabilities",
        "conf.d/10.toml:2: `log.level",
        "conf.d/10.toml:3: `log.format",
    ];
    assert_eq!(found, expected, "{said:#?}");
}

#[test]
fn files_that_cannot_be_read_are_all_told() {
    let etc = Etc::new("[log]\nlevel = info\nformat = json\n\n[daemon]\nworkers = 4 5\n");
    etc.drop_in("10.toml", "[log]\n[log]\n");
    etc.drop_in("20.toml", "unknown = 1\n");
    let said = load(Some(&etc.main())).unwrap_err().lines();
    let ends = ["corten.toml:2", "corten.toml:3", "corten.toml:6", "10.toml:2"];
    assert_eq!(said.len(), ends.len(), "{said:#?}");
    for (line, end) in said.iter().zip(ends) {
        assert!(line.split(": ").next().unwrap().ends_with(end), "{line} is not at {end}");
    }
}

#[test]
fn settings_of_a_mistake_are_not_held_against_others() {
    for (main, told) in [
        ("[stream]\ntls_cert_file = 3\ntls_key_file = \"/x\"\n", 1),
        ("[handlers.a]\nbinary = \"/a\"\n[runtime]\ndefault_handler = \"b\"\n", 1),
        ("[runtime]\ncgroup_driver = \"systmd\"\ncgroup_parent = \"pods.slice\"\n", 1),
        ("[stream]\ntls_cert_file = \"/x\"\n[runtime]\ndefault_handler = \"b\"\n", 2),
    ] {
        let said = load(Some(&Etc::new(main).main())).unwrap_err().lines();
        assert_eq!(said.len(), told, "{main}: {said:#?}");
    }
}

#[test]
fn another_runtime_s_file_is_told_with_the_guide_that_comes_with_the_sources() {
    for (main, guide) in [("[plugins]\n", "docs/from-containerd.md"), ("[crio]\n", "docs/from-cri-o.md")] {
        let text = refusal(main);
        assert!(text.ends_with(guide), "{text}");
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(guide).exists(), "{guide}");
    }
}

#[test]
fn a_value_that_is_refused_is_not_missing_too() {
    let text = refusal("[handlers.a]\ntype = \"vm\"\nbinary = \"/bin/a\"\n");
    assert_eq!(text, "corten.toml:2: `handlers.a.type`: `vm` is not one of native, oci");
    let text = refusal("[handlers.a]\nbinary = \"/bin/a\"\n");
    assert_eq!(text, "corten.toml:1: `handlers.a`: `type` is missing");
}

#[test]
fn what_a_later_file_overrides_is_looked_at_too() {
    let etc = Etc::new("[log]\nlevel = \"info\"\n");
    etc.drop_in("10-a.toml", "[log]\nlevel = 3\n[network]\nmtu = 1\n");
    etc.drop_in("20-b.toml", "[log]\nlevel = \"debug\"\n[network]\nmtu = 1400\n");
    let said = load(Some(&etc.main())).unwrap_err().lines();
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(
        said[0].ends_with("conf.d/10-a.toml:2: `log.level`: expected text in quotes, found 3"),
        "{said:#?}"
    );
    assert!(said[1].contains("conf.d/10-a.toml:4: `network.mtu`: 1 is not within"), "{said:#?}");
    // What makes sense together need not alone, nor what another file has instead.
    let etc = Etc::new(
        "[runtime]\ndefault_handler = \"a\"\ncgroup_parent = \"/pods\"\n[handlers.a]\nbinary = \"/bin/a\"\n",
    );
    etc.drop_in("10-a.toml", "[handlers.a]\ntype = \"oci\"\n[stream]\ntls_cert_file = \"/a\"\n");
    etc.drop_in(
        "20-b.toml",
        "[stream]\ntls_key_file = \"/b\"\n[runtime]\ncgroup_driver = \"systemd\"\ncgroup_parent = \"pods.slice\"\n",
    );
    etc.load();
}

#[test]
fn a_second_subnet_of_a_family_is_refused() {
    let text = refusal("[network]\nsubnets = [\"10.88.0.0/16\", \"fd10:88::/64\", \"10.89.0.0/16\"]\n");
    assert!(
        text.starts_with(
            "corten.toml:2: `network.subnets`: 10.89.0.0/16 is a second IPv4 subnet beside 10.88.0.0/16"
        ),
        "{text}"
    );
    let text = refusal("[network]\nsubnets = [\"10.88.0.0/31\"]\n");
    assert!(text.contains("has no room for a gateway and pods"), "{text}");
    assert!(
        load(Some(&Etc::new("[network]\nsubnets = [\"fd10:88::/64\", \"10.88.0.0/30\"]\n").main())).is_ok()
    );
}

#[test]
fn patterns_that_fit_no_image_are_refused() {
    let table = [
        (
            "refuse_tags = [\"*:dev\", \"latest\"]",
            "refuse_tags`: \"latest\" fits no image",
            "write \"*:latest\"",
        ),
        ("require_digest = [\"prod.example/app:v1\"]", "require_digest`: ", "write \"prod.example/app\""),
        ("pinned = [\"pause\"]", "pinned`: ", "write \"docker.io/library/pause:*\""),
        (
            "pinned = [\"bb:*\"]",
            "pinned`: ",
            "write \"docker.io/library/bb:*\", or for registries of such names \"bb:*/*\"",
        ),
        (
            "require_digest = [\"bb*\"]",
            "require_digest`: ",
            "\"docker.io/library/bb*\", or for registries of such names \"bb*/*\"",
        ),
    ];
    for (setting, key, proposal) in table {
        let text = refusal(&format!("[images]\n{setting}\n"));
        assert!(
            text.starts_with(&format!("corten.toml:2: `images.{key}")) && text.ends_with(proposal),
            "{text}"
        );
    }
}

#[test]
fn a_mistake_in_a_drop_in_is_found_there() {
    let etc = Etc::new("[daemon]\ndrain_seconds = 5\n");
    etc.drop_in("a.toml", "\n[daemon]\ndrain_seconds = 99999\n");
    assert_eq!(etc.refusal(), "conf.d/a.toml:3: `daemon.drain_seconds`: 99999 is not within 0 to 3600");
    etc.drop_in("a.toml", "[daemon]\ndrain_second = 9\n");
    assert!(
        etc.refusal().starts_with("conf.d/a.toml:2: unknown key `daemon.drain_second`"),
        "{}",
        etc.refusal()
    );
    etc.drop_in("a.toml", "daemon = 3\n");
    assert_eq!(etc.refusal(), "conf.d/a.toml:1: `daemon`: expected a section [daemon], found 3");
}
