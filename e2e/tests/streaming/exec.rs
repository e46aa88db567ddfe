//! Commands.

use crate::talk::in_a_terminal;
use crate::{SOON, TRANSPORTS, idle, start};
use e2e::proto::ExecRequest;
use e2e::raw::{Raw, Upgrade};
use e2e::runtime::Kind;
use e2e::world::World;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn commands_have_their_streams_and_exit_codes() {
    let Some(world) = World::new().unwrap() else { return };
    let crictl = world.crictl().unwrap();
    let (_, id) = start(&world, "exec", &idle());
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).take(3_000_000).collect();
    for transport in TRANSPORTS {
        let exec = |flags: &[&str], script: &str, input: &[u8]| {
            let words = [&["exec", "-r", transport], flags, &[id.as_str(), "sh", "-c", script]].concat();
            crictl.feed(&words, input).unwrap()
        };
        let done = exec(&[], "echo out; echo err >&2", b"");
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("out\n", "err\n"), "{transport}");
        assert!(done.status.success());
        // The end of the input reaches the command, and all of its output comes back.
        let done = exec(&["-i"], "cat; echo over >&2", b"some input");
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("some input", "over\n"), "{transport}");
        let done = exec(&["-i"], "wc -c; cat /dev/null", &large);
        assert_eq!(done.stdout.trim(), "3000000", "{transport}: {}", done.stderr);
        let done = exec(&[], "head -c 5000000 /dev/zero | tr '\\0' x", b"");
        assert_eq!(done.stdout.len(), 5_000_000, "{transport}: {}", done.stderr);
        let done = exec(&[], "exit 42", b"");
        assert!(!done.status.success() && done.stderr.contains("exit code 42"), "{}", done.stderr);
        let done = exec(&[], "kill -9 $$", b"");
        assert!(done.stderr.contains("exit code 137"), "{}", done.stderr);
        // What it leaves behind holds its output open, and nobody waits for that.
        let done = exec(&[], "sleep 1000 & echo done", b"");
        assert_eq!(done.stdout, "done\n", "{transport}");
        for (command, code) in [("no-such-command", 127), ("/etc/passwd", 126)] {
            let done = crictl.finish(&["exec", "-r", transport, &id, command]).unwrap();
            assert!(!done.status.success(), "{command} runs");
            if world.daemon.kind() == Kind::Corten {
                let wanted = format!("exit code {code}");
                assert!(done.stderr.contains(&wanted), "{transport}: {}", done.stderr);
                assert!(done.stderr.contains(&format!("exec: \"{command}\"")), "{}", done.stderr);
            }
        }
    }
}

#[test]
fn a_terminal_has_its_size_and_hangs_up() {
    let Some(world) = World::new().unwrap() else { return };
    let crictl = world.crictl().unwrap();
    let (_, id) = start(&world, "tty", &idle());
    for transport in TRANSPORTS {
        let flag = world.logs.join(format!("resize-{transport}"));
        let line = format!("{} exec -i -t -r {transport} {id} sh", crictl.line());
        let mut talk = in_a_terminal(&line, &flag);
        let until = |size: &str| {
            format!("until [ \"$(stty size)\" = '{size}' ]; do sleep 0.05; done; echo \"now\" {size}\n")
        };
        talk.say(&until("33 111"));
        talk.hear("now 33 111");
        fs::write(&flag, "").unwrap();
        talk.say(&until("40 120"));
        talk.hear("now 40 120");
        talk.say("tty; echo $TERM; echo \"the end\"; exit 7\n");
        let said = talk.hear("the end\r\n");
        assert!(said.contains("/dev/pts/") && said.contains("xterm"), "{said}");
        assert!(!talk.end());
        // A client that is killed takes the shell with it, and what runs in it.
        let mut talk = in_a_terminal(&line, &flag);
        talk.say("echo \"ready\"; exec sleep 987654\n");
        talk.hear("ready\r\n");
        drop(talk);
        if world.daemon.kind() == Kind::Corten {
            let since = Instant::now();
            let runs = || {
                let done = crictl.finish(&["exec", &id, "pgrep", "-f", "sleep 98765[4]"]).unwrap();
                !done.stdout.is_empty()
            };
            while runs() {
                assert!(since.elapsed() < SOON, "the command outlives its terminal");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

#[test]
fn a_terminal_has_its_size_before_the_command_runs() {
    let Some(world) = World::new().unwrap() else { return };
    let crictl = world.crictl().unwrap();
    let (_, id) = start(&world, "size", &idle());
    for transport in TRANSPORTS {
        for round in 0..20 {
            let line = crictl.line();
            let script =
                format!("stty rows 33 cols 111; exec {line} exec -i -t -r {transport} {id} stty size");
            let done =
                Command::new("script").args(["-q", "-e", "-c", &script, "/dev/null"]).output().unwrap();
            let said = String::from_utf8_lossy(&done.stdout);
            assert!(said.contains("33 111"), "{transport}, round {round}: {said:?}");
        }
    }
}

/// The process of the host that has this word among its arguments.
fn process_with(word: &str) -> String {
    let since = Instant::now();
    loop {
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
            if arguments.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes()) {
                return process.file_name().into_string().unwrap();
            }
        }
        assert!(since.elapsed() < SOON, "no process has {word}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_a_command_leaves_in_a_large_pipe_is_read() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "Corten's patience");
        return;
    }
    let (_, id) = start(&world, "large-pipe", &idle());
    let shell = |script: &str| {
        let cri = world.tokio.block_on(world.daemon.client()).unwrap();
        world.tokio.block_on(cri.shell(&id, script)).unwrap()
    };
    // It fills its pipe until it is killed, and counts what it has written.
    let script = ": >/written; while :; do head -c 65536 /dev/zero || exit 0; echo >>/written; done";
    let cmd = ["sh", "-c", script, "fills-its-pipe"].map(str::to_owned).to_vec();
    let url = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let request = ExecRequest { container_id: id.clone(), cmd, stdout: true, ..ExecRequest::default() };
        cri.runtime.clone().exec(request).await.unwrap().into_inner().url
    });
    let mut raw = Raw::connect(&url, Upgrade::Spdy).unwrap();
    raw.open(&[("streamtype", "error")]).unwrap();
    let stdout = raw.open(&[("streamtype", "stdout")]).unwrap();
    let pid = process_with("fills-its-pipe");
    // Nothing is read, and at last nothing more is written; then its pipe grows, and it goes on.
    let stalled = || {
        let mut last = String::new();
        loop {
            let written = shell("wc -l </written");
            if written == last {
                return written.trim().parse::<usize>().unwrap();
            }
            last = written;
            std::thread::sleep(Duration::from_millis(500));
        }
    };
    let before = stalled();
    let pipe = fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/fd/1")).unwrap();
    nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETPIPE_SZ(1 << 20)).unwrap();
    drop(pipe);
    let written = stalled();
    assert!(written > before + 8, "its pipe does not grow: {before} and {written} pieces");
    let signal = nix::sys::signal::Signal::SIGKILL;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.parse().unwrap()), signal).unwrap();
    let since = Instant::now();
    while fs::exists(format!("/proc/{pid}")).unwrap() {
        assert!(since.elapsed() < SOON, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Longer than the output of what it might have left behind is waited for.
    std::thread::sleep(Duration::from_secs(1));
    let heard = raw.hear_all(stdout).unwrap().len();
    assert!(heard >= written << 16, "{heard} bytes of {}", written << 16);
}
