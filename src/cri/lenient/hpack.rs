//! Authorities in header blocks (RFC 7541), looked for without the tables of either side: a value is written out where it
//! comes for the first time, and referred to after that.

use http::uri::Authority;
use std::ops::Range;

/// The place of `:authority` in the static table.
const AUTHORITY: usize = 1;
const NAME: &[u8] = b":authority";
/// The symbols of the Huffman code (RFC 7541, appendix B) by the lengths of their codes, of 15 bits at most. It is
/// canonical: codes of a length follow each other in this order, behind the shorter ones.
const SYMBOLS: [&[u8]; 16] = [
    b"",
    b"",
    b"",
    b"",
    b"",
    b"012aceiost",
    b" %-./3456789=A_bdfghlmnpru",
    b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    b"&*,;XZ",
    b"",
    b"!\"()?",
    b"'+|",
    b"#>",
    b"\0$@[]~",
    b"^}",
    b"<`{",
];
/// What stands for a symbol of each length that cannot be in an authority; lengths without one are left alone.
const STAND_INS: &[u8] = b"-BX!+~";

/// Overwrites what cannot be in an authority. It stops where it understands nothing more.
pub(super) fn soften(block: &mut [u8]) {
    let mut at = 0;
    while let Some(field) = next(block, at) {
        at = field.end;
        if let Some((value, is_huffman)) = field.authority
            && let Some(value) = block.get_mut(value)
        {
            overwrite(value, is_huffman);
        }
    }
}

/// A field: where it ends, and where the value lies if it is an authority's that is written out.
struct Field {
    end: usize,
    authority: Option<(Range<usize>, bool)>,
}

fn next(block: &[u8], at: usize) -> Option<Field> {
    // Indexed, literal to be indexed, size of the table, literal that is not indexed.
    let (prefix, is_literal) = match block.get(at)? {
        0x80.. => (7, false),
        0x40.. => (6, true),
        0x20.. => (5, false),
        _ => (4, true),
    };
    let (index, mut at) = integer(block, at, prefix)?;
    if !is_literal {
        return Some(Field { end: at, authority: None });
    }
    let mut is_authority = index == AUTHORITY;
    if index == 0 {
        let (name, is_huffman) = string(block, at)?;
        at = name.end;
        is_authority = text(block.get(name)?, is_huffman).as_deref() == Some(NAME);
    }
    let (value, is_huffman) = string(block, at)?;
    Some(Field { end: value.end, authority: is_authority.then_some((value, is_huffman)) })
}

/// A number with a prefix of so many bits, and what follows it.
fn integer(block: &[u8], at: usize, prefix: u32) -> Option<(usize, usize)> {
    let most = (1_usize << prefix) - 1;
    let mut value = usize::from(*block.get(at)?) & most;
    let mut at = at + 1;
    if value < most {
        return Some((value, at));
    }
    for shift in [0, 7, 14] {
        let byte = usize::from(*block.get(at)?);
        at += 1;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, at));
        }
    }
    None
}

/// Where a string lies, and whether it is in the Huffman code.
fn string(block: &[u8], at: usize) -> Option<(Range<usize>, bool)> {
    let is_huffman = block.get(at)? & 0x80 != 0;
    let (length, begin) = integer(block, at, 7)?;
    let range = begin..begin + length;
    block.get(range.clone()).map(|_| (range, is_huffman))
}

fn text(bytes: &[u8], is_huffman: bool) -> Option<Vec<u8>> {
    if !is_huffman {
        return Some(bytes.to_vec());
    }
    Some(symbols(bytes)?.into_iter().map(|(symbol, _)| symbol).collect())
}

fn overwrite(value: &mut [u8], is_huffman: bool) {
    let Some(text) = text(value, is_huffman) else { return };
    if text.is_empty() || Authority::try_from(text.as_slice()).is_ok() {
        return;
    }
    let fits = |symbol: u8| symbol.is_ascii_alphanumeric() || b"-._~".contains(&symbol);
    if !is_huffman {
        value.iter_mut().filter(|symbol| !fits(**symbol)).for_each(|symbol| *symbol = b'-');
        return;
    }
    for (symbol, bits) in symbols(value).unwrap_or_default() {
        let stand_in =
            || STAND_INS.iter().filter_map(|symbol| code(*symbol)).find(|(_, length)| *length == bits.len());
        if !fits(symbol)
            && let Some((code, _)) = stand_in()
        {
            for (bit, at) in bits.rev().enumerate() {
                if let Some(byte) = value.get_mut(at / 8) {
                    let mask = 0x80 >> (at % 8);
                    *byte = if code >> bit & 1 == 1 { *byte | mask } else { *byte & !mask };
                }
            }
        }
    }
}

/// The symbols of a Huffman code and the bits that each takes; `None` where one has a code of more than 15 bits.
fn symbols(bytes: &[u8]) -> Option<Vec<(u8, Range<usize>)>> {
    let mut all = Vec::new();
    let mut begin = 0;
    loop {
        let (mut code, mut first) = (0, 0);
        let mut found = None;
        for (length, symbols) in SYMBOLS.iter().enumerate().skip(1) {
            let at = begin + length - 1;
            let Some(byte) = bytes.get(at / 8) else {
                // What is left over is padding.
                return Some(all);
            };
            code = code << 1 | usize::from(byte >> (7 - at % 8) & 1);
            if let Some(symbol) = symbols.get(code - first) {
                found = Some((*symbol, begin..begin + length));
                break;
            }
            first = (first + symbols.len()) << 1;
        }
        let (symbol, bits) = found?;
        begin = bits.end;
        all.push((symbol, bits));
    }
}

/// A symbol's code and its length.
fn code(symbol: u8) -> Option<(usize, usize)> {
    let mut first = 0;
    for (length, symbols) in SYMBOLS.iter().enumerate().skip(1) {
        if let Some(place) = symbols.iter().position(|known| *known == symbol) {
            return Some((first + place, length));
        }
        first = (first + symbols.len()) << 1;
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A text in the Huffman code.
    pub(crate) fn huffman(text: &[u8]) -> Vec<u8> {
        let bits: Vec<bool> = text
            .iter()
            .flat_map(|symbol| {
                let (code, length) = code(*symbol).unwrap();
                (0..length).rev().map(move |bit| code >> bit & 1 == 1)
            })
            .collect();
        let byte = |bits: &[bool]| {
            (0..8).fold(0, |byte, at| byte << 1 | u8::from(bits.get(at).copied().unwrap_or(true)))
        };
        bits.chunks(8).map(byte).collect()
    }

    #[test]
    fn the_code_is_that_of_the_standard() {
        // RFC 7541, C.4.1.
        let wanted = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(huffman(b"www.example.com"), wanted);
        assert_eq!(text(&wanted, true).unwrap(), b"www.example.com");
        assert_eq!(code(b'{'), Some((0x7ffe, 15)));
    }

    #[test]
    fn paths_become_names_and_names_stay() {
        for (given, wanted) in [
            ("%2Frun%2Fcorten.sock", "-2Frun-2Fcorten.sock"),
            ("/run/a b/corten.sock", "-run-a-b-corten.sock"),
            ("localhost", "localhost"),
            ("user@host:80", "user@host:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            let mut plain = given.as_bytes().to_vec();
            overwrite(&mut plain, false);
            assert_eq!(plain, wanted.as_bytes());
            let mut coded = huffman(given.as_bytes());
            let length = coded.len();
            overwrite(&mut coded, true);
            assert_eq!(coded.len(), length);
            assert_eq!(text(&coded, true).unwrap(), wanted.as_bytes());
        }
        let mut odd = huffman(b"/a:b:c&d(e+f@/");
        overwrite(&mut odd, true);
        let odd = text(&odd, true).unwrap();
        assert!(Authority::try_from(odd.as_slice()).is_ok(), "{}", String::from_utf8_lossy(&odd));
    }

    #[test]
    fn any_bytes_are_survived_and_keep_their_length() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let mut block = [&[0x41, 0x88][..], &state.to_le_bytes(), &state.to_be_bytes()].concat();
            let length = block.len();
            block.rotate_left(usize::from(state.to_le_bytes()[0]) % length);
            soften(&mut block);
            assert_eq!(block.len(), length);
        }
    }
}
