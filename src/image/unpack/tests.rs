#![allow(clippy::unwrap_used)]

mod cost;
mod forms;
mod hostile;

use super::extract::Extractor;
use super::tar::Archive;
use super::testtar::{Builder, Head, seal};
use super::*;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

fn limits() -> Limits {
    Limits { entries: 10_000, ..Limits::new(1 << 20, 1 << 30, 10_000) }
}

/// Unpacks below `layer` of a directory in which `canary` lies beside it.
fn unpack(archive: &[u8]) -> (tempfile::TempDir, Result<Unpacked, UnpackError>) {
    unpack_with(archive, limits())
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
    !need::root("devices, owners and trusted xattrs need root")
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
    assert_eq!(
        unpacked.implied.texts(usize::MAX).unwrap().len(),
        61,
        "sixty directories and the root have no entry"
    );
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
