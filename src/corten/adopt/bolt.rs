//! A reader of bbolt, the database in which containerd keeps what its content means: pages, and buckets in buckets. A
//! running containerd locks and changes the file; it is read as a whole, without a lock, until two looks agree that nothing
//! was committed in between: what a commit leaves in force, the next one does not overwrite.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// Bytes of a page's own header, and of an entry in a page.
const HEADER: usize = 16;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
/// The mark of an entry that is a bucket.
const BUCKET: u32 = 1;
/// Deeper than any tree.
const DEEPEST: usize = 64;
/// How often it is read when a commit comes between.
const TRIES: usize = 20;
/// The largest file that is read.
const LARGEST: u64 = 1 << 30;

/// Why such a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BoltError {
    /// The system refuses.
    #[error("read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else, or damaged.
    #[error("{} is no bbolt database, or damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// It changes all the time.
    #[error("{} changes faster than it can be read: stop the runtime that writes it", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
}

/// What is wrong with the pages.
type Found<T> = Result<T, &'static str>;

/// The newest state of a database, in memory.
pub(super) struct Bolt {
    path: PathBuf,
    bytes: Vec<u8>,
    page_size: usize,
    root: u64,
}

/// The page that says which state is the newest.
struct Meta {
    page_size: usize,
    root: u64,
    transaction: u64,
}

/// A bucket: a tree of pages, or so small that it lies in the entry itself.
pub(super) struct Bucket<'a> {
    bolt: &'a Bolt,
    at: At<'a>,
}

#[derive(Clone, Copy)]
enum At<'a> {
    Page(u64),
    Inline(&'a [u8]),
}

/// An entry of a leaf: its name, its value, and whether that is a bucket.
type Entry<'a> = (&'a [u8], &'a [u8], bool);

impl Bolt {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self, BoltError> {
        let failed = |source| BoltError::Io { path: path.to_owned(), source };
        let damaged = |problem| BoltError::Damaged { path: path.to_owned(), problem };
        // Before any of it is in memory.
        if fs::metadata(path).map_err(failed)?.len() > LARGEST {
            return Err(damaged("it is larger than 1 GiB"));
        }
        for _ in 0..TRIES {
            let bytes = sys::regular::read(path, LARGEST).map_err(failed)?;
            let meta = newest(&bytes).map_err(damaged)?;
            let length = 2 * meta.page_size;
            let again = io::Read::take(fs::File::open(path).map_err(failed)?, length as u64);
            let mut begin = Vec::with_capacity(length);
            io::Read::read_to_end(&mut { again }, &mut begin).map_err(failed)?;
            if newest(&begin).is_ok_and(|now| now.transaction == meta.transaction) {
                return Ok(Self { path: path.to_owned(), bytes, page_size: meta.page_size, root: meta.root });
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(BoltError::Busy { path: path.to_owned() })
    }

    /// The bucket of all buckets.
    pub(super) fn root(&self) -> Bucket<'_> {
        Bucket { bolt: self, at: At::Page(self.root) }
    }

    fn damaged(&self, problem: &'static str) -> BoltError {
        BoltError::Damaged { path: self.path.clone(), problem }
    }

    fn page(&self, number: u64) -> Found<&[u8]> {
        let at = usize::try_from(number).ok().and_then(|number| number.checked_mul(self.page_size));
        at.and_then(|at| self.bytes.get(at..)).ok_or("a page lies behind the end")
    }
}

impl<'a> Bucket<'a> {
    /// Every value in it that is none of the buckets below it, and every bucket, by name.
    pub(super) fn entries(&self) -> Result<Vec<Entry<'a>>, BoltError> {
        let mut found = Vec::new();
        let walked = match self.at {
            At::Inline(page) => leaf(page, &mut found),
            At::Page(number) => self.walk(number, 0, &mut found),
        };
        walked.map_err(|problem| self.bolt.damaged(problem))?;
        Ok(found)
    }

    /// The bucket of this name in it.
    pub(super) fn bucket(&self, name: &str) -> Result<Option<Bucket<'a>>, BoltError> {
        let entry =
            self.entries()?.into_iter().find(|(key, _, is_bucket)| *is_bucket && *key == name.as_bytes());
        entry.map(|(_, value, _)| self.open(value)).transpose()
    }

    /// The value of this name in it.
    pub(super) fn value(&self, name: &str) -> Result<Option<&'a [u8]>, BoltError> {
        let mut entries = self.entries()?.into_iter();
        let entry = entries.find(|(key, _, is_bucket)| !is_bucket && *key == name.as_bytes());
        Ok(entry.map(|(_, value, _)| value))
    }

    /// The buckets in it, by name.
    pub(super) fn buckets(&self) -> Result<Vec<(&'a [u8], Bucket<'a>)>, BoltError> {
        let entries = self.entries()?.into_iter().filter(|(_, _, is_bucket)| *is_bucket);
        entries.map(|(key, value, _)| Ok((key, self.open(value)?))).collect()
    }

    fn open(&self, value: &'a [u8]) -> Result<Bucket<'a>, BoltError> {
        let root = u64_at(value, 0).map_err(|problem| self.bolt.damaged(problem))?;
        let inline = value.get(HEADER..).unwrap_or_default();
        let at = if root == 0 { At::Inline(inline) } else { At::Page(root) };
        Ok(Bucket { bolt: self.bolt, at })
    }

    fn walk(&self, number: u64, depth: usize, found: &mut Vec<Entry<'a>>) -> Found<()> {
        // Pages that lead to each other would be walked for ever.
        if depth > DEEPEST || found.len() > self.bolt.bytes.len() / HEADER {
            return Err("its pages lead in a circle");
        }
        let page = self.bolt.page(number)?;
        if u16_at(page, 8)? & LEAF != 0 {
            return leaf(page, found);
        }
        if u16_at(page, 8)? & BRANCH == 0 {
            return Err("a page is neither a branch nor a leaf");
        }
        for index in 0..usize::from(u16_at(page, 10)?) {
            self.walk(u64_at(page, HEADER * (index + 1) + 8)?, depth + 1, found)?;
        }
        Ok(())
    }
}

fn leaf<'a>(page: &'a [u8], found: &mut Vec<Entry<'a>>) -> Found<()> {
    for index in 0..usize::from(u16_at(page, 10)?) {
        let at = HEADER * (index + 1);
        let (flags, start) = (u32_at(page, at)?, size_at(page, at + 4)?);
        let (key, value) = (size_at(page, at + 8)?, size_at(page, at + 12)?);
        let cut = |from: usize, length: usize| {
            let end = from.checked_add(length);
            end.and_then(|end| page.get(from..end)).ok_or("an entry lies behind the end")
        };
        let start = at + start;
        found.push((cut(start, key)?, cut(start + key, value)?, flags & BUCKET != 0));
    }
    Ok(())
}

/// The newest of the two pages that tell.
fn newest(bytes: &[u8]) -> Found<Meta> {
    // The second lies behind the first, whose size it may be that tells where.
    let first = meta(bytes);
    let sizes = first.as_ref().map_or_else(|_| vec![4096, 8192, 16384, 65536], |first| vec![first.page_size]);
    let second = sizes.into_iter().find_map(|size| meta(bytes.get(size..)?).ok());
    match (first, second) {
        (Ok(first), Some(second)) if second.transaction > first.transaction => Ok(second),
        (Ok(first), _) => Ok(first),
        (Err(_), Some(second)) => Ok(second),
        (Err(problem), None) => Err(problem),
    }
}

fn meta(page: &[u8]) -> Found<Meta> {
    let body = page.get(HEADER..HEADER + 64).ok_or("it is too short")?;
    if u32_at(body, 0)? != MAGIC || u32_at(body, 4)? != VERSION {
        return Err("it has not the mark of one");
    }
    let fnv = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let sum = body.iter().take(56).fold(0xcbf2_9ce4_8422_2325, fnv);
    if sum != u64_at(body, 56)? {
        return Err("the sum over its first page is wrong");
    }
    let page_size = size_at(body, 8)?;
    if !(1024..=1 << 20).contains(&page_size) {
        return Err("its pages have no usual size");
    }
    Ok(Meta { page_size, root: u64_at(body, 16)?, transaction: u64_at(body, 48)? })
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Found<[u8; N]> {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found.copied().ok_or("a page is cut off")
}

// In the order of this machine's bytes: the file is of this machine.
fn u16_at(bytes: &[u8], at: usize) -> Found<u16> {
    array_at(bytes, at).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Found<u32> {
    array_at(bytes, at).map(u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Found<u64> {
    array_at(bytes, at).map(u64::from_ne_bytes)
}

fn size_at(bytes: &[u8], at: usize) -> Found<usize> {
    u32_at(bytes, at).map(|size| size as usize)
}
