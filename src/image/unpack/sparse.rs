//! Files with holes, as GNU tar writes them: its old format, and the PAX forms 0.0, 0.1 and 1.0.

use super::error::TarError;
use super::header::{BLOCK, number};

/// The most segments of a file.
const MOST: usize = 1 << 17;
/// Descriptions in the header of the old format, and in each block that goes on with them.
const OLD: (usize, usize) = (386, 4);
const OLD_MORE: (usize, usize) = (0, 21);
/// Where each says whether there is another, and where the header has the file's size.
const OLD_GOES_ON: usize = 482;
const OLD_MORE_GOES_ON: usize = 504;
const OLD_SIZE: usize = 483;
const FIELD: usize = 12;

/// A part of a file that has content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Segment {
    pub offset: u64,
    pub length: u64,
}

/// The records of a PAX header that are about holes.
#[derive(Debug, Default, Clone)]
pub(super) struct Records {
    /// 1 where the map comes before the content.
    pub major: u64,
    pub name: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub map: Vec<Segment>,
    offset: Option<u64>,
}

impl Records {
    /// Takes a record by what follows `GNU.sparse.` in its name.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        let decimal = || super::pax::decimal(value);
        match key {
            b"major" => self.major = decimal()?,
            b"name" => self.name = Some(super::pax::name(value)?),
            b"size" | b"realsize" => self.size = Some(decimal()?),
            b"offset" => self.offset = Some(decimal()?),
            b"numbytes" => {
                let offset = self.offset.take().ok_or(TarError::Map)?;
                self.push(Segment { offset, length: decimal()? })?;
            }
            b"map" => {
                let mut numbers = value.split(|byte| *byte == b',');
                while let Some(offset) = numbers.next() {
                    let length = super::pax::decimal(numbers.next().ok_or(TarError::Map)?)?;
                    self.push(Segment { offset: super::pax::decimal(offset)?, length })?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn push(&mut self, segment: Segment) -> Result<(), TarError> {
        push(&mut self.map, segment)
    }
}

fn push(map: &mut Vec<Segment>, segment: Segment) -> Result<(), TarError> {
    if map.len() >= MOST {
        return Err(TarError::Map);
    }
    map.push(segment);
    Ok(())
}

/// Size and first segments in a header of the old format; whether a block with more follows.
pub(super) fn old(block: &[u8; BLOCK]) -> Result<(u64, Vec<Segment>, bool), TarError> {
    let mut map = Vec::new();
    let more = old_part(block, OLD, OLD_GOES_ON, &mut map)?;
    Ok((number(&block[OLD_SIZE..OLD_SIZE + FIELD], "size")?, map, more))
}

/// Takes the segments of a block that goes on with them; whether yet another follows.
pub(super) fn old_more(block: &[u8; BLOCK], map: &mut Vec<Segment>) -> Result<bool, TarError> {
    old_part(block, OLD_MORE, OLD_MORE_GOES_ON, map)
}

fn old_part(
    block: &[u8; BLOCK],
    (start, count): (usize, usize),
    goes_on: usize,
    map: &mut Vec<Segment>,
) -> Result<bool, TarError> {
    for field in block[start..].chunks_exact(2 * FIELD).take(count) {
        if field[0] == 0 {
            break;
        }
        let offset = number(&field[..FIELD], "sparse map")?;
        push(map, Segment { offset, length: number(&field[FIELD..], "sparse map")? })?;
    }
    Ok(block[goes_on] != 0)
}

/// The map of form 1.0, a block at a time: decimal numbers on lines of their own, first how many segments there are.
#[derive(Default)]
pub(super) struct Map {
    numbers: Vec<u64>,
    line: Vec<u8>,
}

impl Map {
    /// Takes a block; the segments once all are there.
    pub(super) fn take(&mut self, block: &[u8; BLOCK]) -> Result<Option<Vec<Segment>>, TarError> {
        for byte in block {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > 20 {
                    return Err(TarError::Map);
                }
                continue;
            }
            self.numbers.push(super::pax::decimal(&self.line)?);
            self.line.clear();
            let count = usize::try_from(self.numbers[0]).ok().filter(|count| *count <= MOST);
            let count = count.ok_or(TarError::Map)?;
            if self.numbers.len() > 2 * count {
                let pairs = self.numbers[1..].chunks_exact(2);
                return Ok(Some(pairs.map(|pair| Segment { offset: pair[0], length: pair[1] }).collect()));
            }
        }
        Ok(None)
    }
}

/// Whether the segments follow each other, end within the file, and are together as long as its content.
pub(super) fn check(map: &[Segment], size: u64, content: u64) -> Result<(), TarError> {
    let (mut end, mut total) = (0u64, 0u64);
    for segment in map {
        if segment.offset < end {
            return Err(TarError::Map);
        }
        end = segment.offset.checked_add(segment.length).ok_or(TarError::Map)?;
        total += segment.length;
    }
    if end > size || total != content || i64::try_from(size).is_err() {
        return Err(TarError::Map);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn segment(offset: u64, length: u64) -> Segment {
        Segment { offset, length }
    }

    #[test]
    fn maps_in_blocks_and_records() {
        let mut block = [0; BLOCK];
        block[..20].copy_from_slice(b"2\n0\n512\n1048576\n10\n\0");
        let map = Map::default().take(&block).unwrap().unwrap();
        assert_eq!(map, [segment(0, 512), segment(1 << 20, 10)]);
        block[..4].copy_from_slice(b"999\n");
        assert!(Map::default().take(&block).is_err(), "a line that never ends");
        let mut records = Records::default();
        records.take(b"map", b"0,512,4096,1").unwrap();
        records.take(b"offset", b"8192").unwrap();
        records.take(b"numbytes", b"2").unwrap();
        assert_eq!(records.map, [segment(0, 512), segment(4096, 1), segment(8192, 2)]);
        assert!(records.take(b"numbytes", b"2").is_err(), "no offset");
        assert!(records.take(b"map", b"1,2,3").is_err());
    }

    #[test]
    fn maps_that_cannot_be() {
        assert!(check(&[segment(0, 4), segment(8, 4)], 12, 8).is_ok());
        assert!(check(&[segment(12, 0)], 12, 0).is_ok());
        for (map, size, content) in [
            (vec![segment(0, 4), segment(2, 4)], 12, 8),
            (vec![segment(8, 4), segment(0, 4)], 12, 8),
            (vec![segment(0, 4), segment(8, 5)], 12, 9),
            (vec![segment(0, 4)], 12, 5),
            (vec![segment(u64::MAX, 4)], u64::MAX, 4),
            (vec![segment(0, 4)], u64::MAX, 4),
        ] {
            assert!(check(&map, size, content).is_err(), "{map:?} in {size}");
        }
    }
}
