//! Sound inputs made strange: bytes and numbers changed, parts removed, repeated, and taken from another input.

use tests::sim::rng::Rng;

/// Bytes of an input at most.
pub const INPUT_MAX_BYTES: usize = 64 * 1_024;

/// A place in something of that length, its end included.
fn at(rng: &mut Rng, length: usize) -> usize {
    rng.range(0, length as u64) as usize
}

/// Some bytes of it, seldom many.
fn part(rng: &mut Rng, length: usize) -> std::ops::Range<usize> {
    let begin = at(rng, length);
    begin..begin + rng.skewed(0, (length - begin) as u64) as usize
}

/// One of the sound inputs with a few changes. `words` are what its format is made of.
pub fn bytes(rng: &mut Rng, sound: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
    let mut input = rng.pick(sound).cloned().unwrap_or_default();
    for _ in 0..rng.skewed(1, 24) {
        change(rng, &mut input, sound, words);
    }
    input.truncate(INPUT_MAX_BYTES);
    input
}

/// One change.
pub fn change(rng: &mut Rng, input: &mut Vec<u8>, sound: &[Vec<u8>], words: &[&[u8]]) {
    const EDGES: [u8; 10] = [0, 1, 0x7f, 0x80, 0xff, 0xc0, 0x3f, 0x40, 0xfe, 0x20];
    let length = input.len();
    match rng.range(0, 9) {
        0 if length > 0 => input[at(rng, length - 1)] ^= 1 << rng.range(0, 7),
        1 if length > 0 => input[at(rng, length - 1)] = EDGES[at(rng, EDGES.len() - 1)],
        2 if length > 0 => {
            let place = at(rng, length - 1);
            input[place] = input[place].wrapping_add(rng.range(0, 8) as u8).wrapping_sub(4);
        }
        3 => {
            let place = at(rng, length);
            input.insert(place, rng.range(0, 255) as u8);
        }
        4 => drop(input.drain(part(rng, length))),
        5 => {
            let repeated = input[part(rng, length)].repeat(rng.skewed(1, 300) as usize);
            let place = at(rng, length);
            if input.len() + repeated.len() <= INPUT_MAX_BYTES {
                input.splice(place..place, repeated);
            }
        }
        6 | 7 => {
            let Some(word) = rng.pick(words) else { return };
            let begin = at(rng, length);
            let end = if rng.chance(500) { begin } else { length.min(begin + word.len()) };
            input.splice(begin..end, word.iter().copied());
        }
        8 => {
            let Some(other) = rng.pick(sound) else { return };
            let taken = other[part(rng, other.len())].to_vec();
            let place = part(rng, length);
            input.splice(place, taken);
        }
        _ => input.truncate(at(rng, length)),
    }
}
