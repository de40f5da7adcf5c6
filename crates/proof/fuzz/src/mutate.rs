//! Changes bytes without looking at what they lead to: flips, extremes, cuts, repeats, joints of two inputs.

use proof::Chance;

/// Numbers at which something often changes.
const EXTREMES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x00ff_ffff_ffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// No input is longer.
pub const INPUT_BYTES_MAX: usize = 64 * 1024;

/// Makes an input of one or two others.
pub fn mutate(inputs: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut pick = || &inputs[chance.below(inputs.len() as u64) as usize];
    let (mut data, other) = (pick().clone(), pick());
    for _ in 0..1 + chance.below(6) {
        change(&mut data, other, chance);
    }
    data.truncate(INPUT_BYTES_MAX);
    data
}

fn change(data: &mut Vec<u8>, other: &[u8], chance: &mut Chance) {
    let place = |length: usize, chance: &mut Chance| chance.below(length as u64 + 1) as usize;
    let at = place(data.len(), chance);
    let end = (at + 1 + chance.below(16) as usize).min(data.len());
    match chance.below(10) {
        0..=2 if at < data.len() => data[at] ^= 1 << chance.below(8),
        3 if at < data.len() => data[at] = chance.below(256) as u8,
        4 => {
            let extreme = EXTREMES[chance.below(12) as usize].to_le_bytes();
            let count = [1, 2, 4, 8][chance.below(4) as usize].min(data.len() - at);
            data[at..at + count].copy_from_slice(&extreme[..count]);
        }
        5 => drop(data.drain(at..end)),
        6 => {
            let piece = data[at..end].to_vec();
            data.splice(at..at, piece);
        }
        7 => {
            let from = place(other.len(), chance);
            let to = (from + 1 + chance.below(200) as usize).min(other.len());
            data.splice(at..at, other[from..to].iter().copied());
        }
        8 => {
            let from = place(other.len(), chance);
            data.truncate(at);
            data.extend_from_slice(&other[from..]);
        }
        _ => data.insert(at, chance.below(256) as u8),
    }
}
