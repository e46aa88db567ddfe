//! Layers that are small and ask for much work: none gets more processor time than it was sent bytes for.

use super::super::gzip::Gzip;
use super::*;
use flate2::write::GzEncoder;
use nix::time::{ClockId, clock_gettime};
use std::io::{BufReader, Write as _};

/// What the code costs more where it is not optimised.
const DEBUG: f64 = if cfg!(debug_assertions) { 3.0 } else { 1.0 };

fn seconds() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    std::time::Duration::from(time).as_secs_f64()
}

/// Unpacks on a thread of its own, whose processor time nobody else uses; whether it took no more than it may.
fn check(name: &str, build: &dyn Fn(&mut Builder)) {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut tar = Builder::default();
    build(&mut tar);
    encoder.write_all(&tar.end()).unwrap();
    let bytes = encoder.finish().unwrap();
    drop(tar);
    let (spent, result) = std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            // A disk's filesystem has costs of its own, which are not what is looked at here.
            let memory = Path::new("/dev/shm");
            let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
            let directory = directory.unwrap();
            let limits = Limits::new(bytes.len() as u64, 1 << 32, 4_000_000);
            let begin = seconds();
            let mut archive = Archive::new(BufReader::with_capacity(256 << 10, Gzip::new(&bytes[..])));
            archive = archive.limited(limits.records);
            let mut extractor = Extractor::new(directory.path(), limits).unwrap();
            let result = extractor.run(&mut archive);
            let result = result.and_then(|unpacked| extractor.finish().map(|()| unpacked.inodes));
            (seconds() - begin, result)
        });
        work.join().unwrap()
    });
    let size = bytes.len() as f64 / f64::from(1 << 20);
    let may = DEBUG * (3.0 * size + 1.0);
    eprintln!("{name}: {spent:.2} s for {} bytes, {may:.2} s allowed: {result:?}", bytes.len());
    assert!(spent <= may, "{name}: {spent} s for {} bytes: {result:?}", bytes.len());
}

fn deep(names: usize) -> String {
    "d/".repeat(names)
}

#[test]
fn many_attributes_on_one_file() {
    let names: Vec<String> = (0..40_000).map(|number| format!("SCHILY.xattr.a{number}")).collect();
    let records: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    check("attributes", &|tar| {
        for number in 0..4 {
            tar.pax(&records).file(&format!("f{number}"), b"");
        }
    });
}

#[test]
fn records_and_headers_without_end() {
    let records: Vec<(&str, &[u8])> = (0..100_000).map(|_| ("a", &b"b"[..])).collect();
    check("records", &|tar| {
        for number in 0..12 {
            tar.pax(&records).file(&format!("f{number}"), b"");
        }
    });
    check("headers", &|tar| {
        for _ in 0..10_000 {
            tar.pax(&[("a", b"b")]);
        }
    });
}

#[test]
fn more_deep_directories_than_are_kept_open() {
    check("deep directories", &|tar| {
        for round in 0..12 {
            for number in 0..34 {
                let path = format!("{number}/{}f{round}", deep(1900));
                tar.pax(&[("path", path.as_bytes())]).file("x", b"");
            }
        }
    });
}

#[test]
fn links_through_links() {
    check("links", &|tar| {
        tar.pax(&[("path", (deep(1900) + "f").as_bytes())]).file("x", b"");
        tar.link(b'2', "l0", ".");
        for link in 1..38 {
            let target = format!("{}{}l{}", deep(600), "../".repeat(600), link - 1);
            tar.pax(&[("linkpath", target.as_bytes())]).link(b'2', &format!("l{link}"), "x");
        }
        for number in 0..1000 {
            let path = format!(
                "l37/{}{}{number}",
                "./".repeat(number % 300),
                if number % 2 == 0 { "e" } else { "l36/e" }
            );
            tar.pax(&[("path", path.as_bytes())]).file("x", b"");
            tar.link(b'2', "again", "l37").file(&format!("again/f{number}"), b"");
        }
    });
}

#[test]
fn directories_that_are_replaced_again_and_again() {
    check("replacements", &|tar| {
        for number in 0..12_000 {
            tar.dir(&format!("known/{number}"), 0o755);
        }
        for _ in 0..3_000 {
            tar.dir("again", 0o755).file("again", b"");
        }
    });
    check("replacements below a deep one", &|tar| {
        for _ in 0..1_000 {
            tar.pax(&[("path", (deep(1900) + "x").as_bytes())]).file("x", b"");
            tar.link(b'2', "x", "d").file("x", b"");
        }
    });
}

#[test]
fn directories_without_entries() {
    check("implied", &|tar| {
        for number in 0..500 {
            let path = format!("{number}/{}f", deep(1900));
            tar.pax(&[("path", path.as_bytes())]).file("x", b"");
        }
    });
}

#[test]
fn the_same_entry_again_and_again() {
    check("repeated", &|tar| {
        for _ in 0..60_000 {
            tar.dir("d", 0o755);
        }
    });
}

#[test]
fn long_ways_to_described_directories() {
    let above = deep(1870);
    check("described", &|tar| {
        for number in 0..3_000 {
            tar.pax(&[("path", format!("{above}{number}").as_bytes())]).dir("x", 0o755);
        }
    });
}
