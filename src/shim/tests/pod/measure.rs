//! Measurements, not tests: `CORTEN_MEASURE=1 cargo test -p shim --test pod -- --nocapture measure`, with
//! `CORTEN_TEST_SHIM` naming the optimised binary.

use std::time::{Duration, Instant};

use wire::msg::{Reply, Request};

use crate::harness::{Pod, busybox};

/// The median, and the tenth fastest of a hundred: what it takes where nobody else wants the machine.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    format!("p50 {:?}, p10 {:?}", times[times.len() / 2], times[times.len() / 10])
}

/// Proportional set size of a process in KiB, and its private dirty part.
fn memory(pid: i32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    (field("Pss:"), field("Private_Dirty:"))
}

#[test]
fn measure_launches() {
    if std::env::var_os("CORTEN_MEASURE").is_none() {
        need::skip(need::Need::Measurement, "a measurement, made where CORTEN_MEASURE is set");
        return;
    }
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let (mut creates, mut starts, mut execs, mut removes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..200 {
        let id = format!("c{number}");
        let mut plan = pod.plan(&id, "");
        plan.process.argv = [&b"/bin/sleep"[..], b"1000"].map(<[u8]>::to_vec).to_vec();
        let paths =
            ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware", "/proc/acpi"];
        plan.masked_paths = paths.map(|path| path.as_bytes().to_vec()).to_vec();
        plan.readonly_paths =
            ["/proc/sys", "/proc/irq", "/proc/bus"].map(|path| path.as_bytes().to_vec()).to_vec();
        let since = Instant::now();
        pod.create(&plan);
        creates.push(since.elapsed());
        let since = Instant::now();
        pod.start(&id);
        starts.push(since.elapsed());
        for timeout in [0, 10_000] {
            let mut exec = pod.exec_plan(&id, &["/bin/cat", "/dev/null"], timeout);
            exec.drain_ms = 0;
            let since = Instant::now();
            let reply = pod.conn.ask(&Request::Exec(exec));
            assert!(matches!(reply, Reply::Exec { exit_code: 0, .. }), "{reply:?}");
            execs.push((timeout, since.elapsed()));
        }
        let since = Instant::now();
        assert_eq!(pod.conn.ask(&Request::Remove { id }), Reply::Ok);
        removes.push(since.elapsed());
    }
    let of =
        |wanted: u64| execs.iter().filter(|(timeout, _)| *timeout == wanted).map(|(_, took)| *took).collect();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pod.shim.pid)).unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(4);
    let ticks: Vec<u64> = fields.map(|field| field.parse().unwrap()).collect();
    println!(
        "CPU of the shim {} ms, of its children {} ms",
        10 * (ticks[0] + ticks[1]),
        10 * (ticks[2] + ticks[3])
    );
    println!("create to ready   {}", spread(creates));
    println!("start to exec     {}", spread(starts));
    println!("exec              {}", spread(of(0)));
    println!("exec with timeout {}", spread(of(10_000)));
    println!("kill and remove   {}", spread(removes));
}

#[test]
fn measure_memory() {
    if std::env::var_os("CORTEN_MEASURE").is_none() {
        need::skip(need::Need::Measurement, "a measurement, made where CORTEN_MEASURE is set");
        return;
    }
    let Some(busybox) = busybox() else { return };
    let mut pods: Vec<Pod> = (0..30).map(|_| Pod::new(&busybox)).collect();
    for pod in &mut pods {
        let plan = pod.plan("c", "echo started; while :; do sleep 1000; done");
        pod.run(&plan);
    }
    std::thread::sleep(Duration::from_millis(500));
    let sizes: Vec<(u64, u64)> = pods.iter().map(|pod| memory(pod.shim.pid)).collect();
    let count = sizes.len() as u64;
    let (pss, dirty) = sizes.iter().fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
    println!(
        "shim with one container, mean of {count}: PSS {} KiB, private dirty {} KiB",
        pss / count,
        dirty / count
    );
    let smaps = std::fs::read_to_string(format!("/proc/{}/smaps", pods[0].shim.pid)).unwrap();
    for line in smaps
        .lines()
        .filter(|line| line.contains('-') || line.starts_with("Pss:") || line.starts_with("Private_Dirty"))
    {
        println!("  {line}");
    }
}
