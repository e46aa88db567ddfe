//! Archives that mean harm.

use super::*;

#[test]
fn nothing_leaves_the_layer() {
    let absolute = {
        let mut tar = Builder::default();
        tar.file("/etc/x", b"1").end()
    };
    let (directory, result) = unpack(&absolute);
    result.unwrap();
    assert!(directory.path().join("layer/etc/x").exists(), "a leading slash means the layer's root");

    let mut tar = Builder::default();
    tar.link(b'2', "up", "..").link(b'2', "abs", "/").link(b'2', "deep", "/../../../..");
    tar.file("up/a", b"1").file("abs/b", b"1").file("deep/c", b"1").file("up/canary", b"2");
    let (directory, result) = unpack(&tar.end());
    result.unwrap();
    for name in ["a", "b", "c", "canary"] {
        assert!(directory.path().join("layer").join(name).is_file(), "{name} stays in the root");
    }

    let mut tar = Builder::default();
    tar.link(b'2', "dangling", "/far/../away").file("dangling/x", b"1");
    let (directory, result) = unpack(&tar.end());
    result.unwrap();
    assert!(directory.path().join("layer/away/x").is_file());
}

#[test]
fn what_escapes_is_refused() {
    let refused = |build: &dyn Fn(&mut Builder)| {
        let mut tar = Builder::default();
        build(&mut tar);
        unpack(&tar.end()).1.unwrap_err()
    };
    type Check = fn(&UnpackError) -> bool;
    let path: Check = |e| matches!(e, UnpackError::Tar(TarError::Path(_)));
    let target: Check = |e| matches!(e, UnpackError::Tar(TarError::LinkTarget { .. }));
    type Build<'a> = &'a dyn Fn(&mut Builder);
    let table: Vec<(&str, Build<'_>, Check)> = vec![
        (
            "dot dot",
            &|tar| {
                tar.file("../canary", b"x");
            },
            path,
        ),
        (
            "dot dot within",
            &|tar| {
                tar.file("a/../../canary", b"x");
            },
            path,
        ),
        (
            "hard link outward",
            &|tar| {
                tar.link(b'1', "x", "../canary");
            },
            path,
        ),
        (
            "absolute hard link",
            &|tar| {
                tar.link(b'1', "x", "/canary");
            },
            target,
        ),
        (
            "hard link through a link",
            &|tar| {
                tar.link(b'2', "up", "..").link(b'1', "x", "up/canary");
            },
            target,
        ),
        (
            "hard link to a directory",
            &|tar| {
                tar.dir("d", 0o755).link(b'1', "x", "d");
            },
            target,
        ),
        (
            "hard link to itself",
            &|tar| {
                tar.file("x", b"").link(b'1', "x", "x");
            },
            target,
        ),
        (
            "whiteout of dot dot",
            &|tar| {
                tar.file(".wh...", b"");
            },
            path,
        ),
        (
            "whiteout of nothing",
            &|tar| {
                tar.file("a/.wh.", b"");
            },
            path,
        ),
        (
            "root as a file",
            &|tar| {
                tar.file("./", b"");
            },
            |_| false,
        ),
        (
            "long component",
            &|tar| {
                tar.pax(&[("path", &[b'a'; 300])]).file("x", b"");
            },
            path,
        ),
        (
            "empty link",
            &|tar| {
                tar.link(b'2', "x", "");
            },
            path,
        ),
        (
            "socket",
            &|tar| {
                tar.link(b's', "x", "");
            },
            |e| matches!(e, UnpackError::Tar(TarError::Type { .. })),
        ),
        (
            "a sparse map that is none",
            &|tar| {
                tar.pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"9")]).file("x", b"");
            },
            |e| matches!(e, UnpackError::Tar(TarError::Map)),
        ),
        (
            "sparse and longer than its content",
            &|tar| {
                tar.pax(&[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"0,9")]).file("x", b"12345678");
            },
            |e| matches!(e, UnpackError::Tar(TarError::Map)),
        ),
        (
            "headers without end",
            &|tar| {
                for _ in 0..65 {
                    tar.pax(&[("comment", b"x")]);
                }
                tar.file("x", b"");
            },
            |e| matches!(e, UnpackError::Tar(TarError::Headers(_))),
        ),
        (
            "deeper than any path",
            &|tar| {
                let down = "d/".repeat(1000);
                tar.pax(&[("path", (down.clone() + "f").as_bytes())]).file("x", b"");
                for number in 0..9 {
                    let name = format!("l{number}");
                    let target = if number == 0 { down.clone() } else { format!("l{}/{down}", number - 1) };
                    tar.pax(&[("linkpath", target.as_bytes())]).link(b'2', &name, "x");
                    tar.pax(&[("path", format!("{name}/{down}f").as_bytes())]).file("x", b"");
                }
            },
            |e| matches!(e, UnpackError::Tar(TarError::Long { limit: 4095, .. })),
        ),
        (
            "a gigabyte of PAX",
            &|tar| {
                tar.entry(&Head { kind: b'x', name: b"p", size: 1 << 30, ..Default::default() }, b"");
            },
            |e| matches!(e, UnpackError::Tar(TarError::ExtendedSize(_))),
        ),
        (
            "huge size",
            &|tar| {
                tar.pax(&[("size", b"18446744073709551615")]).file("x", b"");
            },
            |e| matches!(e, UnpackError::Tar(TarError::Number("size"))),
        ),
        (
            "uid",
            &|tar| {
                tar.pax(&[("uid", b"4294967296")]).file("x", b"");
            },
            |e| matches!(e, UnpackError::Tar(TarError::Number("uid"))),
        ),
        (
            "parent is a file",
            &|tar| {
                tar.file("f", b"").file("f/x", b"");
            },
            |e| matches!(e, UnpackError::Io { .. }),
        ),
        (
            "link loop",
            &|tar| {
                tar.link(b'2', "l", "l").file("l/x", b"");
            },
            |e| matches!(e, UnpackError::Io { .. }),
        ),
    ];
    for (name, build, check) in table {
        if name == "root as a file" {
            // A file whose name ends in a slash is a directory of old writers.
            let mut tar = Builder::default();
            build(&mut tar);
            unpack(&tar.end()).1.unwrap();
            continue;
        }
        let error = refused(build);
        assert!(check(&error), "{name}: {error:?}");
    }
}

#[test]
fn limits_hold() {
    let mut tar = Builder::default();
    for number in 0..20 {
        tar.file(&format!("f{number}"), b"");
    }
    let (_, result) = unpack_with(&tar.end(), Limits { entries: 10, ..limits() });
    assert!(matches!(result.unwrap_err(), UnpackError::Limit { what: "entries", limit: 10 }));
}

#[test]
fn damaged_archives_are_refused_and_never_panic() {
    let mut tar = Builder::default();
    tar.dir("d", 0o755).file("d/f", b"some content").link(b'2', "l", "d");
    tar.pax(&[("path", b"p"), ("SCHILY.xattr.user.a", b"b")]).file("q", b"r");
    let good = tar.end();
    for length in (0..good.len()).step_by(61) {
        let (_, result) = unpack(&good[..length]);
        // An end between entries, in what pads a content, or after the first block of zeros, is one.
        let padding = |start: usize, content: usize| (start + content..start + 512).contains(&length);
        let padded = padding(1024, 12) || padding(2560, 35) || padding(3584, 1);
        let whole = length % 512 == 0 || padded || length > tar.bytes.len() + 512;
        assert!(result.is_err() || whole, "cut after {length}");
    }
    // Every byte of the headers flipped, with the checksum made right again.
    for at in 0..tar.bytes.len() {
        let mut bytes = good.clone();
        let start = at / 512 * 512;
        bytes[at] ^= 0xa5;
        let mut block: [u8; 512] = bytes[start..start + 512].try_into().unwrap();
        seal(&mut block);
        bytes[start..start + 512].copy_from_slice(&block);
        let mut archive = Archive::new(bytes.as_slice());
        while let Ok(Some(_)) = archive.next() {}
        if at % 61 == 0 {
            let _ = unpack(&bytes);
        }
    }
}
