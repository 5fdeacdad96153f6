//! Range coding by asymmetric numeral systems: states beside each other, one table of frequencies for each class.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 n | the [`LANES`] states with which decoding begins, u64 each |
//! | 8 n | | bytes, in the order in which decoding takes them |
//!
//! Symbol `i` belongs to state `i % LANES`. A state takes bytes only after every fourth of its symbols, and after the last
//! of all: as many as bring it to 2⁵⁵ or more, the lowest of it first. Four symbols take at most 44 bits off, so that a
//! state never runs dry between. After the last symbol each state is exactly 2⁵⁵ and no byte is left, which finds most
//! damage.
//!
//! # Source
//! Duda, *Asymmetric numeral systems*, arXiv:1311.2540; Giesen, *Interleaved entropy coders*, arXiv:1402.3392.

use super::error::CodecError;
use super::freq::{SCALE, SCALE_BITS};

/// Most classes of one stream.
pub const CLASSES: usize = 16;

/// States beside each other.
pub const LANES: usize = 8;
/// Symbols of a state between two looks at its size.
const ROUNDS: usize = 4;
const GROUP: usize = LANES * ROUNDS;
const LOWEST: u64 = 1 << 55;
/// Bits of a state that four symbols leave.
const LEFT_BITS: u32 = 63 - SCALE_BITS * ROUNDS as u32;

/// How symbols of each class are coded.
#[derive(Debug, Default)]
pub struct Encoder(Vec<[Step; 256]>);

/// How one symbol goes into a state.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    /// So much of `2^(63 + shift) / frequency` that quotients of 63 bits are exact.
    inverse: u64,
    frequency: u32,
    /// What is added: where its slots begin.
    bias: u32,
    shift: u32,
}

impl Step {
    fn new(frequency: u16, start: u32) -> Self {
        let frequency = u32::from(frequency);
        if frequency < 2 {
            // The quotient comes out one too small, which the bias makes good.
            return Self { inverse: u64::MAX, frequency, bias: start + SCALE - 1, shift: 0 };
        }
        let bits = (frequency - 1).ilog2() + 1;
        let inverse = (1u128 << (63 + bits)).div_ceil(u128::from(frequency)) as u64;
        Self { inverse, frequency, bias: start, shift: bits - 1 }
    }

    #[inline(always)]
    fn put(self, state: u64) -> u64 {
        let quotient = ((u128::from(state) * u128::from(self.inverse)) >> 64) as u64 >> self.shift;
        state.wrapping_add(self.bias.into()).wrapping_add(quotient.wrapping_mul((SCALE - self.frequency).into()))
    }
}

impl Encoder {
    /// For classes with these frequencies, each of which sums up to [`SCALE`].
    pub fn new(classes: &[[u16; 256]]) -> Self {
        let steps = |frequencies: &[u16; 256]| {
            let mut start = 0;
            frequencies.map(|frequency| {
                let step = Step::new(frequency, start);
                start += u32::from(frequency);
                step
            })
        };
        Self(classes.iter().map(steps).collect())
    }

    /// Appends the coded symbols. `classes` is as long as `symbols`, and no symbol has frequency 0 in its class.
    pub fn encode(&self, symbols: &[u8], classes: &[u8], out: &mut Vec<u8>) {
        // Four symbols emit at most six bytes; eight are written at once.
        let mut bytes = vec![0u8; symbols.len().div_ceil(GROUP) * LANES * 6 + 8];
        let mut at = bytes.len();
        let mut states = [LOWEST; LANES];
        for (symbols, classes) in symbols.chunks(GROUP).zip(classes.chunks(GROUP)).rev() {
            for (lane, state) in states.iter_mut().enumerate().rev() {
                let mut steps = [Step::default(); ROUNDS];
                let own = symbols.iter().zip(classes).skip(lane).step_by(LANES);
                let mut used = 0;
                let mut product = 1u64;
                for (step, (&symbol, &class)) in steps.iter_mut().zip(own) {
                    *step = self.0[usize::from(class)][usize::from(symbol)];
                    product *= u64::from(step.frequency);
                    used += 1;
                }
                product <<= SCALE_BITS * (ROUNDS - used) as u32;
                let top = *state >> LEFT_BITS;
                let mut count = (product.leading_zeros().saturating_sub(top.leading_zeros())) / 8;
                count += u32::from(top >> (8 * count) >= product);
                if let Some(place) = bytes[..at].last_chunk_mut() {
                    *place = (*state << (56 - 8 * count) << 8).to_le_bytes();
                }
                at -= count as usize;
                *state >>= 8 * count;
                for step in steps[..used].iter().rev() {
                    *state = step.put(*state);
                }
            }
        }
        out.extend(states.iter().flat_map(|state| state.to_le_bytes()));
        out.extend_from_slice(&bytes[at..]);
    }
}

/// How slots of each class are decoded: from the low end symbol (8 bits), slot within the symbol (12), frequency (12).
#[derive(Debug)]
pub struct Decoder(Vec<[u32; SCALE as usize]>);

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
        // As many as there may be, so that no class of four bits needs a look.
        let mut slots = vec![[0u32; SCALE as usize]; CLASSES];
        for (class, slots) in classes.iter().zip(&mut slots) {
            let mut rest = &mut slots[..];
            for (symbol, &frequency) in (0u32..).zip(class) {
                let own = rest.split_off_mut(..usize::from(frequency)).ok_or(DAMAGED)?;
                for (within, slot) in (0u32..).zip(own) {
                    *slot = u32::from(frequency) << 20 | within << 8 | symbol;
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
        let (heads, bytes) = data.split_first_chunk::<{ 8 * LANES }>().ok_or(DAMAGED)?;
        let mut states = [LOWEST; LANES];
        for (state, head) in states.iter_mut().zip(heads.as_chunks::<8>().0) {
            *state = u64::from_le_bytes(*head);
        }
        let Some(slots) = self.0.first_chunk::<CLASSES>() else { return Err(DAMAGED) };
        let (class_groups, class_rest) = classes.as_chunks::<GROUP>();
        let (symbol_groups, symbol_rest) = symbols.as_chunks_mut::<GROUP>();
        let mut at = 0;
        for (group, class) in symbol_groups.iter_mut().zip(class_groups) {
            for round in 0..ROUNDS {
                for (lane, state) in states.iter_mut().enumerate() {
                    let i = round * LANES + lane;
                    group[i] = step(slots, state, class[i]);
                }
            }
            at = refill(&mut states, bytes, at);
        }
        for (i, (symbol, &class)) in symbol_rest.iter_mut().zip(class_rest).enumerate() {
            *symbol = step(slots, &mut states[i % LANES], class);
        }
        if !class_rest.is_empty() {
            at = refill(&mut states, bytes, at);
        }
        let whole = at == bytes.len() && states.iter().all(|&state| state == LOWEST);
        if whole { Ok(()) } else { Err(DAMAGED) }
    }
}

/// Takes a symbol out of a state. What a hostile state becomes is no matter: the end is then not what it must be.
#[inline(always)]
fn step(slots: &[[u32; SCALE as usize]; CLASSES], state: &mut u64, class: u8) -> u8 {
    let entry = slots[usize::from(class) % CLASSES][(*state % u64::from(SCALE)) as usize];
    let (frequency, within) = (u64::from(entry >> 20), u64::from(entry >> 8 & 0xfff));
    *state = frequency.wrapping_mul(*state >> SCALE_BITS).wrapping_add(within);
    entry as u8
}

/// Brings states to their size again, and returns where the bytes go on; beyond their end come zeros.
#[inline(always)]
fn refill(states: &mut [u64; LANES], bytes: &[u8], mut at: usize) -> usize {
    // A state takes at most seven bytes.
    if let Some(window) = bytes.get(at..at + 8 * LANES) {
        let mut within = 0;
        for state in states {
            let count = wanted(*state);
            let next =
                window.get(within..).and_then(|rest| rest.first_chunk()).map_or(0, |next| u64::from_le_bytes(*next));
            *state = *state << (8 * count) | next & !(u64::MAX << (8 * count));
            within += count as usize;
        }
        return at + within;
    }
    for state in states {
        let count = wanted(*state);
        let mut next = [0u8; 8];
        let rest = bytes.get(at..).unwrap_or_default();
        for (byte, &rest) in next.iter_mut().zip(rest).take(count as usize) {
            *byte = rest;
        }
        *state = *state << (8 * count) | u64::from_le_bytes(next);
        at += count as usize;
    }
    at
}

/// Bytes that a state lacks.
#[inline(always)]
fn wanted(state: u64) -> u32 {
    ((state | 1).leading_zeros().saturating_sub(1)) / 8
}
