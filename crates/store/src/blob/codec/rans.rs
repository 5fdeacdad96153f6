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

use std::cell::RefCell;

use super::error::CodecError;
use super::freq::{SCALE, SCALE_BITS};

/// Most classes of one stream.
pub const CLASSES: usize = 16;

/// States beside each other.
pub const LANES: usize = 8;
/// Symbols of a state between two looks at its size.
const ROUNDS: usize = 4;
const GROUP: usize = LANES * ROUNDS;
/// Bytes that a group may emit at most, rounded up, and a last word.
const WINDOW: usize = 8 * LANES + 8;
const LOWEST: u64 = 1 << 55;
/// Bits of a state that four symbols leave.
const LEFT_BITS: u32 = 63 - SCALE_BITS * ROUNDS as u32;

const STEPS: usize = CLASSES << 8;
const SLOTS: usize = CLASSES << SCALE_BITS;

thread_local! {
    /// How symbols of each class are coded, those of one class after those of another. What a stream does not use is left
    /// from another one.
    static ENCODER: RefCell<Box<[Step; STEPS]>> = RefCell::new(Box::new([Step::default(); STEPS]));
    /// Coded bytes, from the end down.
    static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// How slots of each class are decoded: from the low end symbol (8 bits), slot within the symbol (12), frequency (12).
    static DECODER: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// How one symbol goes into a state; sixteen bytes, so that all of them stay near.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    /// So much of `2^(63 + shift) / frequency` that quotients of 63 bits are exact.
    inverse: u64,
    frequency: u16,
    /// Slots of the other symbols.
    others: u16,
    /// What is added: where its slots begin.
    bias: u16,
    shift: u8,
}

impl Step {
    fn new(frequency: u16, start: u16) -> Self {
        let others = SCALE as u16 - frequency;
        if frequency < 2 {
            // The quotient comes out one too small, which the bias makes good.
            return Self { inverse: u64::MAX, frequency, others, bias: start + (SCALE - 1) as u16, shift: 0 };
        }
        let bits = (frequency - 1).ilog2() + 1;
        let inverse = (1u128 << (63 + bits)).div_ceil(u128::from(frequency)) as u64;
        Self { inverse, frequency, others, bias: start, shift: (bits - 1) as u8 }
    }

    #[inline(always)]
    fn put(&self, state: u64) -> u64 {
        let quotient = ((u128::from(state) * u128::from(self.inverse)) >> 64) as u64 >> (self.shift & 63);
        state.wrapping_add(self.bias.into()).wrapping_add(quotient.wrapping_mul(self.others.into()))
    }
}

/// Appends the coded symbols.
///
/// - `frequencies`: those of each class, at most [`CLASSES`], which sum up to [`SCALE`]
/// - `symbols`: each in the low byte, and above it its class, in which its frequency is not 0
pub fn encode(frequencies: &[[u16; 256]], symbols: &[u16], out: &mut Vec<u8>) {
    ENCODER.with_borrow_mut(|steps| {
        for (steps, frequencies) in steps.as_chunks_mut::<256>().0.iter_mut().zip(frequencies) {
            let mut start = 0;
            for (step, &frequency) in steps.iter_mut().zip(frequencies).filter(|(_, frequency)| **frequency > 0) {
                *step = Step::new(frequency, start);
                start += frequency;
            }
        }
        BYTES.with_borrow_mut(|bytes| encode_with(steps, symbols, bytes, out));
    });
}

fn encode_with(steps: &[Step; STEPS], symbols: &[u16], bytes: &mut Vec<u8>, out: &mut Vec<u8>) {
    let step = |symbol: u16| &steps[usize::from(symbol) % STEPS];
    // Four symbols emit at most six bytes; as many as a group could emit are looked at at once.
    let most = symbols.len().div_ceil(GROUP) * LANES * 6 + WINDOW;
    bytes.resize(bytes.len().max(most), 0);
    let mut at = bytes.len();
    let mut states = [LOWEST; LANES];
    let (groups, last) = symbols.as_chunks::<GROUP>();
    if !last.is_empty() {
        let mut products = [1u64; LANES];
        for (i, &symbol) in last.iter().enumerate() {
            products[i % LANES] *= u64::from(step(symbol).frequency);
        }
        for (lane, product) in products.iter_mut().enumerate() {
            let used = last.len().saturating_sub(lane).div_ceil(LANES);
            *product <<= SCALE_BITS * (ROUNDS - used.min(ROUNDS)) as u32;
        }
        at -= shrink(&mut states, products, &mut bytes[..at]);
        for (i, &symbol) in last.iter().enumerate().rev() {
            let state = &mut states[i % LANES];
            *state = step(symbol).put(*state);
        }
    }
    for symbols in groups.iter().rev() {
        let (rounds, _) = symbols.as_chunks::<LANES>();
        let mut products = [1u64; LANES];
        for symbols in rounds {
            for (product, &symbol) in products.iter_mut().zip(symbols) {
                *product *= u64::from(step(symbol).frequency);
            }
        }
        at -= shrink(&mut states, products, &mut bytes[..at]);
        // The states beside each other, so that none waits for its own last step.
        for symbols in rounds.iter().rev() {
            for (state, &symbol) in states.iter_mut().zip(symbols) {
                *state = step(symbol).put(*state);
            }
        }
    }
    out.extend(states.iter().flat_map(|state| state.to_le_bytes()));
    out.extend_from_slice(&bytes[at..]);
}

/// Takes so many bytes off each state that four symbols, whose frequencies have these products, fit into it, and writes
/// them to the end of `bytes`. Returns how many there are.
#[inline(always)]
fn shrink(states: &mut [u64; LANES], products: [u64; LANES], bytes: &mut [u8]) -> usize {
    let Some(window) = bytes.last_chunk_mut::<WINDOW>() else { return 0 };
    let mut at = WINDOW - 8;
    for lane in (0..LANES).rev() {
        let (state, product) = (states[lane], products[lane]);
        let top = state >> LEFT_BITS;
        let mut count = (product.leading_zeros().saturating_sub(top.leading_zeros())) / 8;
        count += u32::from(top >> (8 * count) >= product);
        // Eight are written, and what is too many is written over.
        if let Some(place) = window.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *place = (state << (56 - 8 * count) << 8).to_le_bytes();
        }
        at = at.wrapping_sub(count as usize);
        states[lane] = state >> (8 * count);
    }
    WINDOW - 8 - at
}

/// Decodes as many symbols as there are classes in `classes`; `symbols` is as long.
///
/// - `frequencies`: those of each class that occurs, which sum up to [`SCALE`]
///
/// # Errors
/// [`CodecError::Damaged`] when `data` is no stream of so many symbols, and when there are more classes than [`CLASSES`].
pub fn decode(frequencies: &[[u16; 256]], data: &[u8], classes: &[u8], symbols: &mut [u8]) -> Result<(), CodecError> {
    const DAMAGED: CodecError = CodecError::Damaged { what: "number of classes" };
    if frequencies.len() > CLASSES {
        return Err(DAMAGED);
    }
    DECODER.with_borrow_mut(|slots| {
        // As many as there may be, so that no class of four bits needs a look.
        slots.resize(SLOTS, 0);
        for (class, slots) in frequencies.iter().zip(slots.chunks_exact_mut(SCALE as usize)) {
            let mut rest = slots;
            for (symbol, &frequency) in (0u32..).zip(class) {
                let own = rest.split_off_mut(..usize::from(frequency)).ok_or(DAMAGED)?;
                for (within, slot) in (0u32..).zip(own) {
                    *slot = u32::from(frequency) << 20 | within << 8 | symbol;
                }
            }
        }
        match slots.first_chunk() {
            Some(slots) => decode_with(slots, data, classes, symbols),
            None => Err(DAMAGED),
        }
    })
}

fn decode_with(slots: &[u32; SLOTS], data: &[u8], classes: &[u8], symbols: &mut [u8]) -> Result<(), CodecError> {
    const DAMAGED: CodecError = CodecError::Damaged { what: "range coder" };
    let (heads, bytes) = data.split_first_chunk::<{ 8 * LANES }>().ok_or(DAMAGED)?;
    let mut states = [LOWEST; LANES];
    for (state, head) in states.iter_mut().zip(heads.as_chunks::<8>().0) {
        *state = u64::from_le_bytes(*head);
    }
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

/// Takes a symbol out of a state. What a hostile state becomes is no matter: the end is then not what it must be.
#[inline(always)]
fn step(slots: &[u32; SLOTS], state: &mut u64, class: u8) -> u8 {
    let entry = slots[(usize::from(class) % CLASSES) << SCALE_BITS | (*state % u64::from(SCALE)) as usize];
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
