//! The configuration files of a daemon that runs, where following them takes some care.

use super::{Host, held, metric, replace, status};
use std::fs;
use std::process::Command;
use std::time::Duration;

#[test]
fn what_changes_while_the_daemon_starts_is_read_again() {
    let Some(host) = Host::new() else { return };
    let (mut dead, inherited) = held(&host);
    let _daemon = host.start();
    host.logged("corten starts");
    replace(&host, "[images]", "[images]\nmax_pulls = 7");
    drop(inherited);
    host.told("READY=1");
    host.logged("\"changed\":\"images.max_pulls\"");
    dead.wait().unwrap();
}

#[test]
fn a_file_behind_a_link_is_followed() {
    let Some(host) = Host::new() else { return };
    // The directory of the link, in which nothing changes.
    fs::create_dir(host.path("etc")).unwrap();
    let (link, real) = (host.path("etc/corten.toml"), host.path("corten.toml"));
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let _daemon = host.run(Command::new(env!("CARGO_BIN_EXE_corten")).args(["serve", "--config"]).arg(link));
    host.told("READY=1");
    // What follows is found by looking again, and not by the look after the start.
    fs::create_dir(host.path("etc/conf.d")).unwrap();
    fs::write(host.path("etc/conf.d/50.toml"), "[images]\nprogress_timeout_seconds = 61\n").unwrap();
    host.logged("the configuration is read again");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let text = fs::read_to_string(&real).unwrap();
    fs::write(&real, text.replace("[images]", "[images]\nmax_pulls = 7")).unwrap();
    host.logged("\"changed\":\"images.max_pulls\"");
}

#[test]
fn a_default_file_that_goes_takes_no_settings_with_it() {
    let Some(host) = Host::new() else { return };
    let directory = host.path("etc/corten");
    fs::create_dir_all(&directory).unwrap();
    fs::rename(host.path("corten.toml"), directory.join("corten.toml")).unwrap();
    let etc = host.path("etc");
    // No file is named, so that it need not be there.
    let program = env!("CARGO_BIN_EXE_corten");
    let script = format!("mount --bind {} /etc && exec {program} serve --no-builtin-network", etc.display());
    let daemon = host.run(Command::new("unshare").args(["-m", "sh", "-c", &script]));
    host.told("READY=1");
    let drop_in = directory.join("conf.d/50.toml");
    fs::create_dir(directory.join("conf.d")).unwrap();
    fs::write(&drop_in, "[images]\nmax_pulls = 7\n").unwrap();
    host.logged("\"changed\":\"images.max_pulls\"");

    fs::rename(directory.join("corten.toml"), host.path("aside")).unwrap();
    host.logged("/etc/corten/corten.toml is gone: put it back, or restart to run on the defaults");
    assert!(metric(&host, "corten_config_refused 1"));
    fs::rename(host.path("aside"), directory.join("corten.toml")).unwrap();
    host.logged("the configuration is read again, no setting has changed");
    assert!(metric(&host, "corten_config_refused 0"));
    // A drop-in may go: what it says is then what the rest says.
    fs::remove_file(drop_in).unwrap();
    let gone = || host.log().matches("\"changed\":\"images.max_pulls\"").count() == 2;
    for _ in 0..6000 {
        if gone() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(gone(), "{}", host.log());
    drop(daemon);
}

#[test]
fn a_file_that_somebody_is_writing_is_left_alone() {
    let Some(host) = Host::new() else { return };
    let file = host.path("corten.toml");
    let whole = fs::read_to_string(&file).unwrap() + "\n[daemon]\ndrain_seconds = 7\n";
    fs::write(&file, &whole).unwrap();
    let daemon = host.start();
    host.told("READY=1");
    let beginning = whole.split("[daemon]").next().unwrap();
    // It stays what it was while it is written, and a slow hand takes no setting away.
    fs::write(&file, beginning).unwrap();
    host.logged("a file has become the beginning of what it was");
    fs::write(&file, whole.replace("[images]", "[images]\nmax_pulls = 7")).unwrap();
    host.logged("\"changed\":\"images.max_pulls\"");
    assert!(!host.log().contains("daemon.drain_seconds"), "{}", host.log());

    // One that is emptied is none at all.
    fs::write(&file, " \n").unwrap();
    host.logged("corten.toml is empty and was not: put back what it is to say");
    assert!(metric(&host, "corten_config_refused 1"));
    daemon.signal(rustix::process::Signal::HUP);
    let refused = || host.log().matches("is empty and was not").count() == 2;
    host.until(refused, "a second refusal");
    fs::write(&file, &whole).unwrap();
    host.until(|| host.log().matches("\"changed\":\"images.max_pulls\"").count() == 2, "a second change");

    // What stays so is meant so; and who says so need not wait.
    fs::write(&file, beginning).unwrap();
    host.logged("\"changed\":\"daemon.drain_seconds\"");
    fs::write(&file, &whole).unwrap();
    host.until(|| host.log().matches("\"changed\":\"daemon.drain_seconds\"").count() == 2, "a second change");
    fs::write(&file, beginning).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    host.logged("\"cause\":\"SIGHUP\",\"changed\":\"daemon.drain_seconds\"");
}

#[test]
fn files_on_a_filesystem_that_does_not_answer_hold_up_no_other_setting() {
    let Some(host) = Host::new() else { return };
    let certs = host.path("certs.d");
    fs::create_dir(&certs).unwrap();
    // The daemon has its server's end, and answers nothing.
    let options = "fd=9,rootmode=40000,user_id=0,group_id=0";
    let script = format!(
        "exec 9<>/dev/fuse && mount -i -t fuse -o {options} hung {} && exec {} serve --config {}",
        certs.display(),
        env!("CARGO_BIN_EXE_corten"),
        host.path("corten.toml").display()
    );
    let daemon = host.run(Command::new("unshare").args(["-m", "bash", "-c", &script]));
    host.told("READY=1");
    let told = format!("`images.certs_dir`: {}: the filesystem did not answer within 5 s", certs.display());
    host.logged(&told);
    assert!(status(&host).0["on_this_host"].to_string().contains(&told), "{}", status(&host).0);
    for (count, level) in [(1, "debug"), (2, "info")] {
        host.configure(level);
        daemon.signal(rustix::process::Signal::HUP);
        host.until(|| host.log().matches("\"changed\":\"log.level\"").count() == count, level);
    }
    // However often it was asked.
    assert!(status(&host).0["on_this_host"].to_string().contains(&told), "{}", status(&host).0);
}
