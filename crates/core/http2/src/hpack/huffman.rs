//! The fixed Huffman code of RFC 7541, appendix B.
//!
//! The code is canonical: of two codes of the same length the one of the larger symbol is the larger
//! number, and they are consecutive. So the lengths say everything, and the rest is computed when this
//! is compiled. Strings are rarely long, and after a connection's first requests they are rare: bits
//! are read one by one.

use crate::fault::Fault;

/// How many bits each byte's code has; the last one is that of the end of a string.
const BITS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, // Below the space.
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, // From the space to the slash.
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, // Digits.
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13,
    14, 6, // Capitals.
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14,
    13, 28, // Small letters.
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23,
    23, 21, 22, 23, 22, 23, 23, 24, // From 128.
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23,
    20, 22, 22, 22, 23, 22, 22, 23, // From 160.
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, // From 192.
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27,
    27, 28, 27, 27, 27, 27, 27, 26, // From 224.
    30, // The end.
];

const BITS_MAX: usize = 30;
const END: u16 = 256;

/// Symbols ordered by code, and for each length the first code and where its symbols begin.
struct Codes {
    symbols: [u16; 257],
    first_code: [u32; BITS_MAX + 1],
    first_symbol: [u16; BITS_MAX + 2],
}

static CODES: Codes = codes();

const fn codes() -> Codes {
    let mut codes =
        Codes { symbols: [0; 257], first_code: [0; BITS_MAX + 1], first_symbol: [0; BITS_MAX + 2] };
    let (mut placed, mut code, mut bits) = (0, 0, 1);
    while bits <= BITS_MAX {
        code <<= 1;
        codes.first_code[bits] = code;
        codes.first_symbol[bits] = placed as u16;
        let mut symbol = 0;
        while symbol < BITS.len() {
            if BITS[symbol] as usize == bits {
                codes.symbols[placed] = symbol as u16;
                placed += 1;
                code += 1;
            }
            symbol += 1;
        }
        bits += 1;
    }
    codes.first_symbol[BITS_MAX + 1] = placed as u16;
    codes
}

/// Unpacks a string. The rest of its last byte must be ones, fewer than eight.
pub(super) fn decode(packed: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut plain = Vec::with_capacity(packed.len() * 8 / 5);
    let (mut code, mut bits) = (0_u32, 0_usize);
    for byte in packed {
        for position in (0..8).rev() {
            code = code << 1 | u32::from(byte >> position & 1);
            bits += 1;
            let Some(symbol) = symbol(code, bits) else { continue };
            if symbol == END {
                return Err(Fault::compression("the end of a string within a string"));
            }
            plain.push(symbol as u8);
            (code, bits) = (0, 0);
        }
    }
    if bits >= 8 || code != (1 << bits) - 1 {
        return Err(Fault::compression("a string's padding is not the shortest"));
    }
    Ok(plain)
}

/// The symbol with exactly this code. Some code always matches at [`BITS_MAX`] bits: the code is
/// complete.
fn symbol(code: u32, bits: usize) -> Option<u16> {
    let (first, next) = (CODES.first_symbol[bits], CODES.first_symbol[bits + 1]);
    let offset = code.checked_sub(CODES.first_code[bits])?;
    let place = u32::from(first) + offset;
    (place < u32::from(next)).then(|| CODES.symbols[place as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_complete() {
        let sum: u64 = BITS.iter().map(|bits| 1 << (BITS_MAX - usize::from(*bits))).sum();
        assert_eq!(sum, 1 << BITS_MAX);
    }

    /// RFC 7541, C.4 and C.6.
    #[test]
    fn the_examples_of_the_standard_are_read() {
        let www = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decode(&www).as_deref(), Ok(&b"www.example.com"[..]));
        assert_eq!(decode(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).as_deref(), Ok(&b"no-cache"[..]));
        assert_eq!(decode(&[0x64, 0x02]).as_deref(), Ok(&b"302"[..]));
        let date = [
            0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b,
            0x81, 0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff,
        ];
        assert_eq!(decode(&date).as_deref(), Ok(&b"Mon, 21 Oct 2013 20:13:21 GMT"[..]));
    }

    /// Packs by the codes, for all that the standard has no example of.
    fn encode(plain: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for byte in plain {
            let len = usize::from(BITS[usize::from(*byte)]);
            let first = usize::from(CODES.first_symbol[len]);
            let place = CODES.symbols[first..].iter().position(|s| *s == u16::from(*byte));
            let code = CODES.first_code[len] + place.expect("every symbol has a place") as u32;
            bits.extend((0..len).rev().map(|position| code >> position & 1));
        }
        while bits.len() % 8 != 0 {
            bits.push(1);
        }
        bits.chunks(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | *bit as u8)).collect()
    }

    #[test]
    fn every_byte_is_read_as_it_was_written() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        assert_eq!(decode(&encode(&all)), Ok(all));
    }

    #[test]
    fn what_no_encoder_writes_is_refused() {
        assert!(decode(&[0xff]).is_err(), "eight bits of padding");
        assert!(decode(&[0x00]).is_err(), "padding of zeros after '0'");
        assert!(decode(&[0xff, 0xff, 0xff, 0xff]).is_err(), "the end itself");
        assert_eq!(decode(&[]), Ok(vec![]));
    }
}
