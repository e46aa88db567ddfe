//! Mounts and devices.

use super::*;

fn places(spec: &Spec) -> Vec<String> {
    spec.mounts().as_ref().unwrap().iter().map(|mount| mount.destination().display().to_string()).collect()
}
fn bind(host: &Path, container: &str) -> Mount {
    Mount {
        host_path: AbsPath::new(host.display().to_string()).ok(),
        container_path: AbsPath::new(container).unwrap(),
        ..Mount::default()
    }
}

#[test]
fn mounts_replace_defaults_and_are_ordered_by_depth() {
    let host = tempfile::tempdir().unwrap();
    let mut case = Case::new();
    case.container.mounts = vec![
        bind(host.path(), "/data/sub/deep"),
        bind(host.path(), "/data"),
        bind(host.path(), "/etc/hosts"),
        bind(host.path(), "/etc//hostname/"),
        Mount { readonly: true, ..bind(host.path(), "/data/sub") },
        Mount { readonly: true, recursive_read_only: true, ..bind(host.path(), "/rro") },
    ];
    let spec = case.spec().unwrap();
    assert_eq!(
        places(&spec),
        [
            "/proc",
            "/dev",
            "/sys",
            "/data",
            "/rro",
            "/dev/pts",
            "/dev/mqueue",
            "/dev/shm",
            "/etc/resolv.conf",
            "/etc/hosts",
            "/etc/hostname",
            "/data/sub",
            "/sys/fs/cgroup",
            "/data/sub/deep"
        ]
    );
    assert_eq!(find(&spec, "/etc/hostname").source().as_deref(), Some(host.path()));
    assert_eq!(find(&spec, "/data").options().as_ref().unwrap(), &["rbind", "rprivate", "rw"]);
    assert_eq!(find(&spec, "/data/sub").options().as_ref().unwrap(), &["rbind", "rprivate", "ro"]);
    assert_eq!(find(&spec, "/rro").options().as_ref().unwrap(), &["rbind", "rprivate", "rro"]);
    case.container.mounts = vec![bind(host.path(), "/dev")];
    let all = places(&case.spec().unwrap());
    assert_eq!(all.iter().filter(|place| place.starts_with("/dev")).count(), 1, "{all:?}");
    // Files that lxcfs shows, and procfs itself.
    case.container.mounts =
        vec![bind(Path::new("/proc/uptime"), "/proc/uptime"), bind(Path::new("/proc"), "/proc")];
    case.spec().unwrap();
}

#[test]
fn a_source_that_does_not_exist_is_made_when_all_is_decided() {
    let host = tempfile::tempdir().unwrap();
    let absent = host.path().join("a/b");
    let mut case = Case::new();
    case.container.mounts = vec![bind(&absent, "/data")];
    assert_eq!(find(&case.spec().unwrap(), "/data").source().as_deref(), Some(absent.as_path()));
    assert!(!absent.exists());
    let mut made = Vec::new();
    make_sources(&case.container.mounts, &mut made).unwrap();
    assert!(absent.is_dir());
    assert_eq!(made, [host.path().join("a"), absent.clone()]);
    std::os::unix::fs::symlink("nowhere", host.path().join("dangling")).unwrap();
    let (more, dangling) = (host.path().join("more"), host.path().join("dangling"));
    let mut made = Vec::new();
    let error = make_sources(&[bind(&more, "/x"), bind(&dangling, "/y")], &mut made).unwrap_err();
    assert_eq!(made, [more], "also what was made before it failed");
    assert!(error.to_string().starts_with("mounts[1].host_path"), "{error}");
}

#[test]
fn a_mount_has_the_options_and_ids_that_were_asked_for() {
    let host = tempfile::tempdir().unwrap();
    let range = model::IdMapping { host_id: 7000, container_id: 1, length: 9 };
    let mut case = Case::new();
    case.container.mounts = vec![Mount {
        options: list(&["noexec", "nodev"]),
        uid_mappings: vec![range],
        gid_mappings: vec![range],
        ..bind(host.path(), "/data")
    }];
    let data = find(&case.spec().unwrap(), "/data");
    assert_eq!(data.options().as_ref().unwrap(), &["rbind", "rprivate", "rw", "idmap", "noexec", "nodev"]);
    let ids = data.gid_mappings().clone().unwrap();
    assert_eq!((ids[0].host_id(), ids[0].container_id(), ids[0].size()), (7000, 1, 9));
    assert_eq!(data.uid_mappings().as_ref().unwrap(), &ids);
    case.settings.recursive_read_only = false;
    case.container.mounts =
        vec![Mount { readonly: true, recursive_read_only: true, ..bind(host.path(), "/data") }];
    assert!(case.refused().starts_with("RROUnsupported: mounts[0]"));
}

#[test]
fn an_image_is_an_overlay_and_a_declared_volume_a_bind() {
    let mut case = Case::new();
    let image = Mount {
        container_path: AbsPath::new("/tools").unwrap(),
        readonly: true,
        image: Some(model::ImageSpec::default()),
        options: list(&["noexec"]),
        ..Mount::default()
    };
    case.container.mounts = vec![image.clone()];
    assert!(case.refused().starts_with("mounts[0].image"));
    let rootfs = model::Rootfs::Layers(vec!["/l/a:b".into(), "/l/0".into()]);
    case.image_volumes = vec![ImageVolume { index: 0, rootfs }];
    case.anonymous = anonymous_volumes(
        &list(&["/tools/x", "/data/", "/data", "cache", "/sys/fs/cgroup"]),
        &case.container.mounts,
        Path::new("/v"),
    )
    .unwrap();
    let spec = case.spec().unwrap();
    let tools = find(&spec, "/tools");
    assert_eq!(tools.typ().as_deref(), Some("overlay"));
    assert_eq!(tools.options().as_ref().unwrap(), &["ro", "nosuid", "nodev", "noexec"]);
    assert_eq!(tools.source().as_deref(), Some(Path::new("image-0")), "of what, the plan says");
    let sources = ["/data", "/cache"].map(|place| find(&spec, place).source().clone().unwrap());
    assert_eq!(sources, ["/v/0", "/v/1"].map(PathBuf::from));
    assert_eq!(find(&spec, "/sys/fs/cgroup").typ().as_deref(), Some("cgroup"));
    assert!(!places(&spec).contains(&"/tools/x".to_owned()), "a mount of the request covers it");
    // The root is writable without; the image is not to be lost for such a line.
    assert!(anonymous_volumes(&list(&["/", "", "a/../.."]), &[], Path::new("/v")).unwrap().is_empty());
    let error = anonymous_volumes(&list(&["/a\0"]), &[], Path::new("/v")).unwrap_err();
    assert!(error.to_string().starts_with("image config volumes"), "{error}");
}

#[test]
fn devices_come_with_their_rules() {
    use oci_spec::runtime::LinuxDeviceType;
    let host = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/null", host.path().join("link")).unwrap();
    let device = |host: &Path, place: &str, permissions: &str| model::Device {
        host_path: AbsPath::new(host.display().to_string()).unwrap(),
        container_path: AbsPath::new(place).unwrap(),
        permissions: permissions.into(),
    };
    let mut case = Case::new();
    case.container.devices = vec![
        device(Path::new("/dev/zero"), "/dev/x", "r"),
        device(&host.path().join("link"), "/dev/x", "rw"),
        device(Path::new("/dev/full"), "/volume", "rwm"),
    ];
    case.container.security.user = Some(model::User::Uid(1000));
    case.container.security.group = Some(2000);
    let linux = case.spec().unwrap().linux().clone().unwrap();
    let nodes: Vec<_> = linux.devices().iter().flatten().collect();
    let paths: Vec<_> = nodes.iter().map(|node| (node.path().to_str().unwrap(), node.minor())).collect();
    assert_eq!(paths, [("/dev/x", 3), ("/volume", 7)], "the last one of a path counts");
    assert_eq!((nodes[0].typ(), nodes[0].uid(), nodes[0].gid()), (LinuxDeviceType::C, Some(0), Some(0)));
    let rules: Vec<_> = linux.resources().as_ref().unwrap().devices().iter().flatten().skip(1).collect();
    let allowed: Vec<_> = rules.iter().map(|rule| (rule.minor(), rule.access().as_deref())).collect();
    assert_eq!(allowed, [(Some(5), Some("r")), (Some(3), Some("rw")), (Some(7), Some("rwm"))]);
    case.settings.device_ownership = true;
    let linux = case.spec().unwrap().linux().clone().unwrap();
    let node = linux.devices().as_ref().unwrap()[0].clone();
    assert_eq!((node.uid(), node.gid()), (Some(1000), Some(2000)));
    for (host, place, field) in [
        (Path::new("/dev/absent"), "/dev/x", "devices[0].host_path"),
        (host.path(), "/proc/x", "devices[0].container_path"),
        (Path::new("/etc/passwd"), "/dev/x", "devices[0].host_path"),
    ] {
        case.container.devices = vec![device(host, place, "r")];
        let text = case.refused();
        assert!(text.starts_with(field), "{text}");
    }
}

#[test]
fn mounts_that_cannot_be_kept_name_their_field() {
    let host = tempfile::tempdir().unwrap();
    let file = host.path().join("file");
    std::fs::write(&file, "").unwrap();
    let below_a_file = file.join("absent");
    let table = [
        (bind(host.path(), "/"), "mounts[0].container_path"),
        (bind(host.path(), "/./"), "mounts[0].container_path"),
        (bind(host.path(), "/proc"), "mounts[0].container_path"),
        (bind(host.path(), "/proc/self/attr"), "mounts[0].container_path"),
        (bind(&below_a_file, "/data"), "mounts[0].host_path"),
        (Mount { recursive_read_only: true, ..bind(host.path(), "/data") }, "mounts[0].recursive_read_only"),
        (
            Mount {
                recursive_read_only: true,
                readonly: true,
                propagation: Propagation::HostToContainer,
                ..bind(host.path(), "/data")
            },
            "mounts[0].recursive_read_only",
        ),
    ];
    for (mount, field) in table {
        let mut case = Case::new();
        case.container.mounts = vec![mount.clone()];
        let text = case.refused();
        assert!(text.starts_with(field), "{mount:?}: {text}");
    }
}
