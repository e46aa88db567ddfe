//! What a pod's interfaces carry: `/proc/<supervisor>/net/dev`, which is the table of the pod's network namespace
//! because the supervisor lives there. The file is kept open, so a reading is one system call.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};
use sys::sync::lock;

/// The interface that the pod's address belongs to.
const DEFAULT: &str = net::IFNAME;
const BUFFER: usize = 16 << 10;
/// Enough for a pod with few interfaces.
const SHORT: usize = 4 << 10;
/// The kernel fills at least a page with lines of less than 400 bytes: where it gives less than this, there are no more.
/// To be told so costs as much as the reading.
const LAST: usize = 2 << 10;

/// Traffic of an interface since it was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// Its name in the pod.
    pub name: String,
    /// What came in.
    pub received: Flow,
    /// What went out.
    pub sent: Flow,
}

/// One direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets that were lost to errors.
    pub errors: u64,
    /// Packets that were dropped.
    pub dropped: u64,
}

/// The open file. It keeps the network namespace alive, so it must be closed before the pod is taken down.
#[derive(Default)]
pub(crate) struct Traffic(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    Unopened,
    Open(File, Option<Last>),
    Closed,
}

/// What was read last: most pods carry nothing from one question to the next, and what the table says is the same then.
struct Last {
    text: Box<[u8]>,
    interfaces: Arc<[Interface]>,
}

impl Traffic {
    /// The interfaces, the pod's own first and without the loopback; none once it is closed.
    pub(crate) fn read(&self, process: i32) -> io::Result<Arc<[Interface]>> {
        let mut state = lock(&self.0);
        if let State::Unopened = *state {
            *state = State::Open(File::open(format!("/proc/{process}/net/dev"))?, None);
        }
        let State::Open(file, last) = &mut *state else { return Ok(Arc::default()) };
        let (mut short, mut long) = ([0; SHORT], Vec::new());
        let text = whole(&mut short, &mut long, |buffer, offset| file.read_at(buffer, offset))?;
        if let Some(last) = last.as_ref().filter(|last| *last.text == *text) {
            return Ok(last.interfaces.clone());
        }
        let interfaces: Arc<[Interface]> = parse(&String::from_utf8_lossy(text)).into();
        // A long table is not worth the memory.
        *last = (text.len() < LAST).then(|| Last { text: text.into(), interfaces: interfaces.clone() });
        Ok(interfaces)
    }

    /// Closes the file for good.
    pub(crate) fn close(&self) {
        *lock(&self.0) = State::Closed;
    }
}

/// All of the table, as far as the buffer takes it.
fn whole<'a>(
    short: &'a mut [u8; SHORT],
    long: &'a mut Vec<u8>,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<&'a [u8]> {
    let mut length = read(short, 0)?;
    let begin = short.get(..length).unwrap_or_default();
    if length < LAST {
        return Ok(begin);
    }
    long.extend_from_slice(begin);
    long.resize(BUFFER, 0);
    loop {
        let count = read(long.get_mut(length..).unwrap_or_default(), length as u64)?;
        length += count;
        if count < LAST {
            return Ok(long.get(..length).unwrap_or_default());
        }
    }
}

fn parse(text: &str) -> Vec<Interface> {
    let mut interfaces: Vec<Interface> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("lo:"))
        .filter_map(|line| {
            let (name, numbers) = line.split_once(':')?;
            let mut numbers = numbers.split_ascii_whitespace().map_while(|number| number.parse().ok());
            let mut flow = |skipped: usize| {
                let (bytes, packets) = (numbers.nth(skipped)?, numbers.next()?);
                Some(Flow { bytes, packets, errors: numbers.next()?, dropped: numbers.next()? })
            };
            // Of either direction there are eight numbers.
            Some(Interface { name: name.trim().to_owned(), received: flow(0)?, sent: flow(4)? })
        })
        .collect();
    interfaces.sort_by_key(|interface| interface.name != DEFAULT);
    interfaces
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_pods_own_interface_comes_first() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
             lo:       9       9    0    0    0     0          0         0        9       9    0    0    0     0       0          0\n  \
             net1:       1       2    3    4    0     0          0         0        5       6    7    8    0     0       0          0\n  \
             eth0:1234567      22    1    2    0     0          0         0      886      11    3    4    0     0       0          0\n";
        let found = parse(text);
        assert_eq!(found.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["eth0", "net1"]);
        assert_eq!(found[0].received, Flow { bytes: 1_234_567, packets: 22, errors: 1, dropped: 2 });
        assert_eq!(found[0].sent, Flow { bytes: 886, packets: 11, errors: 3, dropped: 4 });
        assert_eq!(found[1].sent, Flow { bytes: 5, packets: 6, errors: 7, dropped: 8 });
        assert!(parse("").is_empty());
    }

    #[test]
    fn a_table_of_several_pages_is_read_to_its_end_and_a_short_one_once() {
        for (lines, calls) in [(3, 1), (29, 1), (30, 2), (100, 3), (2000, 5)] {
            let table: String = (0..lines).map(|line| format!("{line:>60}: 1 2 3 4\n")).collect();
            let mut asked = 0;
            let read = |buffer: &mut [u8], offset: u64| {
                asked += 1;
                // As many whole lines as fit into a page, or into the buffer.
                let rest = table.as_bytes().get(usize::try_from(offset).unwrap()..).unwrap_or_default();
                let count = rest.len().min(buffer.len()).min(4096) / 70 * 70;
                buffer[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            };
            let (mut short, mut long) = ([0; SHORT], Vec::new());
            let text = whole(&mut short, &mut long, read).unwrap();
            assert_eq!(*text, table.as_bytes()[..table.len().min(BUFFER / 70 * 70)], "{lines}");
            assert_eq!(asked, calls, "{lines}");
        }
    }

    #[test]
    fn a_closed_table_is_not_opened_again() {
        let own = std::process::id().cast_signed();
        let traffic = Traffic::default();
        traffic.read(own).unwrap();
        traffic.close();
        assert_eq!(*traffic.read(own).unwrap(), []);
    }

    #[test]
    fn what_did_not_change_is_told_again_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dev");
        let table = |bytes: u64| format!("  eth0: {bytes} 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n");
        std::fs::write(&path, table(1)).unwrap();
        let traffic = Traffic(Mutex::new(State::Open(File::open(&path).unwrap(), None)));
        let [first, second] = [(); 2].map(|()| traffic.read(0).unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        std::fs::write(&path, table(9)).unwrap();
        assert_eq!((first[0].received.bytes, traffic.read(0).unwrap()[0].received.bytes), (1, 9));
    }
}
