#![allow(clippy::unwrap_used)]

use super::level::is_valid;
use super::*;
use std::fs;
use std::sync::Arc;

const CONTEXTS_TEXT: &str = "process = \"system_u:system_r:container_t:s0\"\n\
    content = \"system_u:object_r:virt_var_lib_t:s0\"\nfile = \"system_u:object_r:container_file_t:s0\"\n\
    ro_file=\"system_u:object_r:container_ro_file_t:s0\"\n";

fn host(contexts: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for path in ["sys/fs/selinux", "etc/selinux/targeted/contexts"] {
        fs::create_dir_all(dir.path().join(path)).unwrap();
    }
    fs::write(dir.path().join("sys/fs/selinux/enforce"), "1").unwrap();
    fs::write(
        dir.path().join("etc/selinux/config"),
        "# SELINUXTYPE= names the policy\nSELINUX=enforcing\nSELINUXTYPE=targeted\n",
    )
    .unwrap();
    fs::write(dir.path().join("etc/selinux/targeted/contexts/lxc_contexts"), contexts).unwrap();
    dir
}

fn in_force() -> Policy {
    Policy::detect(host(CONTEXTS_TEXT).path(), true).unwrap()
}

fn asked(user: &str, role: &str, kind: &str, level: &str) -> Selinux {
    let [user, role, kind, level] = [user, role, kind, level].map(str::to_owned);
    Selinux { user, role, kind, level }
}

#[test]
fn a_label_is_void_without_selinux_and_refused_where_it_is_switched_off() {
    let label = asked("", "", "container_t", "");
    let nowhere = tempfile::tempdir().unwrap();
    for enabled in [false, true] {
        let absent = Policy::detect(nowhere.path(), enabled).unwrap();
        assert_eq!(absent, Policy::Absent);
        assert!(absent.check(Some(&label)).is_ok());
        assert_eq!(absent.labels("s0:c1,c2", &[Some(&label)], false), Labels::default());
    }
    let unused = Policy::detect(host(CONTEXTS_TEXT).path(), false).unwrap();
    assert!(unused.check(None).is_ok());
    let error = unused.check(Some(&label)).unwrap_err();
    assert!(error.to_string().starts_with("linux.security_context.selinux_options: "), "{error}");
    assert_eq!(unused.labels("s0:c1,c2", &[], false), Labels::default());
    assert!(in_force().check(Some(&label)).is_ok());
    let error = in_force().check(Some(&asked("", "", "", "s0;c1"))).unwrap_err();
    assert!(error.to_string().contains("selinux_options.level"), "{error}");
    for broken in ["", "process = \"container_t\"\nfile = \"a:b:c\"", "process = \"a:b:c:s0\""] {
        assert!(Policy::detect(host(broken).path(), true).is_err(), "{broken}");
    }
}

#[test]
fn what_is_asked_for_takes_the_place_of_the_policys() {
    let labels = |requests: &[Option<&Selinux>]| in_force().labels("s0:c1,c2", requests, false);
    let plain = labels(&[None, None]);
    assert_eq!(plain.process, "system_u:system_r:container_t:s0:c1,c2");
    assert_eq!(plain.mount, "system_u:object_r:container_file_t:s0:c1,c2");
    let pod = asked("user_u", "user_r", "pod_t", "");
    let container = asked("", "", "main_t", "s0:c7");
    let both = labels(&[Some(&pod), Some(&container)]);
    assert_eq!(both.process, "user_u:user_r:main_t:s0:c7");
    assert_eq!(both.mount, "user_u:object_r:container_file_t:s0:c7");
    let privileged = in_force().labels("s0:c1,c2", &[Some(&container)], true);
    assert_eq!((privileged.process.as_str(), privileged.mount.ends_with(":s0:c7")), ("", true));
    // A policy without levels.
    let flat = host("process = \"u:r:t\"\nfile = \"u:object_r:f\"\n");
    let flat = Policy::detect(flat.path(), true).unwrap().labels("", &[], false);
    assert_eq!((flat.process.as_str(), flat.mount.as_str()), ("u:r:t", "u:object_r:f"));
}

#[test]
fn no_two_pods_have_the_same_categories() {
    let levels = Arc::new(Levels::default());
    let mut held: Vec<Reserved> = (0..2000).map(|_| levels.choose().unwrap()).collect();
    let mut names: Vec<String> = held.iter().map(|one| one.level().to_owned()).collect();
    assert!(names.iter().all(|level| is_valid(level)), "{names:?}");
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 2000);
    // One that was recorded, or asked for, belongs to all who have it.
    let first = held.swap_remove(0);
    let again = levels.reserve(first.level());
    let level = first.level().to_owned();
    drop(first);
    assert!(levels.is_used(&level));
    drop(again);
    assert!(!levels.is_used(&level));
}

#[test]
fn levels_are_told_from_other_texts() {
    for good in ["", "s0", "s0-s15", "s0:c1", "s0:c1,c2", "s0:c0.c1023", "s0:c1.c3,c5", "s0-s0:c0.c1023"] {
        assert!(is_valid(good), "{good}");
    }
    for bad in ["0", "s", "s0:", "s0:1", "s0:c1,", "s0:c1.c2.c3", "s0-", "s0:c12345", "s0:c1 ", "container_t"]
    {
        assert!(!is_valid(bad), "{bad}");
    }
}

#[test]
fn files_of_the_host_keep_their_labels() {
    for path in ["/", "/etc", "/usr", "/etc/", "/proc", "/var/lib/../lib", "/tmp", "/home", "/root"] {
        if fs::metadata(path).is_ok() {
            let error = relabel("mounts[2].selinux_relabel", Path::new(path), "a:b:c").unwrap_err();
            assert!(error.to_string().starts_with("mounts[2].selinux_relabel: "), "{path}: {error}");
        }
    }
    let mount = |path: &str| model::Mount {
        host_path: model::AbsPath::new(path).ok(),
        selinux_relabel: true,
        ..model::Mount::default()
    };
    let error = check_mounts(&[mount("/nowhere/at/all"), mount("/usr")]).unwrap_err();
    assert!(error.to_string().starts_with("mounts[1].selinux_relabel: "), "{error}");
    assert!(check_mounts(&[model::Mount { selinux_relabel: false, ..mount("/usr") }]).is_ok());
}

#[test]
fn a_tree_is_labelled_with_everything_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    let top = dir.path().join("top");
    fs::create_dir_all(top.join("sub/deep")).unwrap();
    fs::write(top.join("sub/file"), "x").unwrap();
    fs::write(&outside, "x").unwrap();
    std::os::unix::fs::symlink(&outside, top.join("link")).unwrap();
    let label = |path: &Path| {
        let mut value = [0; 64];
        let length = rustix::fs::lgetxattr(path, "security.selinux", &mut value[..]).unwrap_or(0);
        String::from_utf8_lossy(&value[..length]).into_owned()
    };
    let wanted = "system_u:object_r:container_file_t:s0:c1,c2";
    match relabel("mounts[0].selinux_relabel", &top, wanted) {
        Err(OciError::Io { source, .. })
            if matches!(source.raw_os_error(), Some(sys::fd::errno::EPERM | sys::fd::errno::EINVAL)) =>
        {
            need::skip(need::Need::Kernel, "this process or the host's policy may not label files so");
            return;
        }
        done => done.unwrap(),
    }
    if label(&top).is_empty() {
        need::skip(need::Need::Kernel, "the filesystem of temporary files has no labels");
        return;
    }
    for path in [top.clone(), top.join("sub"), top.join("sub/file"), top.join("sub/deep"), top.join("link")] {
        assert_eq!(label(&path), wanted, "{}", path.display());
    }
    assert_ne!(label(&outside), wanted, "a link is not followed");
}
