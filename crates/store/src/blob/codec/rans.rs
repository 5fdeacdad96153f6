//! Range coding by asymmetric numeral systems: eight states beside each other, one table of frequencies for each class.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 32 | the eight states with which decoding begins, u32 each |
//! | 32 | 2 w | words, u16 each, in the order in which decoding takes them |
//!
//! Symbol `i` belongs to state `i % 8`. A state is at least 2¹⁶; one that falls below takes a word. After the last symbol
//! each state is exactly 2¹⁶ and no word is left, which finds most damage.
//!
//! # Source
//! Duda, *Asymmetric numeral systems*, arXiv:1311.2540; Giesen, *Interleaved entropy coders*, arXiv:1402.3392.

use super::error::CodecError;
use super::freq::{SCALE, SCALE_BITS};

/// Most classes of one stream.
pub const CLASSES: usize = 16;

const LANES: usize = 8;
const LOWEST: u32 = 1 << 16;
const INVERSE_BITS: u32 = 32 + SCALE_BITS;

/// How symbols of each class are coded.
#[derive(Debug, Default)]
pub struct Encoder(Vec<[Step; 256]>);

/// Frequency of a symbol and where its slots begin.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    frequency: u32,
    start: u32,
    /// `2⁴³ / frequency`, rounded up: exact for quotients of 32 bits by at most 11.
    inverse: u64,
}

impl Encoder {
    /// For classes with these frequencies, each of which sums up to [`SCALE`].
    pub fn new(classes: &[[u16; 256]]) -> Self {
        let steps = |frequencies: &[u16; 256]| {
            let mut start = 0;
            frequencies.map(|frequency| {
                let inverse = (1u64 << INVERSE_BITS).div_ceil(u64::from(frequency).max(1));
                let step = Step { frequency: frequency.into(), start, inverse };
                start += u32::from(frequency);
                step
            })
        };
        Self(classes.iter().map(steps).collect())
    }

    /// Appends the coded symbols. `classes` is as long as `symbols`, and no symbol has frequency 0 in its class.
    pub fn encode(&self, symbols: &[u8], classes: &[u8], out: &mut Vec<u8>) {
        // A symbol emits at most one word; one more is written and not kept.
        let mut words = vec![0u16; symbols.len() + 1];
        let mut at = words.len();
        let mut states = [LOWEST; LANES];
        for (i, (&symbol, &class)) in symbols.iter().zip(classes).enumerate().rev() {
            let Step { frequency, start, inverse } = self.0[usize::from(class)][usize::from(symbol)];
            let state = states[i % LANES];
            let high = u32::from(u64::from(state) >= u64::from(frequency) << (32 - SCALE_BITS));
            words[at - 1] = state as u16;
            at -= high as usize;
            let state = state >> (16 * high);
            let quotient = ((u128::from(state) * u128::from(inverse)) >> INVERSE_BITS) as u32;
            states[i % LANES] = (quotient << SCALE_BITS) + (state - quotient * frequency) + start;
        }
        out.extend(states.iter().flat_map(|state| state.to_le_bytes()));
        out.extend(words[at..].iter().flat_map(|word| word.to_le_bytes()));
    }
}

/// How slots of each class are decoded: symbol (8 bits), frequency (12), slot within the symbol (12).
#[derive(Debug)]
pub struct Decoder(Vec<u32>);

impl Decoder {
    /// For classes with these frequencies, each of which sums up to [`SCALE`]; at most [`CLASSES`].
    ///
    /// # Errors
    /// [`CodecError::Damaged`] when there are more.
    pub fn new(classes: &[[u16; 256]]) -> Result<Self, CodecError> {
        const DAMAGED: CodecError = CodecError::Damaged { what: "number of classes" };
        if classes.len() > CLASSES {
            return Err(DAMAGED);
        }
        let mut slots = vec![0u32; classes.len() << SCALE_BITS];
        for (class, slots) in classes.iter().zip(slots.chunks_exact_mut(SCALE as usize)) {
            let mut rest = slots;
            for (symbol, &frequency) in (0u32..).zip(class) {
                let own = rest.split_off_mut(..usize::from(frequency)).ok_or(DAMAGED)?;
                for (within, slot) in (0u32..).zip(own) {
                    *slot = symbol << 24 | u32::from(frequency) << 12 | within;
                }
            }
        }
        Ok(Self(slots))
    }

    /// Decodes as many symbols as there are classes in `classes`; `symbols` is as long.
    ///
    /// # Errors
    /// [`CodecError::Damaged`] when `data` is no stream of so many symbols.
    pub fn decode(&self, data: &[u8], classes: &[u8], symbols: &mut [u8]) -> Result<(), CodecError> {
        const DAMAGED: CodecError = CodecError::Damaged { what: "range coder" };
        let (heads, words) = data.split_at_checked(4 * LANES).ok_or(DAMAGED)?;
        let mut states = [LOWEST; LANES];
        for (state, head) in states.iter_mut().zip(heads.as_chunks::<4>().0) {
            *state = u32::from_le_bytes(*head);
        }
        let (class_groups, class_rest) = classes.as_chunks::<LANES>();
        let (symbol_groups, symbol_rest) = symbols.as_chunks_mut::<LANES>();
        let mut at = 0;
        let mut done = 0;
        let [mut a, mut b] =
            [[states[0], states[1], states[2], states[3]], [states[4], states[5], states[6], states[7]]];
        for (group, class) in symbol_groups.iter_mut().zip(class_groups) {
            // A group takes at most one word for each lane.
            if words.len() < at + 2 * LANES {
                break;
            }
            let (class_a, class_b) = class.split_at(LANES / 2);
            let (group_a, group_b) = group.split_at_mut(LANES / 2);
            at = self.half(&mut a, class_a, group_a, words, at);
            at = self.half(&mut b, class_b, group_b, words, at);
            done += 1;
        }
        states[..4].copy_from_slice(&a);
        states[4..].copy_from_slice(&b);
        let rest = symbol_groups.as_flattened_mut().iter_mut().skip(done * LANES).chain(symbol_rest);
        let classes = class_groups.as_flattened().iter().skip(done * LANES).chain(class_rest);
        for (i, (symbol, &class)) in rest.zip(classes).enumerate() {
            let (decoded, mut state) = self.step(states[i % LANES], class);
            *symbol = decoded;
            if state < LOWEST {
                let word = words.get(at..).and_then(|rest| rest.first_chunk::<2>()).ok_or(DAMAGED)?;
                state = state << 16 | u32::from(u16::from_le_bytes(*word));
                at += 2;
            }
            states[i % LANES] = state;
        }
        let whole = at == words.len() && states.iter().all(|&state| state == LOWEST);
        if whole { Ok(()) } else { Err(DAMAGED) }
    }

    /// Decodes a symbol of each of four states, and returns where the words go on.
    #[inline(always)]
    fn half(&self, states: &mut [u32; 4], classes: &[u8], symbols: &mut [u8], words: &[u8], at: usize) -> usize {
        let mut window =
            words.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |next| u64::from_le_bytes(*next));
        let mut taken = 0;
        for ((state, &class), symbol) in states.iter_mut().zip(classes).zip(symbols) {
            let (decoded, next) = self.step(*state, class);
            *symbol = decoded;
            let low = next < LOWEST;
            *state = if low { next << 16 | (window & 0xffff) as u32 } else { next };
            window = if low { window >> 16 } else { window };
            taken += usize::from(low);
        }
        at + 2 * taken
    }

    /// Symbol of a state, and the state without it.
    #[inline(always)]
    fn step(&self, state: u32, class: u8) -> (u8, u32) {
        let slot = usize::from(class) << SCALE_BITS | (state & (SCALE - 1)) as usize;
        let entry = self.0.get(slot).copied().unwrap_or_default();
        // A hostile state may overflow; the end is then not what it must be.
        let state = ((entry >> 12) & 0xfff).wrapping_mul(state >> SCALE_BITS).wrapping_add(entry & 0xfff);
        ((entry >> 24) as u8, state)
    }
}
