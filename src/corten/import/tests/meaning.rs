//! What is carried over means the same here, is taken by the daemon, and gives no secret away.

use super::*;

/// A file that was imported, with the directory in which it lies.
fn of(from: Origin, text: &str) -> (tempfile::TempDir, Import) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    fs::write(&file, text).unwrap();
    let import = imported(from, &file);
    (directory, import)
}

fn containerd(text: &str) -> Import {
    let text = format!("version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\n{text}");
    of(Origin::Containerd, &text).1
}

/// What CRI-O's packages have in crio.conf.d, where they have no crio.conf.
const PACKAGED: &str = r#"
[crio.runtime]
default_runtime = "crun"
[crio.runtime.runtimes.crun]
runtime_path = "/usr/libexec/crio/crun"
runtime_root = "/run/crun"
monitor_path = "/usr/libexec/crio/conmon"
[crio.runtime.runtimes.runc]
runtime_path = "/usr/libexec/crio/runc"
runtime_root = "/run/runc"
"#;

#[test]
fn handlers_without_a_type_have_the_default_of_their_runtime() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("crio.conf.d")).unwrap();
    fs::write(directory.path().join("crio.conf.d/10-crio.conf"), PACKAGED).unwrap();
    for named in ["crio.conf", "crio.conf.d", "crio.conf.d/10-crio.conf", ""] {
        let config = accepted(&imported(Origin::Crio, &directory.path().join(named))).config;
        assert_eq!(config.handlers["crun"].binary, Path::new("/usr/libexec/crio/crun"), "{named}");
        assert_eq!(config.handlers["runc"].root, Path::new("/run/runc"), "{named}");
    }
    let import = containerd(
        "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\nBinaryName = \"/usr/bin/crun\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.bare]\nprivileged_without_host_devices = true\n",
    );
    let config = accepted(&import).config;
    assert_eq!(config.handlers["runc"].binary, Path::new("/usr/bin/crun"));
    assert!(config.handlers["bare"].privileged_without_host_devices);
}

#[test]
fn values_that_the_daemon_refuses_are_not_carried_over() {
    let import = containerd(
        "max_concurrent_downloads = 3\ndrain_exec_sync_io_timeout = \"2h\"\n[plugins.\"io.containerd.nri.v1.nri\"]\n\
         plugin_registration_timeout = \"1h\"\nsocket_path = \"nri.sock\"\ndisable = false\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd]\ndefault_runtime_name = \"kata\"\n",
    );
    let config = accepted(&import).config;
    assert!(config.nri.enable);
    for key in
        ["drain_exec_sync_io_timeout", "plugin_registration_timeout", "socket_path", "default_runtime_name"]
    {
        assert!(matches!(fate(&import, key), Fate::Lost(why) if why.contains("does not take it")), "{key}");
    }
    assert!(import.text().contains("is not within"), "{}", import.text());
}

#[test]
fn no_secret_is_printed() {
    let auth = containerd(
        "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"reg.example\".auth]\npassword = \"s3cr3t\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"reg.example\"]\n\
         endpoint = [\"https://user:s3cr3t@m.example\"]\n\
         [plugins.\"io.containerd.grpc.v1.cri\".registry.headers]\nX-Any = [\"s3cr3t\"]\n",
    );
    let environment = of(
        Origin::Crio,
        "[crio.runtime]\ndefault_env = [\"KEY=s3cr3t\"]\nunheard_of = { token = \"s3cr3t\" }\n",
    );
    for import in [&auth, &environment.1] {
        assert!(!import.text().contains("s3cr3t"), "{}", import.text());
        assert!(!import.json().contains("s3cr3t"), "{}", import.json());
        assert!(!import.configuration().contains("s3cr3t"), "{}", import.configuration());
        assert!(import.text().contains("(removed)"), "{}", import.text());
    }
    assert!(auth.text().contains("https://(removed)@m.example"), "{}", auth.text());
}

#[test]
fn what_was_off_stays_off() {
    let pair = "[plugins.\"io.containerd.grpc.v1.cri\".x509_key_pair_streaming]\ntls_cert_file = \"/a.crt\"\n\
                tls_key_file = \"/a.key\"\n";
    let off = accepted(&containerd(&format!("enable_cdi = false\n{pair}"))).config;
    assert!(off.runtime.cdi_spec_dirs.is_empty());
    assert_eq!(off.stream.tls_cert_file, Path::new(""));
    let on = accepted(&containerd(&format!("enable_tls_streaming = true\n{pair}"))).config;
    assert_eq!(on.stream.tls_cert_file, Path::new("/a.crt"));
    let crio = "stream_tls_cert = \"/a.crt\"\nstream_tls_key = \"/a.key\"\n";
    let off = of(Origin::Crio, &format!("[crio.api]\n{crio}stream_enable_tls = false\n")).1;
    assert_eq!(accepted(&off).config.stream.tls_cert_file, Path::new(""));
    let on = of(Origin::Crio, &format!("[crio.api]\n{crio}stream_enable_tls = true\n")).1;
    assert_eq!(accepted(&on).config.stream.tls_cert_file, Path::new("/a.crt"));
    let open = containerd("stream_server_address = \"0.0.0.0\"\n");
    assert!(open.text().contains("it has no TLS"), "{}", open.text());
}

#[test]
fn the_default_runtime_says_which_driver_manages_cgroups() {
    let runtimes = |runc: bool, other: bool| {
        let of = |name: &str, systemd: bool| {
            format!(
                "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.{name}.options]\n\
                 BinaryName = \"/usr/bin/{name}\"\nSystemdCgroup = {systemd}\n"
            )
        };
        containerd(&(of("runc", runc) + &of("zz", other)))
    };
    for (runc, other) in [(false, false), (false, true), (true, false), (true, true)] {
        let driver = accepted(&runtimes(runc, other)).config.runtime.cgroup_driver;
        let wanted = if runc { engine::CgroupDriver::Systemd } else { engine::CgroupDriver::Cgroupfs };
        assert_eq!(driver, wanted, "{runc} {other}");
        let differs =
            lost(&runtimes(runc, other)).iter().any(|key| key.ends_with("zz.options.SystemdCgroup"));
        assert_eq!(differs, runc != other);
    }
}

#[test]
fn a_driver_that_this_host_cannot_have_is_told_and_not_carried_over() {
    let options =
        "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\nSystemdCgroup = ";
    let mut import = containerd(&format!("{options}true\n"));
    import.refuse_systemd("systemd's driver needs a host with cgroup v2 only");
    assert_eq!(accepted(&import).config.runtime.cgroup_driver, engine::CgroupDriver::Auto);
    assert!(matches!(fate(&import, "SystemdCgroup"), Fate::Lost(why)
        if why.contains("cgroup v2 only") && why.contains("cgroupDriver: cgroupfs")));
    let mut import = containerd(&format!("{options}false\n"));
    import.refuse_systemd("systemd's driver needs a host with cgroup v2 only");
    assert_eq!(accepted(&import).config.runtime.cgroup_driver, engine::CgroupDriver::Cgroupfs);
}

#[test]
fn spans_go_by_the_protocol_that_is_the_default_there() {
    let import = containerd(
        "[plugins.\"io.containerd.tracing.processor.v1.otlp\"]\nendpoint = \"http://127.0.0.1:4318\"\n",
    );
    let tracing = accepted(&import).config.tracing;
    assert_eq!(
        (tracing.endpoint.as_str(), tracing.protocol),
        ("http://127.0.0.1:4318", otlp::Protocol::Http)
    );
}

#[test]
fn annotations_of_pods_are_not_said_to_reach_programs() {
    let import = containerd(
        "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\npod_annotations = [\"a.*\"]\n",
    );
    assert!(
        matches!(fate(&import, "pod_annotations"), Fate::Lost(why) if why.contains("none of the pod's own"))
    );
}

#[test]
fn the_file_of_the_other_runtime_is_recognised() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let refused = |from: Origin, text: &str| {
        fs::write(&file, text).unwrap();
        import(&ImportArgs { from, file: file.clone(), json: false })
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let crios = refused(Origin::Containerd, "[crio.runtime]\nselinux = true\n");
    assert!(crios.clone().is_err_and(|said| said.contains("looks like CRI-O's crio.conf")), "{crios:?}");
    let containerds = refused(Origin::Crio, "version = 2\n[plugins.x]\ny = 1\n");
    assert!(
        containerds.clone().is_err_and(|said| said.contains("containerd's config.toml")),
        "{containerds:?}"
    );
    assert!(refused(Origin::Crio, "a = 1\n").is_err());
    for from in [Origin::Containerd, Origin::Crio] {
        assert!(refused(from, "# all defaults\n").is_ok());
    }
}

#[test]
fn plugins_are_off_where_containerd_had_them_so() {
    for name in ["io.containerd.nri.v1.nri", "nri"] {
        let import = of(Origin::Containerd, &format!("version = 3\ndisabled_plugins = [\"{name}\"]\n")).1;
        assert!(!accepted(&import).config.nri.enable, "{name}");
    }
    let other =
        of(Origin::Containerd, "version = 3\ndisabled_plugins = [\"io.containerd.snapshotter.v1.btrfs\"]\n")
            .1;
    assert!(accepted(&other).config.nri.enable);
}

#[test]
fn files_of_classes_are_those_of_the_other_runtime() {
    let containerd = of(
        Origin::Containerd,
        "version = 2\n[plugins.\"io.containerd.service.v1.tasks-service\"]\nblockio_config_file = \"/etc/b.yaml\"\n\
         rdt_config_file = \"/etc/r.yaml\"\n",
    );
    let text = "[crio.runtime]\nblockio_config_file = \"/etc/b.yaml\"\nrdt_config_file = \"/etc/r.yaml\"\n";
    for import in [containerd.1, of(Origin::Crio, text).1] {
        let runtime = accepted(&import).config.runtime;
        assert_eq!(runtime.blockio_config_file, Path::new("/etc/b.yaml"));
        assert_eq!(runtime.rdt_config_file, Path::new("/etc/r.yaml"));
    }
}

#[test]
fn a_file_that_leaves_plugins_to_containerds_version_is_told_and_carried_over() {
    for (text, is_told) in [
        ("version = 2\n[debug]\nlevel = \"info\"\n", true),
        ("version = 2\n[plugins.\"io.containerd.nri.v1.nri\"]\nsocket_path = \"/run/nri.sock\"\n", true),
        ("version = 2\n[plugins.\"io.containerd.nri.v1.nri\"]\ndisable = false\n", false),
        ("version = 2\ndisabled_plugins = [\"io.containerd.nri.v1.nri\"]\n", false),
        ("version = 3\n[debug]\nlevel = \"info\"\n", false),
        ("# all defaults\n", false),
    ] {
        let import = of(Origin::Containerd, text).1;
        let key = "plugins.\"io.containerd.nri.v1.nri\".disable is not there";
        for said in [import.text(), import.configuration()] {
            assert_eq!(said.contains(key) && said.contains("nri.enable"), is_told, "{text}: {said}");
        }
        let rows = import.json();
        assert_eq!(
            rows.lines().filter(|row| row.contains("\"fate\":\"unsaid\"")).count(),
            usize::from(is_told)
        );
        accepted(&import);
    }
    let import = of(Origin::Crio, "[crio.runtime]\npids_limit = 0\n").1;
    assert!(!import.text().contains("left to you"));
}
