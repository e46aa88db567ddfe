#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use std::io::Read;
use std::os::unix::net::UnixListener;

fn strings(list: &[&str]) -> Vec<CString> {
    list.iter().map(|text| CString::new(*text).unwrap()).collect()
}

fn run(script: &str) -> (i32, String) {
    let dir = std::env::temp_dir().join(format!("corten-sys-spawn-{}-{}", std::process::id(), script.len()));
    std::fs::create_dir_all(&dir).unwrap();
    let binary = dir.join("copy");
    std::fs::copy("/bin/sh", &binary).unwrap();
    let listener = UnixListener::bind(dir.join("s")).unwrap();
    let (reader, writer) = crate::fd::pipe().unwrap();
    let args = strings(&["sh", "-c", script]);
    let given = Given { socket: listener.as_fd(), bare: None, log: Some(writer.as_fd()) };
    let shim = spawn_shim(&binary, given, &args, &strings(&["A=b"])).unwrap();
    drop(writer);
    let mut text = String::new();
    std::fs::File::from(reader).read_to_string(&mut text).unwrap();
    let status = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(shim.pid), None).unwrap();
    std::fs::remove_dir_all(dir).unwrap();
    let nix::sys::wait::WaitStatus::Exited(_, code) = status else { panic!("ended by {status:?}") };
    (code, text)
}

#[test]
fn a_shim_gets_its_listener_a_session_and_nothing_else() {
    let script = "readlink /proc/$$/fd/0 /proc/$$/fd/3; cut -d' ' -f1,6 /proc/$$/stat; exit 7";
    let (code, text) = run(script);
    assert_eq!(code, 7);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "/dev/null");
    assert!(lines[1].starts_with("socket:"), "{text}");
    let (pid, session) = lines[2].split_once(' ').unwrap();
    assert_eq!(pid, session, "leads its session");
}

#[test]
fn a_shims_program_cannot_be_written_through_proc() {
    if !need::root("needs root") {
        return;
    }
    // Another program by then, since a running one is busy anyway.
    let (_, text) = run("exec 9</proc/$$/exe; exec /bin/sh -c '(: >> /proc/self/fd/9) 2>&1; echo done'");
    assert!(text.contains("ead-only"), "{text}");
}

#[test]
fn a_missing_binary_is_named() {
    let listener =
        UnixListener::bind(std::env::temp_dir().join(format!("corten-sys-nb-{}", std::process::id())))
            .unwrap();
    let path = listener.local_addr().unwrap().as_pathname().unwrap().to_path_buf();
    let given = Given { socket: listener.as_fd(), bare: None, log: None };
    let error = spawn_shim(Path::new("/nowhere/shim"), given, &strings(&["x"]), &[]).unwrap_err();
    assert_eq!((error.errno, error.path.to_str()), (libc::ENOENT, Some("/nowhere/shim")));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_shim_that_cannot_be_held_is_ended() {
    let pid = std::process::Command::new("sleep").arg("1000").spawn().unwrap().id().cast_signed();
    let error = hold(pid, Err(SysError::new("pidfd_open", "", libc::EMFILE))).unwrap_err();
    assert_eq!(error.errno, libc::EMFILE);
    let again = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
    assert_eq!(again, Err(nix::Error::ECHILD), "killed and waited for");
}
