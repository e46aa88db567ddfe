//! What a request may have tens of thousands of takes time in proportion to it.

use super::*;
use crate::cgroup::Resources;
use crate::users::{UserRequest, resolve};
use model::Device;
use std::time::Instant;

/// Eight times as many of what grows with the square take 64 times as long.
const BOUND: f64 = 30.0;

pub(crate) fn check(what: &str, few: usize, mut work: impl FnMut(usize)) {
    let mut quickest = |count| {
        let runs = (0..3).map(|_| {
            let start = Instant::now();
            work(count);
            start.elapsed().as_secs_f64()
        });
        runs.fold(f64::INFINITY, f64::min)
    };
    // A busy machine lends its time unevenly.
    let growths: Vec<f64> = (0..5).map(|_| quickest(8 * few) / quickest(few)).collect();
    let least = growths.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(least < BOUND, "eight times as many {what} take {growths:.0?} times as long");
}

fn path(text: String) -> AbsPath {
    AbsPath::new(text).unwrap()
}

#[test]
fn groups() {
    let image = tempfile::tempdir().unwrap();
    let view = crate::rootfs::RootView::new([image.path()]);
    check("groups", 4_000, |count| {
        let supplemental_groups = (1..u32::try_from(count).unwrap()).collect();
        let request = UserRequest { supplemental_groups, ..UserRequest::default() };
        assert_eq!(resolve(&view, &request).unwrap().groups.len(), count);
    });
}

#[test]
fn devices() {
    let mut case = Case::new();
    check("devices", 300, |count| {
        case.container.devices = (0..count)
            .map(|index| Device {
                host_path: path("/dev/null".to_owned()),
                container_path: path(format!("/dev/some/where/device-{index}")),
                permissions: "rw".to_owned(),
            })
            .collect();
        let spec = case.spec().unwrap();
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.devices().as_ref().unwrap().len(), count);
        let limits = Resources::from_spec(linux.resources().as_ref().unwrap()).unwrap();
        let rule = crate::cgroup::DeviceAccess::Only(vec!["c 1:3 rw".to_owned()]);
        assert_eq!(limits.devices, rule, "one rule for one device");
    });
}

#[test]
fn images_as_volumes() {
    let mut case = Case::new();
    check("images", 300, |count| {
        let mount = |index| Mount {
            container_path: path(format!("/image/{index}")),
            readonly: true,
            image: Some(model::ImageSpec::default()),
            ..Mount::default()
        };
        case.container.mounts = (0..count).map(mount).collect();
        let rootfs = model::Rootfs::Layers(vec!["/l/0".into(), "/l/1".into()]);
        case.image_volumes = (0..count).map(|index| ImageVolume { index, rootfs: rootfs.clone() }).collect();
        let plan = crate::plan::tests::planned(&case);
        let is_image = |mount: &&wire::plan::MountPlan| mount.target.starts_with(b"/image/");
        assert_eq!(plan.mounts.iter().filter(is_image).count(), count);
    });
}

#[test]
fn declared_volumes_beside_mounts() {
    check("volumes and mounts", 400, |count| {
        let mount = |index| Mount { container_path: path(format!("/m/{index}")), ..Mount::default() };
        let mounts: Vec<Mount> = (0..count).map(mount).collect();
        let places = |index| [format!("/v/{index}"), format!("/m/{index}/below")];
        let declared: Vec<String> = (0..count).flat_map(places).collect();
        let found = anonymous_volumes(&declared, &mounts, Path::new("/base")).unwrap();
        assert_eq!(found.len(), count, "those that a mount covers are left out");
    });
}
