//! What attached clients have yet to get: for each the pipes that repeat a container's output, and what did not fit in
//! them. Who waits for whom, and for how long, is decided in `pod`.

use crate::log::Stream;
use crate::pod::ClientFact;

/// The end of a pipe that is written to.
pub(crate) trait Sink {
    /// Takes what it has room for now, and says how much that was; `None` when nobody reads any more.
    fn take(&mut self, bytes: &[u8]) -> Option<usize>;
}

#[derive(Debug)]
struct Pipe<S> {
    /// What it repeats; one without only tells the daemon the end.
    stream: Option<Stream>,
    sink: S,
    /// What did not fit.
    pending: Vec<u8>,
}

/// The pipes to one client.
#[derive(Debug)]
pub(crate) struct Pipes<S>(Vec<Pipe<S>>);

impl<S: Sink> Pipes<S> {
    /// Nothing has been written to them.
    pub(crate) fn new(sinks: impl IntoIterator<Item = (Option<Stream>, S)>) -> Self {
        let pipe = |(stream, sink)| Pipe { stream, sink, pending: Vec::new() };
        Self(sinks.into_iter().map(pipe).collect())
    }

    /// Bytes that have yet to be written.
    pub(crate) fn behind(&self) -> usize {
        self.0.iter().map(|pipe| pipe.pending.len()).sum()
    }

    /// Repeats output, what does not fit later; `None` when there is nothing to say about it.
    pub(crate) fn repeat(&mut self, stream: Stream, bytes: &[u8]) -> Option<ClientFact> {
        let pipe = self.0.iter_mut().find(|pipe| pipe.stream == Some(stream))?;
        let count = if pipe.pending.is_empty() { pipe.sink.take(bytes) } else { Some(0) };
        let Some(count) = count else { return Some(ClientFact::Gone) };
        let rest = bytes.get(count..).filter(|rest| !rest.is_empty())?;
        pipe.pending.extend_from_slice(rest);
        Some(ClientFact::Behind(self.behind()))
    }

    /// One of them has room, or its reader is gone: that alone is told of a pipe that nothing waits for.
    pub(crate) fn flush(&mut self, index: usize) -> ClientFact {
        let Some(pipe) = self.0.get_mut(index).filter(|pipe| !pipe.pending.is_empty()) else {
            return ClientFact::Gone;
        };
        let Some(count) = pipe.sink.take(&pipe.pending) else { return ClientFact::Gone };
        pipe.pending.drain(..count);
        if pipe.pending.is_empty() {
            pipe.pending = Vec::new();
        }
        ClientFact::Behind(self.behind())
    }

    /// Each of them, and whether something waits for room in it.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (&S, bool)> {
        self.0.iter().map(|pipe| (&pipe.sink, !pipe.pending.is_empty()))
    }

    /// Lets go of them.
    pub(crate) fn into_ends(self) -> impl Iterator<Item = S> {
        self.0.into_iter().map(|pipe| pipe.sink)
    }
}
