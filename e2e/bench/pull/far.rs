//! A registry that is far away: what it is asked takes its time, and so do its answers.

use e2e::Error;
use e2e::error::Context;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// How much later each connection and each request arrives.
pub(super) const LATENCY: Duration = Duration::from_millis(20);

/// Forwards to the registry, each connection and each request later by the latency, and answers at so many bytes a second a
/// connection. Its threads end with the process.
pub(super) fn far_away(registry: SocketAddr, rate: Option<u64>) -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").at("listen on", "127.0.0.1")?;
    let address = listener.local_addr().at("look at", "127.0.0.1")?;
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || forward(client, registry, rate));
        }
    });
    Ok(address)
}

fn forward(client: TcpStream, registry: SocketAddr, rate: Option<u64>) -> std::io::Result<()> {
    std::thread::sleep(LATENCY);
    let server = TcpStream::connect(registry)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let (up, down) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || pump(up, down, |_| std::thread::sleep(LATENCY)));
    let mut due = Instant::now();
    pump(server, client, move |count| {
        let Some(rate) = rate else { return };
        // What was not used before is lost.
        due = due.max(Instant::now()) + Duration::from_nanos(count * 1_000_000_000 / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    })
}

/// Passes on what comes, each time after the wait for so many bytes.
fn pump(mut from: TcpStream, mut to: TcpStream, mut wait: impl FnMut(u64)) -> std::io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return to.shutdown(Shutdown::Write);
        }
        wait(count as u64);
        to.write_all(&buffer[..count])?;
    }
}
