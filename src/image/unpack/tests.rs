#![allow(clippy::unwrap_used)]

use super::extract::Extractor;
use super::tar::Archive;
use super::testtar::{Builder, Head, seal};
use super::*;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

const LIMITS: Limits = Limits { bytes: 1 << 30, entries: 10_000 };

/// Unpacks below `layer` of a directory in which `canary` lies beside it.
fn unpack(archive: &[u8]) -> (tempfile::TempDir, Result<Unpacked, UnpackError>) {
    unpack_with(archive, LIMITS)
}

fn unpack_with(archive: &[u8], limits: Limits) -> (tempfile::TempDir, Result<Unpacked, UnpackError>) {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("layer")).unwrap();
    let canary = directory.path().join("canary");
    fs::write(&canary, "untouched").unwrap();
    fs::set_permissions(&canary, fs::Permissions::from_mode(0o640)).unwrap();
    let mut archive = Archive::new(archive);
    let mut extractor = Extractor::new(&directory.path().join("layer"), limits).unwrap();
    let result = extractor.run(&mut archive);
    let result = match result {
        Ok(unpacked) => extractor.finish().map(|()| unpacked),
        Err(error) => Err(error),
    };
    assert_eq!(fs::read_to_string(&canary).unwrap(), "untouched");
    assert_eq!(canary.metadata().unwrap().mode() & 0o7777, 0o640);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "something was made beside the layer");
    (directory, result)
}

fn skip() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: devices, owners and trusted xattrs need root");
    }
    !root
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn entries_of_every_type() {
    if skip() {
        return;
    }
    let mut tar = Builder::default();
    tar.dir("./", 0o755);
    tar.dir("bin/", 0o755);
    let setuid = Head { name: b"bin/su", mode: 0o4755, uid: 7, gid: 8, size: 3, ..Default::default() };
    tar.entry(&setuid, b"abc");
    tar.entry(&Head { kind: b'5', name: b"tmp", mode: 0o1777, mtime: 42, ..Default::default() }, b"");
    tar.file("tmp/made-later", b"x");
    tar.link(b'1', "bin/su2", "./bin/su");
    tar.link(b'2', "bin/sh", "/bin/su");
    let device = Head { kind: b'3', name: b"null", mode: 0o666, device: (1, 3), ..Default::default() };
    tar.entry(&device, b"");
    let device =
        Head { kind: b'4', name: b"disk", mode: 0o660, gid: 6, device: (8, 1), ..Default::default() };
    tar.entry(&device, b"");
    tar.entry(&Head { kind: b'6', name: b"fifo", mode: 0o600, ..Default::default() }, b"");
    let (directory, result) = unpack(&tar.end());
    let unpacked = result.unwrap();
    let layer = directory.path().join("layer");
    let look = |path: &str| layer.join(path).symlink_metadata().unwrap();
    let su = look("bin/su");
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.mtime()), (0o4755, 7, 8, 1_000_000_000));
    assert_eq!(su.ino(), look("bin/su2").ino());
    assert_eq!(fs::read_link(layer.join("bin/sh")).unwrap(), Path::new("/bin/su"));
    assert_eq!(look("bin/sh").mtime(), 1_000_000_000);
    let tmp = look("tmp");
    assert_eq!((tmp.mode() & 0o7777, tmp.mtime()), (0o1777, 42), "set after its content");
    let null = look("null");
    assert!(null.file_type().is_char_device() && null.mode() & 0o777 == 0o666);
    assert_eq!(null.rdev(), rustix::fs::makedev(1, 3));
    let disk = look("disk");
    assert!(disk.file_type().is_block_device() && disk.gid() == 6);
    assert!(look("fifo").file_type().is_fifo());
    assert_eq!((unpacked.inodes, unpacked.bytes), (9, 8192));
    assert!(unpacked.implied.is_empty());
}

#[test]
fn whiteouts_become_those_of_overlayfs() {
    if skip() {
        return;
    }
    let mut tar = Builder::default();
    tar.dir("etc", 0o755);
    tar.file("etc/.wh.gone", b"");
    tar.file("etc/.wh..wh..opq", b"");
    tar.file("etc/.wh..wh.plnk", b"");
    // Deleted below and made anew here, in both orders.
    tar.file(".wh.first", b"").dir("first", 0o755);
    tar.dir("second", 0o755).file(".wh.second", b"");
    tar.file(".wh.file", b"").file("file", b"new");
    tar.file("file2", b"new").file(".wh.file2", b"");
    let (directory, result) = unpack(&tar.end());
    result.unwrap();
    let layer = directory.path().join("layer");
    let gone = layer.join("etc/gone").symlink_metadata().unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    for path in ["etc", "first", "second"] {
        let opaque = xattr(&layer.join(path), "trusted.overlay.opaque");
        assert_eq!(opaque.as_deref(), Some(&b"y"[..]), "{path}");
    }
    assert_eq!(fs::read_dir(layer.join("etc")).unwrap().count(), 1);
    for path in ["file", "file2"] {
        assert_eq!(fs::read(layer.join(path)).unwrap(), b"new");
    }
}

#[test]
fn extended_headers() {
    if skip() {
        return;
    }
    let long = "d/".repeat(60) + &"n".repeat(200);
    let mut tar = Builder::default();
    tar.pax(&[("path", long.as_bytes()), ("mtime", b"5.25"), ("uid", b"3000000"), ("size", b"2")]);
    tar.entry(&Head { name: b"short", size: 2, ..Default::default() }, b"hi");
    let gnu = "g".repeat(150) + "\0";
    tar.entry(&Head { kind: b'L', name: b"././@LongLink", size: 151, ..Default::default() }, gnu.as_bytes());
    tar.entry(&Head { kind: b'K', name: b"././@LongLink", size: 151, ..Default::default() }, gnu.as_bytes());
    tar.link(b'2', "x", "y");
    tar.entry(&Head { kind: b'g', name: b"global", size: 18, ..Default::default() }, b"18 path=elsewhere\n");
    tar.pax(&[
        ("SCHILY.xattr.user.note", b"v\0w"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/x"),
        ("SCHILY.xattr.trusted.other", b"x"),
        ("SCHILY.xattr.security.selinux", b"x"),
        ("SCHILY.xattr.security.capability", b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    ]);
    tar.entry(&Head { name: b"caps", uid: 5, mode: 0o755, ..Default::default() }, b"");
    let (directory, result) = unpack(&tar.end());
    let unpacked = result.unwrap();
    let layer = directory.path().join("layer");
    let file = layer.join(&long);
    let meta = file.metadata().unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec(), meta.uid()), (5, 250_000_000, 3_000_000));
    assert_eq!(fs::read(file).unwrap(), b"hi");
    let link = fs::read_link(layer.join("g".repeat(150))).unwrap();
    assert_eq!(link.as_os_str().len(), 150);
    let caps = layer.join("caps");
    assert_eq!(xattr(&caps, "user.note").unwrap(), b"v\0w");
    assert_eq!(xattr(&caps, "security.capability").unwrap().len(), 20, "kept over the change of owner");
    for name in ["trusted.overlay.redirect", "trusted.other", "security.selinux"] {
        assert_eq!(xattr(&caps, name), None, "{name}");
    }
    assert!(!layer.join("elsewhere").exists());
    assert_eq!(unpacked.implied.len(), 61, "sixty directories and the root have no entry");
}

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
            "sparse",
            &|tar| {
                tar.link(b'S', "x", "");
            },
            |e| matches!(e, UnpackError::Tar(TarError::Sparse(_))),
        ),
        (
            "PAX sparse",
            &|tar| {
                tar.pax(&[("GNU.sparse.major", b"1")]).file("x", b"");
            },
            |e| matches!(e, UnpackError::Tar(TarError::Sparse(_))),
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
fn later_entries_replace_earlier_ones_of_any_type() {
    let mut tar = Builder::default();
    tar.dir("a", 0o755).file("a/inside", b"x").file("a", b"file now");
    tar.file("b", b"x").dir("b", 0o700).file("b/inside", b"y");
    tar.link(b'2', "c", "b").dir("c", 0o755).file("c/own", b"z");
    tar.file("d", b"1").file("d", b"2");
    tar.dir("e", 0o755).link(b'2', "e", "b").file("e/through", b"t");
    let (directory, result) = unpack(&tar.end());
    result.unwrap();
    let layer = directory.path().join("layer");
    assert_eq!(fs::read(layer.join("a")).unwrap(), b"file now");
    assert_eq!(fs::read(layer.join("b/inside")).unwrap(), b"y");
    assert!(layer.join("c").symlink_metadata().unwrap().is_dir() && !layer.join("b/own").exists());
    assert_eq!(fs::read(layer.join("d")).unwrap(), b"2");
    assert!(layer.join("b/through").exists());
    assert_eq!(layer.join("b").metadata().unwrap().mode() & 0o777, 0o700);
}

#[test]
fn the_size_of_the_pax_header_wins() {
    // A reader that believes the header's zero would take the content for entries.
    let mut inner = Builder::default();
    inner.file("smuggled", b"x");
    let size = inner.bytes.len().to_string();
    let mut tar = Builder::default();
    tar.pax(&[("size", size.as_bytes())]);
    tar.entry(&Head { name: b"outer", size: 0, ..Default::default() }, &inner.bytes);
    tar.file("after", b"y");
    let (directory, result) = unpack(&tar.end());
    result.unwrap();
    let layer = directory.path().join("layer");
    assert_eq!(fs::read(layer.join("outer")).unwrap(), inner.bytes);
    assert!(layer.join("after").exists() && !layer.join("smuggled").exists());
}

#[test]
fn limits_hold() {
    let mut tar = Builder::default();
    for number in 0..20 {
        tar.file(&format!("f{number}"), b"");
    }
    let (_, result) = unpack_with(&tar.end(), Limits { bytes: 1 << 20, entries: 10 });
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
        // An end between entries, or after the first block of zeros, is one.
        let whole = length % 512 == 0 || length > tar.bytes.len() + 512;
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
