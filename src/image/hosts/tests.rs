#![allow(clippy::unwrap_used)]

use super::*;

fn resolve_with(files: &[(&str, &str)], reference: &str) -> Result<Vec<Host>, HostsError> {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    resolve(&directory.path().into(), &Reference::parse(reference).unwrap())
}

fn bases(hosts: &[Host]) -> Vec<&str> {
    hosts.iter().map(|host| host.base.as_str()).collect()
}

#[test]
fn without_configuration_the_registry_itself_is_asked() {
    for (reference, expected) in [
        ("busybox", "https://registry-1.docker.io/v2"),
        ("reg.example/app", "https://reg.example/v2"),
        ("reg.example:5000/app", "https://reg.example:5000/v2"),
        ("localhost:5000/app", "http://localhost:5000/v2"),
        ("127.0.0.1:5000/app", "http://127.0.0.1:5000/v2"),
        ("127.8.0.1/app", "http://127.8.0.1/v2"),
        ("[::1]:5000/app", "http://[::1]:5000/v2"),
        ("localhost:443/app", "https://localhost/v2"),
        ("10.0.0.1:5000/app", "https://10.0.0.1:5000/v2"),
    ] {
        let hosts = resolve_with(&[], reference).unwrap();
        assert_eq!(bases(&hosts), [expected], "{reference}");
        assert_eq!(hosts[0].namespace, None, "{reference}");
        assert!(hosts[0].pull && hosts[0].resolve);
    }
}

#[test]
fn hosts_are_asked_in_the_order_of_the_file_and_the_server_last() {
    let text = r#"
        server = "https://upstream.example"

        [host."https://z.example"]
          capabilities = ["pull"]
          dial_timeout = "3s"
        [host."http://a.example:8080/mirror/"]
          capabilities = ["pull", "resolve"]
          skip_verify = true
          ca = ["/etc/x.crt", "rel.crt"]
          client = [["c.cert", "c.key"]]
          [host."http://a.example:8080/mirror/".header]
            x-one = "1"
            x-two = ["2", "3"]
        [host."https://m.example/v2/proxy"]
          override_path = true
    "#;
    let hosts = resolve_with(&[("reg.example_5000_/hosts.toml", text)], "reg.example:5000/app").unwrap();
    assert_eq!(
        bases(&hosts),
        [
            "https://z.example/v2",
            "http://a.example:8080/mirror/v2",
            "https://m.example/v2/proxy",
            "https://upstream.example/v2"
        ]
    );
    assert_eq!((hosts[0].pull, hosts[0].resolve), (true, false));
    assert_eq!(hosts[0].dial_timeout, Some(Duration::from_secs(3)));
    let a = &hosts[1];
    assert!(a.skip_verify && a.pull && a.resolve);
    assert_eq!(a.ca[0], Pem { path: "/etc/x.crt".into(), line: Some(10) });
    assert!(a.ca[1].path.ends_with("reg.example_5000_/rel.crt"));
    assert!(a.client[0].1.as_ref().unwrap().path.ends_with("c.key"));
    assert!(a.file.ends_with("reg.example_5000_/hosts.toml"));
    assert_eq!(a.headers.get_all("x-two").iter().count(), 2);
    assert!(hosts.iter().all(|host| host.namespace.as_deref() == Some("reg.example:5000")));
}

#[test]
fn the_most_specific_directory_counts() {
    let server = |name: &str| format!("server = \"https://{name}\"");
    let files = [
        ("_default/hosts.toml".to_owned(), server("default")),
        ("reg.example/hosts.toml".to_owned(), server("plain")),
        ("reg.example_5000_/hosts.toml".to_owned(), server("port")),
        ("docker.io/hosts.toml".to_owned(), server("registry-1.docker.io")),
    ];
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    for (reference, expected) in [
        ("reg.example/app", "https://plain/v2"),
        ("reg.example:5000/app", "https://port/v2"),
        ("reg.example:6000/app", "https://default/v2"),
        ("busybox", "https://registry-1.docker.io/v2"),
    ] {
        assert_eq!(bases(&resolve_with(&files, reference).unwrap()), [expected], "{reference}");
    }
    assert_eq!(resolve_with(&files, "busybox").unwrap()[0].namespace, None);
}

#[test]
fn a_default_mirror_falls_back_to_each_registry() {
    let text = "[host.\"http://127.0.0.1:5001\"]\n";
    let hosts = resolve_with(&[("_default/hosts.toml", text)], "busybox").unwrap();
    assert_eq!(bases(&hosts), ["http://127.0.0.1:5001/v2", "https://registry-1.docker.io/v2"]);
    assert_eq!(hosts[0].namespace.as_deref(), Some("docker.io"));
    assert_eq!(hosts[1].namespace, None);
}

#[test]
fn mistakes_name_the_file_and_the_key() {
    for (text, key) in [
        ("sever = 'https://x'", "sever"),
        ("server = 3", "server"),
        ("server = 'ftp://x'", "server"),
        ("server = 'https://user:secret@x'", "server"),
        ("capabilities = ['pul']", "capabilities"),
        ("[host.'https://x']\ncapabilites = []", "host.\"https://x\".capabilites"),
        ("[host.'https://x']\nskip_verify = 'yes'", "skip_verify"),
        ("[host.'https://x']\nca = 3", "ca"),
        ("[host.'https://x']\nclient = [['a','b','c']]", "client"),
        ("[host.'https://x']\ndial_timeout = '3'", "dial_timeout"),
        ("[host.'https://x'.header]\n'b d' = 'x'", "header.b d"),
        ("[host.'https://x'.header]\nx = \"a\\nb\"", "header.x"),
        ("host = 3", "host"),
        ("[host]\n'https://x' = 3", "host"),
        ("server = ", "hosts.toml:1: "),
        ("server = 'https://x'\n\n[host.'https://x'\nca = 'x'\n", "hosts.toml:3: "),
    ] {
        let error =
            resolve_with(&[("_default/hosts.toml", text)], "reg.example/app").unwrap_err().to_string();
        let line = text.lines().count();
        let at = format!("_default/hosts.toml:{line}: ");
        let is_cut = key.starts_with("hosts.toml:");
        assert!((is_cut || error.contains(&at)) && error.contains(key), "{text}: {error}");
        assert!(!error.contains("secret") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_directory_of_dockers_has_certificates() {
    let files = [("reg.example/ca.crt", ""), ("reg.example/c.cert", ""), ("reg.example/c.key", "")];
    let hosts = resolve_with(&files, "reg.example/app").unwrap();
    assert!(hosts[0].ca[0].path.ends_with("ca.crt"));
    assert!(hosts[0].client[0].1.as_ref().unwrap().path.ends_with("c.key"));
    let error = client_config(&hosts[0]).unwrap_err().to_string();
    assert!(error.contains("reg.example"), "{error}");
}

#[test]
fn every_mistake_of_a_file_is_told_with_its_line() {
    let text = "\
        sever = 'https://x'\n\
        skip_verify = 'yes'\n\
        [host.'https://x']\n\
        skipverify = true\n\
        capabilities = ['pull', 'reslove']\n\
        ca = [\n\
          'a.pem',\n\
          7,\n\
        ]\n\
        nonsense = 1\n";
    let refused = |text: &str| resolve_with(&[("_default/hosts.toml", text)], "reg.example/app").unwrap_err();
    let told: Vec<String> = refused(text).each().iter().map(ToString::to_string).collect();
    let told: Vec<&str> =
        told.iter().filter_map(|line| line.split_once("_default/hosts.toml:")).map(|it| it.1).collect();
    let host = "host.\"https://x\"";
    assert_eq!(
        told,
        [
            "1: unknown key sever, did you mean `server`?".to_owned(),
            "2: skip_verify: must be true or false".to_owned(),
            format!("4: unknown key {host}.skipverify, did you mean `skip_verify`?"),
            format!("5: {host}.capabilities: must be a list of \"pull\", \"resolve\" and \"push\""),
            format!("8: {host}.ca: must be a path or a list of paths"),
            format!("10: unknown key {host}.nonsense"),
        ]
    );
    // Of what is no TOML, one a line.
    let told = refused("server = \nca = x\n[host.'https://x']\nclient = [ yes ]\n").each();
    let lines: Vec<String> = told.iter().map(ToString::to_string).collect();
    let is_told = |line: &str| lines.iter().any(|told| told.contains(&format!("hosts.toml:{line}: ")));
    assert!(lines.len() == 3 && ["1", "2", "4"].into_iter().all(is_told), "{lines:?}");
    let many: String = (0..50).map(|number| format!("k{number} = 1\n")).collect();
    let whole = refused(&many).to_string();
    assert!(whole.ends_with("; and 40 more") && whole.len() < 2000, "{whole}");
}

#[test]
fn every_file_that_cannot_be_used_is_told_with_the_line_that_names_it() {
    let key = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let directory = tempfile::tempdir().unwrap();
    let own = directory.path().join("reg.example");
    std::fs::create_dir(&own).unwrap();
    for (name, text) in [
        ("hosts.toml", "ca = ['gone.pem',\n 'empty.pem']\nclient = [['empty.pem',\n 'secret.key']]\n"),
        ("empty.pem", ""),
        ("secret.key", key),
    ] {
        std::fs::write(own.join(name), text).unwrap();
    }
    let hosts = resolve(&directory.path().into(), &Reference::parse("reg.example/app").unwrap()).unwrap();
    let told = client_config(&hosts[0]).unwrap_err().each();
    let root = format!("{}/", own.display());
    let told: Vec<String> = told.iter().map(|error| error.to_string().replace(&root, "")).collect();
    let expected = [
        "hosts.toml:1: the ca gone.pem: No such file",
        "hosts.toml:2: the ca empty.pem: it holds no certificate",
        "hosts.toml:3: the client certificate empty.pem: it holds no certificate",
        "hosts.toml:4: the key of a client certificate secret.key: it is encrypted",
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told} does not begin with {expected}");
    }
}

/// containerd's order: directory by directory, and in each the registry's own name before `_default`.
#[test]
fn of_several_directories_the_first_that_has_one_for_the_registry_counts() {
    let root = tempfile::tempdir().unwrap();
    let server = |path: &str, name: &str| {
        std::fs::create_dir_all(root.path().join(path)).unwrap();
        let file = root.path().join(path).join("hosts.toml");
        std::fs::write(file, format!("server = \"https://{name}.example\"\n")).unwrap();
    };
    server("one/both.example", "first");
    server("two/both.example_5000_", "second");
    server("two/both.example", "second");
    server("two/later.example_5000_", "port");
    server("two/later.example:5000", "colon");
    std::fs::create_dir_all(root.path().join("one/docker.example")).unwrap();
    server("two/docker.example", "second");
    let text = format!("{0}/absent:{0}/one::{0}/two", root.path().display());
    let dirs = CertsDirs::from(text.as_str());
    assert_eq!(dirs.paths().len(), 3);
    let asked = |reference: &str| {
        let reference = Reference::parse(reference).unwrap();
        let (source, hosts) = resolve_with_source(&dirs, &reference).unwrap();
        let passed: Vec<_> =
            source.iter().flat_map(|source| passed_over(&dirs, source, &reference)).collect();
        (bases(&hosts).join(" "), source, passed)
    };
    let path = |name: &str| root.path().join(name);
    let (hosts, source, passed) = asked("both.example/app");
    assert_eq!(hosts, "https://first.example/v2");
    assert_eq!(source, Some(path("one/both.example/hosts.toml")));
    assert_eq!(passed, [path("two/both.example")]);
    assert_eq!(asked("both.example:5000/app").0, "https://second.example/v2");
    assert_eq!(asked("later.example:5000/app").0, "https://port.example/v2");
    // A directory as Docker has them counts too, without a file.
    assert_eq!(asked("docker.example/app").1, Some(path("one/docker.example")));
    assert_eq!(asked("none.example/app").1, None);
    server("one/_default", "all");
    let (hosts, _, passed) = asked("later.example:5000/app");
    assert_eq!(hosts, "https://all.example/v2", "what is for all goes before later directories");
    assert_eq!(passed, [path("two/later.example_5000_")]);
}
