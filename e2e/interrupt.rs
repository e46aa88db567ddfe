//! Leaves nothing behind when a person presses ^C or the time is up.

use crate::error::{Context, Error};
use crate::isolation::Sweeper;
use crate::kernel_trace;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Waits on a thread of its own for SIGINT, SIGTERM, or the end of the time; then sweeps and ends the process.
///
/// # Errors
/// When the thread cannot be set up.
pub fn end_on_signals(sweeper: Sweeper, limit: Duration) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().at("start", "tokio")?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        let listen = |kind| signal(kind).at("wait for", "signals");
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        let code = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
                () = tokio::time::sleep(limit) => {
                    eprintln!("the time limit of {limit:?} is reached; ending");
                    124
                }
            }
        });
        eprintln!("cleaning up");
        sweeper.sweep();
        kernel_trace::remove(&kernel_trace::own());
        #[allow(
            clippy::disallowed_methods,
            reason = "the main thread is deep in something that must end now"
        )]
        std::process::exit(code);
    });
    Ok(())
}
