//! What an exec writes: kept up to a cap, read to the end.

/// One captured output.
#[derive(Debug)]
pub(crate) struct Capture {
    bytes: Vec<u8>,
    cap: usize,
    truncated: bool,
}

impl Capture {
    /// Keeps `cap` bytes.
    pub(crate) fn new(cap: u64) -> Self {
        Self { bytes: Vec::new(), cap: usize::try_from(cap).unwrap_or(usize::MAX), truncated: false }
    }

    /// Takes in what was read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let room = self.cap - self.bytes.len();
        self.truncated |= bytes.len() > room;
        self.bytes.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
    }

    /// Some was thrown away.
    pub(crate) fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// What was kept.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::Capture;

    #[test]
    fn output_beyond_the_cap_is_dropped_and_said_so() {
        let mut capture = Capture::new(5);
        capture.push(b"123");
        capture.push(b"45");
        assert!(!capture.is_truncated());
        capture.push(b"6");
        assert!(capture.is_truncated());
        assert_eq!(capture.take(), b"12345");
    }
}
