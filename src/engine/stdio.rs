//! Streams of containers and commands that the daemon reads and writes itself.

use crate::error::EngineError;
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The reading end of an output. Dropping it tells the writer that nobody listens.
#[derive(Debug)]
pub struct Output(Arc<AsyncFd<OwnedFd>>);

/// The writing end of stdin. Dropping it ends a pipe's input, not a terminal's.
#[derive(Debug)]
pub struct Input(Arc<AsyncFd<OwnedFd>>);

/// A terminal. Once it and its [`Output`] and [`Input`] are dropped, it hangs up on its processes.
#[derive(Debug)]
pub struct Terminal(Arc<AsyncFd<OwnedFd>>);

fn register(descriptor: OwnedFd, interest: Interest) -> Result<Arc<AsyncFd<OwnedFd>>, EngineError> {
    let failed = EngineError::io("watch", "a stream");
    if let Err(error) = rustix::io::ioctl_fionbio(&descriptor, true) {
        return Err(failed(error.into()));
    }
    #[expect(
        deprecated,
        reason = "an owned descriptor keeps what the unsafe successor asks its caller to keep"
    )]
    AsyncFd::with_interest(descriptor, interest).map(Arc::new).map_err(failed)
}

/// The three faces of a terminal's master.
pub(crate) fn terminal(master: OwnedFd) -> Result<(Input, Output, Terminal), EngineError> {
    let master = register(master, Interest::READABLE | Interest::WRITABLE)?;
    Ok((Input(master.clone()), Output(master.clone()), Terminal(master)))
}

impl Output {
    /// From a pipe.
    pub(crate) fn new(pipe: OwnedFd) -> Result<Self, EngineError> {
        register(pipe, Interest::READABLE).map(Self)
    }

    /// Waits for output; 0 is its end.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|descriptor| read(descriptor.get_ref(), buffer)) {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    /// How many bytes are there now.
    pub fn waiting(&self) -> usize {
        // One that cannot tell holds nothing.
        let count = rustix::io::ioctl_fionread(self.0.get_ref()).unwrap_or(0);
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// What is there now: `None` when nothing is, 0 at the end.
    ///
    /// # Errors
    /// The kernel's.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match read(self.0.get_ref(), buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            result => result.map(Some),
        }
    }
}

fn read(descriptor: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::io::read(descriptor, &mut *buffer) {
            Err(Errno::INTR) => {}
            // A terminal whose last process has ended.
            Err(Errno::IO) => return Ok(0),
            result => return result.map_err(io::Error::from),
        }
    }
}

impl Input {
    /// From a pipe.
    pub(crate) fn new(pipe: OwnedFd) -> Result<Self, EngineError> {
        register(pipe, Interest::WRITABLE).map(Self)
    }

    /// Writes everything, as fast as it is taken.
    ///
    /// # Errors
    /// `BrokenPipe` when nobody reads any more.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.0.writable().await?;
            let written = ready.try_io(|descriptor| {
                loop {
                    match rustix::io::write(descriptor.get_ref(), bytes) {
                        Err(Errno::INTR) => {}
                        result => return result.map_err(io::Error::from),
                    }
                }
            });
            if let Ok(count) = written {
                bytes = bytes.get(count?..).unwrap_or_default();
            }
        }
        Ok(())
    }
}

impl Terminal {
    /// Tells the programs how large their window is now (TIOCSWINSZ). A size without columns or rows is no size, and
    /// is left out.
    ///
    /// # Errors
    /// The kernel's.
    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        if columns == 0 || rows == 0 {
            return Ok(());
        }
        let size = rustix::termios::Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(self.0.get_ref(), size).map_err(io::Error::from)
    }
}
