//! Programs that cannot be run, and what is said of them.

use std::os::unix::fs::PermissionsExt;

use wire::msg::{ErrorCode, Reply, Request};

use crate::harness::{Pod, busybox, process};

/// An ELF program of this machine's kind that names a linker.
fn linked(linker: &str) -> Vec<u8> {
    let machine: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    let (header, row) = (64_u64, 56_u64);
    let mut program = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (value, width) in [(2, 2), (u64::from(machine), 2), (1, 4), (0, 8), (header, 8), (0, 8), (0, 4)] {
        program.extend_from_slice(&value.to_le_bytes()[..width]);
    }
    for (value, width) in [(header, 2), (row, 2), (1, 2), (0, 2), (0, 2), (0, 2)] {
        program.extend_from_slice(&value.to_le_bytes()[..width]);
    }
    let length = linker.len() as u64 + 1;
    for (value, width) in
        [(3, 4), (4, 4), (header + row, 8), (0, 8), (0, 8), (length, 8), (length, 8), (1, 8)]
    {
        program.extend_from_slice(&value.to_le_bytes()[..width]);
    }
    program.extend_from_slice(linker.as_bytes());
    program.push(0);
    program
}

/// Ends whoever opens a file by its path.
fn without_open() -> Vec<u8> {
    #[cfg(target_arch = "x86_64")]
    let calls = [2_u32, 257];
    #[cfg(target_arch = "aarch64")]
    let calls = [56_u32, 56];
    let instruction = |code: u16, when: u8, value: u32| {
        let ([c0, c1], [k0, k1, k2, k3]) = (code.to_ne_bytes(), value.to_ne_bytes());
        [c0, c1, when, 0, k0, k1, k2, k3]
    };
    [
        instruction(0x20, 0, 0),
        instruction(0x15, 2, calls[0]),
        instruction(0x15, 1, calls[1]),
        instruction(0x06, 0, 0x7fff_0000),
        instruction(0x06, 0, 0x8000_0000),
    ]
    .concat()
}

#[test]
fn a_program_whose_interpreter_is_missing_is_told_apart_from_one_that_is_missing() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let programs: [(&str, Vec<u8>); 4] = [
        ("linked", linked("/lib/ld-none.so.1")),
        ("script", b"#!/usr/bin/bash -e\necho never\n".to_vec()),
        ("dos", b"#!/bin/sh\r\necho never\r\n".to_vec()),
        ("nested", b"#! /bin/linked\n".to_vec()),
    ];
    for (name, bytes) in programs {
        let path = pod.path(&format!("layer/bin/{name}"));
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let filtered = |argv: &[&str]| wire::plan::ProcessPlan { seccomp: without_open(), ..process(argv) };
    let none = "no such file or directory";
    let missing = |interpreter: &str| format!("{none}: its interpreter {interpreter:?} is missing");
    let cases = [
        ("a", process(&["/bin/linked"]), "/bin/linked", missing("/lib/ld-none.so.1")),
        ("b", process(&["linked"]), "linked", missing("/lib/ld-none.so.1")),
        ("c", process(&["/bin/script"]), "/bin/script", missing("/usr/bin/bash")),
        ("d", process(&["/bin/dos"]), "/bin/dos", missing("/bin/sh\r")),
        ("e", process(&["/bin/nested"]), "/bin/nested", missing("/lib/ld-none.so.1")),
        ("f", filtered(&["/bin/linked"]), "/bin/linked", none.to_owned()),
        ("g", filtered(&["/bin"]), "/bin", "permission denied".to_owned()),
    ];
    for (id, process, name, text) in cases {
        let mut plan = pod.plan(id, "");
        plan.process = process.clone();
        pod.create(&plan);
        let text = format!("exec: \"{name}\": {text}");
        match pod.conn.ask(&Request::Start { id: id.to_owned() }) {
            Reply::Error { kind: ErrorCode::Exec, message, .. } => assert_eq!(message, text),
            other => panic!("{other:?}"),
        }
        assert_eq!(pod.conn.exit(id).start_error.as_deref(), Some(text.as_str()));
    }
    let plan = pod.plan("main", "sleep 1000");
    pod.run(&plan);
    match pod.exec("main", &["linked"], 0) {
        Reply::Error { kind: ErrorCode::Exec, errno: 2, message } => {
            assert_eq!(message, format!("exec: \"linked\": {}", missing("/lib/ld-none.so.1")));
        }
        other => panic!("{other:?}"),
    }
}
