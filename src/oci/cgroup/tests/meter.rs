//! Usage that is read again and again.

use super::{Parent, run_in};
use crate::cgroup::{CgroupPath, Host, Reading, Resources, Since, Stats};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// One cgroup whose files are files.
struct Files {
    _root: TempDir,
    dir: PathBuf,
    host: Host,
    path: CgroupPath,
}

impl Files {
    fn new(unified: bool) -> Self {
        let root = tempfile::tempdir().unwrap();
        let kind = if unified { "cgroup2 cgroup2 rw" } else { "cgroup cgroup rw,cpuacct,memory,pids" };
        let mount = format!("30 25 0:26 / {} rw - {kind}\n", root.path().display());
        let own = if unified { "0::/\n" } else { "1:cpuacct,memory,pids:/\n" };
        let dir = root.path().join("one");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(root.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        let host = Host::from_proc(&mount, own).unwrap();
        Self { host, path: CgroupPath::parse("test", "/one").unwrap(), dir, _root: root }
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.dir.join(file), text).unwrap();
    }

    fn v1() -> Self {
        let files = Self::new(false);
        for (file, text) in [
            ("cpuacct.usage", "77\n"),
            ("memory.usage_in_bytes", "100\n"),
            ("memory.stat", "total_inactive_file 30\ntotal_rss 20\n"),
            ("pids.current", "3\n"),
        ] {
            files.write(file, text);
        }
        files
    }

    fn v2() -> Self {
        let files = Self::new(true);
        for (file, text) in [
            ("cpu.stat", "usage_usec 7\n"),
            ("memory.current", "100\n"),
            ("memory.stat", "anon 20\ninactive_file 30\n"),
            ("pids.current", "3\n"),
            ("io.pressure", "some avg10=1.00 avg60=0.00 avg300=0.00 total=1\n"),
        ] {
            files.write(file, text);
        }
        files
    }
}

fn whole(reading: Option<Reading>) -> Stats {
    match reading {
        Some(Reading::Whole(stats)) => stats,
        other => panic!("{other:?}"),
    }
}

fn idle(reading: Option<Reading>) -> Stats {
    match reading {
        Some(Reading::Idle(stats)) => stats,
        other => panic!("{other:?}"),
    }
}

#[test]
fn where_nothing_ran_the_costly_files_are_not_read() {
    for (files, stat, cpu, memory) in [
        (Files::v1(), "total_inactive_file 31\ntotal_rss 21\n", "cpuacct.usage", "memory.usage_in_bytes"),
        (Files::v2(), "inactive_file 31\nanon 21\n", "cpu.stat", "memory.current"),
    ] {
        let meter = files.host.meter(&files.path).unwrap();
        let first = whole(meter.read_since(Since::Nothing).unwrap());
        assert_eq!((first.memory_working_set, first.memory_rss, first.pids), (70, 20, 3));
        files.write("memory.stat", stat);
        files.write("pids.current", "4\n");
        assert_eq!(idle(meter.read_since(Since::Last(&first)).unwrap()), first);
        assert_eq!(idle(meter.read_since(Since::Idle(&first)).unwrap()), first);
        // Memory that others took from it.
        files.write(memory, "99\n");
        let second = whole(meter.read_since(Since::Last(&first)).unwrap());
        assert_eq!((second.memory_working_set, second.memory_rss, second.pids), (68, 21, 4));
        files.write(cpu, if cpu == "cpu.stat" { "usage_usec 8\n" } else { "78\n" });
        let third = whole(meter.read_since(Since::Last(&second)).unwrap());
        assert!(third.cpu_usage_ns > second.cpu_usage_ns);
        assert_eq!(meter.read().unwrap(), Some(third));
    }
}

#[test]
fn a_narrow_one_tells_whether_something_ran_with_fewer_descriptors() {
    for (files, stat, cpu, kept) in
        [(Files::v1(), "total_rss 21\n", "cpuacct.usage", 2), (Files::v2(), "anon 21\n", "cpu.stat", 5)]
    {
        let mut meter = files.host.meter(&files.path).unwrap();
        let first = whole(meter.read_since(Since::Nothing).unwrap());
        let before = meter.descriptors();
        meter.narrow();
        assert!(meter.descriptors() < before && meter.descriptors() <= kept, "{before}");
        files.write("memory.stat", stat);
        let idle = |since| meter.read_if_idle(since).unwrap();
        assert_eq!(idle(Since::Nothing), None);
        assert_eq!([Since::Last(&first), Since::Idle(&first)].map(idle), [Some(Reading::Idle(first)); 2]);
        files.write(cpu, if cpu == "cpu.stat" { "usage_usec 8\n" } else { "78\n" });
        assert_eq!(idle(Since::Last(&first)), None);
    }
}

#[test]
fn pressure_is_read_whether_something_ran_or_not() {
    let files = Files::v2();
    let meter = files.host.meter(&files.path).unwrap();
    let first = whole(meter.read_since(Since::Nothing).unwrap());
    files.write("io.pressure", "some avg10=0.50 avg60=0.00 avg300=0.00 total=2\n");
    for since in [Since::Last(&first), Since::Idle(&first)] {
        let pressure = idle(meter.read_since(since).unwrap()).io_pressure.unwrap();
        assert_eq!((pressure.some.total_us, pressure.some.avg10.to_bits()), (2, 0.5f64.to_bits()));
    }
}

#[test]
fn where_no_cpu_time_is_counted_nothing_is_taken_for_idle() {
    let files = Files::v1();
    std::fs::remove_file(files.dir.join("cpuacct.usage")).unwrap();
    let meter = files.host.meter(&files.path).unwrap();
    let first = whole(meter.read_since(Since::Nothing).unwrap());
    files.write("memory.stat", "total_rss 21\n");
    assert_eq!(whole(meter.read_since(Since::Last(&first)).unwrap()).memory_rss, 21);
}

#[test]
fn a_real_cgroup_that_sleeps_is_idle_and_one_that_works_is_not() {
    let Some(parent) = Parent::new("idle") else { return };
    let (host, id) = (&parent.host, parent.path.join("container"));
    let plan = host.create(&id, &Resources::default()).unwrap();
    let fifo = tempfile::tempdir().unwrap();
    let fifo = fifo.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let script =
        format!("exec 3<>'{}'; echo ready; read -r line <&3; echo $line; read -r line <&3", fifo.display());
    let mut child = run_in(&plan, &script);
    let (meter, above) = (host.meter(&id).unwrap(), host.meter(&parent.path).unwrap());
    let read = || {
        let above = above.read().unwrap().unwrap();
        (above, meter.read_since(Since::Nothing).unwrap().unwrap().stats())
    };
    let first = sleeping(&read);
    let again = idle(meter.read_since(Since::Last(&first.1)).unwrap());
    assert_eq!(again, Stats { page_faults: again.page_faults, ..first.1 });
    idle(above.read_since(Since::Last(&first.0)).unwrap());
    tell(&fifo);
    let second = sleeping(&read);
    whole(meter.read_since(Since::Last(&first.1)).unwrap());
    whole(above.read_since(Since::Last(&first.0)).unwrap());
    assert!(second.0.cpu_usage_ns > first.0.cpu_usage_ns && second.1.cpu_usage_ns > first.1.cpu_usage_ns);
    child.kill().unwrap();
    child.wait().unwrap();
    host.remove(&id).unwrap();
    assert_eq!(meter.read_since(Since::Last(&second.1)).unwrap(), None, "it is gone");
}

/// A reading after which nothing runs until it is told to.
fn sleeping(read: &dyn Fn() -> (Stats, Stats)) -> (Stats, Stats) {
    let mut last = read();
    for _ in 0..500 {
        std::thread::sleep(std::time::Duration::from_millis(10));
        let next = read();
        if next.0.cpu_usage_ns == last.0.cpu_usage_ns && next.1.cpu_usage_ns == last.1.cpu_usage_ns {
            return next;
        }
        last = next;
    }
    panic!("it never sleeps")
}

fn tell(fifo: &Path) {
    use std::io::Write;
    std::fs::OpenOptions::new().write(true).open(fifo).unwrap().write_all(b"go\n").unwrap();
}
