//! Forms of archives that few writers use, and that others read.

use super::*;

fn content(layer: &Path, name: &str) -> Vec<u8> {
    fs::read(layer.join(name)).unwrap()
}

/// Two blocks of content in a file of 1 MiB and some.
fn holes() -> (Vec<u8>, Vec<u8>) {
    let (mut whole, mut data) = (vec![0u8; (1 << 20) + 100], vec![1u8; 512]);
    data.extend_from_slice(&[2; 600]);
    whole[4096..4608].fill(1);
    whole[1 << 19..(1 << 19) + 600].fill(2);
    (whole, data)
}

#[test]
fn sparse_files_of_every_form() {
    let (whole, data) = holes();
    let size = whole.len().to_string();
    let mut tar = Builder::default();
    tar.pax(&[
        ("GNU.sparse.size", size.as_bytes()),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"4096"),
        ("GNU.sparse.numbytes", b"512"),
        ("GNU.sparse.offset", b"524288"),
        ("GNU.sparse.numbytes", b"600"),
    ]);
    tar.file("by-0.0", &data);
    tar.pax(&[
        ("GNU.sparse.size", size.as_bytes()),
        ("GNU.sparse.map", b"4096,512,524288,600,1048676,0"),
        ("GNU.sparse.name", b"by-0.1"),
    ]);
    tar.file("GNUSparseFile.1/by-0.1", &data);
    tar.pax(&[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"by-1.0"),
        ("GNU.sparse.realsize", size.as_bytes()),
    ]);
    let mut map = b"2\n4096\n512\n524288\n600\n".to_vec();
    map.resize(512, 0);
    tar.file("GNUSparseFile.1/by-1.0", &[map, data.clone()].concat());
    old(&mut tar, &whole, &data);
    tar.file("after", b"it");
    let (directory, result) = unpack(&tar.end());
    let unpacked = result.unwrap();
    let layer = directory.path().join("layer");
    for name in ["by-0.0", "by-0.1", "by-1.0", "by-old"] {
        assert!(content(&layer, name) == whole, "{name}");
        assert!(layer.join(name).metadata().unwrap().blocks() * 512 < 100_000, "{name} keeps its holes");
    }
    assert_eq!(content(&layer, "after"), b"it");
    assert!(unpacked.lossy && unpacked.bytes < 100_000, "{unpacked:?}");
}

/// The old format, with a block that goes on.
fn old(tar: &mut Builder, whole: &[u8], data: &[u8]) {
    let head = Head { kind: b'S', name: b"by-old", size: data.len() as u64, ..Default::default() };
    let mut block = super::super::testtar::header(&head);
    block[257..265].copy_from_slice(b"ustar  \0");
    block[329..500].fill(0);
    let octal =
        |field: &mut [u8], number: usize| field.copy_from_slice(format!("{number:011o}\0").as_bytes());
    octal(&mut block[386..398], 4096);
    octal(&mut block[398..410], 512);
    block[482] = 1;
    octal(&mut block[483..495], whole.len());
    seal(&mut block);
    let mut more = [0u8; 512];
    octal(&mut more[..12], 1 << 19);
    octal(&mut more[12..24], 600);
    tar.bytes.extend_from_slice(&block);
    tar.content(&more).content(data);
}

#[test]
fn the_padding_of_the_last_entry_may_be_missing() {
    let mut tar = Builder::default();
    tar.file("first", b"1").file("last", b"not a whole block");
    let end = tar.bytes.len() - 512 + 17;
    let (directory, result) = unpack(&tar.bytes[..end]);
    result.unwrap();
    assert_eq!(content(&directory.path().join("layer"), "last"), b"not a whole block");
    assert!(unpack(&tar.bytes[..end - 1]).1.is_err(), "but no content");
}

#[test]
fn whiteouts_of_the_longest_names() {
    if skip() {
        return;
    }
    for length in [251, 252, 255] {
        let name = "n".repeat(length);
        let mut tar = Builder::default();
        tar.pax(&[("path", format!("d/.wh.{name}").as_bytes())]).file("x", b"");
        let (directory, result) = unpack(&tar.end());
        result.unwrap();
        let gone = directory.path().join("layer/d").join(&name).symlink_metadata().unwrap();
        assert!(gone.file_type().is_char_device(), "{length}");
    }
    for path in [format!("d/.wh.{}", "n".repeat(256)), format!(".wh.{}/x", "n".repeat(252))] {
        let mut tar = Builder::default();
        tar.pax(&[("path", path.as_bytes())]).file("x", b"");
        assert!(matches!(unpack(&tar.end()).1, Err(UnpackError::Tar(TarError::Path(_)))), "{path}");
    }
}

/// As with containerd: a layer is unpacked once, whatever lies below it in one image or another.
#[test]
fn whiteouts_are_kept_whether_a_layer_below_has_their_directory_or_not() {
    if skip() {
        return;
    }
    let mut tar = Builder::default();
    tar.dir("own", 0o755).file("own/x", b"1").file("own/.wh.y", b"").file("implied/.wh.z", b"");
    let (directory, result) = unpack(&tar.end());
    result.unwrap();
    let layer = directory.path().join("layer");
    for path in ["own/y", "implied/z"] {
        let whiteout = layer.join(path).symlink_metadata().unwrap();
        assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0, "{path}");
    }
    assert_eq!(content(&layer, "own/x"), b"1");
}

#[test]
fn whiteouts_below_what_hides_everything_anyway() {
    if skip() {
        return;
    }
    let mut tar = Builder::default();
    tar.dir("kept", 0o755).file("kept/x", b"1");
    tar.link(b'2', "link", "kept").file("link/.wh.y", b"").file("link/.wh..wh..opq", b"");
    tar.file("file", b"2").file("file/.wh.y", b"").file("file/sub/.wh.y", b"");
    tar.file(".wh.gone", b"").file("gone/.wh.y", b"").file(".wh.anew", b"").file("anew/x", b"3");
    let (directory, result) = unpack(&tar.end());
    let unpacked = result.unwrap();
    let layer = directory.path().join("layer");
    let names = |path: &str| fs::read_dir(layer.join(path)).unwrap().count();
    assert_eq!((names("kept"), content(&layer, "file")), (1, b"2".to_vec()));
    assert_eq!(xattr(&layer.join("kept"), "trusted.overlay.opaque"), None);
    assert!(layer.join("gone").symlink_metadata().unwrap().file_type().is_char_device());
    let anew = xattr(&layer.join("anew"), "trusted.overlay.opaque");
    assert_eq!(anew.as_deref(), Some(&b"y"[..]), "what was deleted below and made anew");
    assert_eq!(unpacked.implied.texts(usize::MAX).unwrap(), ["", "anew"]);
}

#[test]
fn directories_look_as_described_however_late_their_content_comes() {
    if skip() {
        return;
    }
    let mut tar = Builder::default();
    let dir = |name: &'static str, mode| {
        let name = name.as_bytes();
        Head { kind: b'5', name, mode, uid: 5, gid: 50, mtime: 77, ..Default::default() }
    };
    tar.entry(&dir("./", 0o711), b"").entry(&dir("set", 0o2555), b"").entry(&dir("set/closed", 0), b"");
    // More directories than are kept open, and then back.
    for number in 0..50 {
        tar.file(&format!("other{number}/x"), b"");
    }
    tar.file("set/closed/x", b"1").file("set/x", b"2").dir("set/plain", 0o755).file("late/x", b"3");
    tar.entry(&dir("late", 0o700), b"").file("late/y", b"4");
    let (directory, result) = unpack(&tar.end());
    let unpacked = result.unwrap();
    let layer = directory.path().join("layer");
    for (path, mode) in [("", 0o711), ("set", 0o2555), ("set/closed", 0), ("late", 0o700)] {
        let found = layer.join(path).metadata().unwrap();
        let found = (found.mode() & 0o7777, found.uid(), found.gid(), found.mtime());
        assert_eq!(found, (mode, 5, 50, 77), "{path}");
    }
    let plain = layer.join("set/plain").metadata().unwrap();
    assert_eq!((plain.mode() & 0o7777, plain.gid()), (0o755, 0), "nothing is inherited");
    assert_eq!(layer.join("set/x").metadata().unwrap().gid(), 0);
    assert_eq!(unpacked.implied.texts(usize::MAX).unwrap().len(), 50);
    // One a directory and one a file: 3 + 100 + 2 + 1 + 1 + 2.
    assert_eq!(unpacked.inodes, 109);
}

#[test]
fn directories_that_go_are_not_implied_any_more() {
    let mut tar = Builder::default();
    tar.file("a/b/x", b"").file("a/c/x", b"").file("a/b", b"now a file").file("a/d/x", b"");
    tar.link(b'2', "l", "a").file("l/e/x", b"").file("a/e/y", b"");
    let (_, result) = unpack(&tar.end());
    assert_eq!(result.unwrap().implied.texts(usize::MAX).unwrap(), ["", "a", "a/c", "a/d", "a/e"]);
}

#[test]
fn attributes_that_do_not_fit_are_no_full_disk() {
    if skip() {
        return;
    }
    let mut tar = Builder::default();
    tar.pax(&[("SCHILY.xattr.user.large", &[b'x'; 60_000])]).file("file", b"");
    let (_, result) = unpack(&tar.end());
    // Not every filesystem is so small.
    if let Err(error) = result {
        assert!(matches!(error, UnpackError::XattrRoom { length: 60_000, .. }), "{error}");
        assert_eq!(error.kind(), model::ErrorKind::FailedPrecondition);
    }
}
