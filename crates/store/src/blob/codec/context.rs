//! Symbols coded given what is known beside them: the exponent of the base's element, and how much its segment changed.
//!
//! How large a difference is depends on two things: the step of the base's exponent, and how far training moved that row.
//! Each segment of [`SEGMENT`] elements therefore has a scale (0 to 15), and each pair of scale and exponent belongs to
//! one of at most sixteen classes with a table of frequencies each. The encoder orders the pairs by the mean of their
//! symbols and joins neighbours as long as that saves bytes. A segment of scale [`QUIET`] has only zeros for symbols, which
//! are not stored.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | | scales of the segments, one byte each, as [`super::plane`] writes them |
//! | | 4 | length of the tables u32 |
//! | | | tables, as bits: classes − 1 (4), lowest exponent (8), highest exponent (8), scales that occur (16, one bit each); for each of these scales, from the lowest exponent up: 1 for the class of the exponent before, else 0 and the class (4); then the frequencies of each class, see [`super::freq`] |
//! | | 4 | length of the coded symbols u32 |
//! | | | the symbols, see [`super::rans`] |

use std::cell::RefCell;

use super::bits::{BitReader, BitWriter};
use super::error::CodecError;
use super::freq::Levels;
use super::kind::{Kind, Number};
use super::rans::{self, CLASSES};
use super::{Level, plane};

/// Elements that share a scale.
pub const SEGMENT: usize = 128;
/// Scales there are.
pub const SCALES: usize = 16;
/// The scale of a segment whose symbols are all zero.
pub const QUIET: u8 = SCALES as u8 - 1;

const DAMAGED: CodecError = CodecError::Damaged { what: "classes of symbols" };

/// Bits that a table of frequencies takes: once, and for each symbol.
const TABLE_BITS: (f32, f32) = (24.0, 3.0);

/// Pairs with fewer symbols join their neighbour at once.
const FEW: u32 = 96;

/// Pairs of scale and exponent that become one class.
struct Pairs {
    members: Vec<(usize, usize)>,
    counts: Box<[u32; 256]>,
    cost: f32,
}

impl Pairs {
    fn mean(&self) -> f32 {
        let (mut sum, mut total) = (0u32, 0u32);
        for (symbol, &count) in (0u32..).zip(self.counts.iter()) {
            sum += symbol * count;
            total += count;
        }
        sum as f32 / total as f32
    }

    fn joined(&self, other: &Self) -> Self {
        let counts = Box::new(std::array::from_fn(|symbol| self.counts[symbol] + other.counts[symbol]));
        let members = self.members.iter().chain(&other.members).copied().collect();
        Self { members, cost: cost(&counts), counts }
    }
}

/// Bits that symbols of these counts take with their table.
fn cost(counts: &[u32; 256]) -> f32 {
    // Eight sums beside each other, which one instruction adds.
    let (mut total, mut own, mut used) = ([0f32; 8], [0f32; 8], [0f32; 8]);
    for counts in counts.as_chunks::<8>().0 {
        for lane in 0..8 {
            let count = counts[lane] as i32 as f32;
            total[lane] += count;
            own[lane] += count * log2(count);
            used[lane] += count.min(1.0);
        }
    }
    let [total, own, used] = [total, own, used].map(|sums| sums.iter().sum::<f32>());
    total * log2(total) - own + TABLE_BITS.0 + TABLE_BITS.1 * used
}

/// About `log2`, and 0 of 0, without a call.
fn log2(value: f32) -> f32 {
    let bits = value.max(1.0).to_bits();
    let exponent = (bits >> 23) as f32 - 127.0;
    let m = f32::from_bits(bits & 0x007f_ffff | 0x3f80_0000) - 1.0;
    exponent + m * (1.4385 + m * (-0.677_4 + m * (0.322_3 - m * 0.083_6)))
}

thread_local! {
    /// Symbols with their classes. Fresh memory for each block would cost more than filling it.
    static SLOTS: RefCell<Vec<u16>> = const { RefCell::new(Vec::new()) };
}

/// Appends the coded symbols.
///
/// - `exponents`: one for each symbol
/// - `scales`: one for each segment; [`QUIET`] only where all symbols are zero
pub fn encode(symbols: &[u8], exponents: &[u8], scales: &[u8], level: Level, out: &mut Vec<u8>) {
    plane::encode(scales, level, out);
    let groups = classes(pairs(symbols, exponents, scales));
    let mut map = vec![[0u8; 256]; SCALES];
    for (class, group) in (0..).zip(&groups) {
        for &(scale, exponent) in &group.members {
            map[scale][exponent] = class;
        }
    }
    let levels: Vec<Levels> = groups.iter().map(|group| Levels::of(&group.counts)).collect();
    append(&tables(&groups, &mut map, &levels), out);
    let frequencies: Vec<[u16; 256]> = levels.iter().map(Levels::frequencies).collect();
    let begin = out.len();
    out.extend([0; 4]);
    SLOTS.with_borrow_mut(|slots| {
        slots.clear();
        for ((symbols, exponents), &scale) in symbols.chunks(SEGMENT).zip(exponents.chunks(SEGMENT)).zip(scales) {
            if scale != QUIET {
                let row = &map[usize::from(scale) % SCALES];
                let classes = exponents.iter().map(|exponent| row[usize::from(*exponent)]);
                slots.extend(classes.zip(symbols).map(|(class, symbol)| u16::from_be_bytes([class, *symbol])));
            }
        }
        rans::encode(&frequencies, slots, out);
    });
    let len = (out.len() - begin - 4) as u32;
    out[begin..begin + 4].copy_from_slice(&len.to_le_bytes());
}

fn append(part: &[u8], out: &mut Vec<u8>) {
    out.extend((part.len() as u32).to_le_bytes());
    out.extend_from_slice(part);
}

/// Counters of every symbol of every exponent.
const COUNTERS: usize = 1 << 16;

thread_local! {
    /// Zeros, but while a scale is being counted.
    static COUNTS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// Counts the symbols of all pairs of scale and exponent that occur.
fn pairs(symbols: &[u8], exponents: &[u8], scales: &[u8]) -> Vec<Pairs> {
    COUNTS.with_borrow_mut(|counts| {
        counts.resize(COUNTERS, 0);
        let Some(counts) = counts.first_chunk_mut::<COUNTERS>() else { return Vec::new() };
        let mut found = Vec::new();
        for scale in 0..QUIET {
            let mut seen = [false; 256];
            let segments = symbols.chunks(SEGMENT).zip(exponents.chunks(SEGMENT)).zip(scales);
            for ((symbols, exponents), _) in segments.filter(|(_, of)| **of == scale) {
                for (&symbol, &exponent) in symbols.iter().zip(exponents) {
                    seen[usize::from(exponent)] = true;
                    counts[usize::from(u16::from_be_bytes([exponent, symbol]))] += 1;
                }
            }
            for exponent in (0..256).filter(|exponent| seen[*exponent]) {
                let row = &mut counts[exponent << 8..][..256];
                let of_pair = Box::new(std::array::from_fn(|symbol| std::mem::take(&mut row[symbol])));
                found.push(Pairs { members: vec![(scale.into(), exponent)], counts: of_pair, cost: 0.0 });
            }
        }
        found
    })
}

/// Joins pairs into classes.
fn classes(pairs: Vec<Pairs>) -> Vec<Pairs> {
    let mut sorted: Vec<(f32, Pairs)> = pairs.into_iter().map(|pair| (pair.mean(), pair)).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut pairs: Vec<Pairs> = Vec::with_capacity(sorted.len());
    for (_, pair) in sorted {
        match pairs.last_mut().filter(|last| last.counts.iter().sum::<u32>() < FEW) {
            Some(few) => *few = few.joined(&pair),
            None => pairs.push(pair),
        }
    }
    for pair in &mut pairs {
        pair.cost = cost(&pair.counts);
    }
    // What joining each with the next would save; negative where it costs.
    let mut joined: Vec<Pairs> = pairs.windows(2).map(|two| two[0].joined(&two[1])).collect();
    loop {
        let saved = |at: usize| pairs[at].cost + pairs[at + 1].cost - joined[at].cost;
        let best = (0..joined.len()).max_by(|&a, &b| saved(a).total_cmp(&saved(b)));
        let Some(at) = best.filter(|&at| pairs.len() > CLASSES || saved(at) > 0.0) else { break };
        pairs[at] = joined.remove(at);
        pairs.remove(at + 1);
        if at > 0 {
            joined[at - 1] = pairs[at - 1].joined(&pairs[at]);
        }
        if at + 1 < pairs.len() {
            joined[at] = pairs[at].joined(&pairs[at + 1]);
        }
    }
    pairs
}

/// Writes map and frequencies; entries of the map that do not occur become what is shortest.
fn tables(groups: &[Pairs], map: &mut [[u8; 256]], levels: &[Levels]) -> Vec<u8> {
    let mut occurs = vec![[false; 256]; SCALES];
    for &(scale, exponent) in groups.iter().flat_map(|group| &group.members) {
        occurs[scale][exponent] = true;
    }
    let all = || groups.iter().flat_map(|group| &group.members);
    let lowest = all().map(|member| member.1).min().unwrap_or(0);
    let highest = all().map(|member| member.1).max().unwrap_or(0);
    let mut bits = BitWriter::new();
    bits.put(groups.len().saturating_sub(1) as u64, 4);
    bits.put(lowest as u64, 8);
    bits.put(highest as u64, 8);
    for row in &occurs {
        bits.put(row.contains(&true).into(), 1);
    }
    for (row, occurs) in map.iter_mut().zip(&occurs).filter(|(_, occurs)| occurs.contains(&true)) {
        let mut before = 0;
        for exponent in lowest..=highest {
            if !occurs[exponent] || row[exponent] == before {
                bits.put(1, 1);
            } else {
                bits.put(0, 1);
                bits.put(row[exponent].into(), 4);
                before = row[exponent];
            }
            row[exponent] = before;
        }
    }
    for levels in levels {
        levels.write(&mut bits);
    }
    bits.finish()
}

/// Memory for decoded symbols, which is used again and again.
#[derive(Debug, Default)]
pub struct Symbols {
    /// The symbols, those of quiet segments left out.
    pub live: Vec<u8>,
    classes: Vec<u8>,
}

/// Takes coded symbols off the front of `data`. Returns the scale of every segment.
///
/// - `len`: how many there are, those of quiet segments with them
/// - `exponents`: writes those that the encoder had for a segment, which are zeros before
/// - `symbols`: where they go
///
/// # Errors
/// [`CodecError::Damaged`] when these are no coded symbols of that number.
pub fn decode(
    data: &mut &[u8],
    len: usize,
    symbols: &mut Symbols,
    mut exponents: impl FnMut(usize, &mut [u8]),
) -> Result<Vec<u8>, CodecError> {
    let mut scales = vec![0; len.div_ceil(SEGMENT)];
    plane::decode(data, &mut scales)?;
    if scales.iter().any(|&scale| usize::from(scale) >= SCALES) {
        return Err(DAMAGED);
    }
    let (map, frequencies) = read_tables(take(data)?)?;
    let Symbols { live, classes } = symbols;
    classes.clear();
    classes.resize(len, 0);
    let mut count = 0;
    for (i, &scale) in scales.iter().enumerate().filter(|(_, scale)| **scale != QUIET) {
        let row = &map[usize::from(scale) % SCALES];
        let end = (count + SEGMENT).min(count + len - i * SEGMENT);
        let segment = classes.get_mut(count..end).ok_or(DAMAGED)?;
        exponents(i, segment);
        for exponent in segment {
            *exponent = row[usize::from(*exponent)];
        }
        count = end;
    }
    live.resize(count, 0);
    rans::decode(&frequencies, take(data)?, &classes[..count], live)?;
    Ok(scales)
}

/// The class of every scale and exponent, and the frequencies of every class.
type Tables = (Vec<[u8; 256]>, Vec<[u16; 256]>);

fn read_tables(data: &[u8]) -> Result<Tables, CodecError> {
    let mut bits = BitReader::new(data);
    let groups = bits.take(4)? as usize + 1;
    let (lowest, highest) = (bits.take(8)? as usize, bits.take(8)? as usize);
    let occurs = bits.take(16)?;
    let mut map = vec![[0u8; 256]; SCALES];
    for (_, row) in map.iter_mut().enumerate().filter(|(scale, _)| occurs >> scale & 1 == 1) {
        let mut before = 0;
        for class in row.iter_mut().take(highest + 1).skip(lowest) {
            if bits.take(1)? == 0 {
                before = bits.take(4)? as u8;
            }
            *class = before;
        }
    }
    if map.iter().flatten().any(|&class| usize::from(class) >= groups) {
        return Err(DAMAGED);
    }
    // None at all where every segment is quiet.
    if occurs == 0 {
        return Ok((map, Vec::new()));
    }
    let frequencies =
        (0..groups).map(|_| Ok(Levels::read(&mut bits)?.frequencies())).collect::<Result<_, CodecError>>()?;
    Ok((map, frequencies))
}

/// Takes a part with its length off the front.
pub fn take<'a>(data: &mut &'a [u8]) -> Result<&'a [u8], CodecError> {
    let (len, rest) = data.split_first_chunk::<4>().ok_or(DAMAGED)?;
    let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or(DAMAGED)?;
    *data = rest;
    Ok(part)
}

/// Scales of segments from how large each is; zero is [`QUIET`], and the largest of all the first.
pub fn scales(sizes: impl Iterator<Item = f32>) -> Vec<u8> {
    // The exponent of a float is its logarithm.
    let logs: Vec<u32> = sizes.map(|size| size.abs().to_bits() >> 23).collect();
    let top = logs.iter().copied().max().unwrap_or(0);
    let scale = |log: u32| if log == 0 { QUIET.into() } else { (top - log).min(u32::from(QUIET) - 1) };
    logs.into_iter().map(|log| scale(log) as u8).collect()
}

/// What the last bit of a value with this exponent weighs, but for a factor that is the same for all.
#[inline(always)]
pub fn unit(exponent: u8, kind: Kind) -> f32 {
    // Away from both ends, so that sums of a segment neither vanish nor overflow.
    let shift = match kind.number {
        Number::Float { mantissa } if kind.word as u32 * 8 - mantissa >= 9 => -80,
        _ => 60,
    };
    f32::from_bits(((i32::from(exponent) + shift).clamp(1, 175) as u32) << 23)
}
