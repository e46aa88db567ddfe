//! A way to a server on which a test has a hand: what the server sends comes through when the test lets it.

use crate::error::{Context as _, Error};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

/// Takes connections for a server, until the process ends, and returns where. After each piece that the server has sent
/// on one of them `passed` is called, with the length of the piece and of all so far: the next one waits for it.
///
/// # Errors
/// No port to be had.
pub fn to(
    server: SocketAddr,
    passed: impl Fn(usize, usize) + Send + Sync + 'static,
) -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").at("listen on", "127.0.0.1:0")?;
    let address = listener.local_addr().at("ask for the address of", "a listener")?;
    let passed = Arc::new(passed);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(server) else { continue };
            let (Ok(up), Ok(down)) = (client.try_clone(), server.try_clone()) else { continue };
            let passed = Arc::clone(&passed);
            std::thread::spawn(move || pump(up, down, |_, _| {}));
            std::thread::spawn(move || pump(server, client, &*passed));
        }
    });
    Ok(address)
}

fn pump(mut from: TcpStream, mut to: TcpStream, passed: impl Fn(usize, usize)) {
    let (mut buffer, mut all) = (vec![0; 64 << 10], 0);
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
        all += read;
        passed(read, all);
    }
    // Either side may have gone first.
    let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
}
