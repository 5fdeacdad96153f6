//! What weight decay alone makes of a base: AdamW takes the same share off every weight at every step, also off those
//! whose gradient is zero, as those of words that no text had.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | share u32, in units of 2⁻³² of the base's value, that is taken off once |
//! | 4 | 1 | number of runs, at most 8 |
//! | 5 | 4 n | runs: factor u16, steps u16 |
//!
//! A run is that many multiplications of four-byte floats by `1 − factor · 2⁻²⁴`, each rounded as the trainer's own was:
//! the rounding of all steps together is several last places, which a single share does not foresee. Runs are applied
//! first, the share last; other types than four-byte floats have no runs. Infinities and NaNs stay.

use super::context::SEGMENT;
use super::error::CodecError;
use super::kind::{Kind, Number};
use super::words::Word;

const RUNS: usize = 8;
/// The strongest decay of a step that is foreseen, in units of 2⁻²⁴.
const MOST_FACTOR: u16 = 1023;
/// Elements on which runs are tried, and those that tell most which cannot be.
const TRIED: usize = 512;
const FEW: usize = 32;

/// What is expected of elements whose gradient was zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    share: u32,
    runs: [Run; RUNS],
}

/// Equal steps of decay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Run {
    factor: u16,
    steps: u16,
}

impl Drift {
    /// Nothing changes by itself.
    pub const NONE: Self = Self { share: 0, runs: [Run { factor: 0, steps: 0 }; RUNS] };

    /// A share that is taken off once.
    pub fn share(share: u32) -> Self {
        Self { share, ..Self::NONE }
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// `steps` multiplications by `1 − factor · 2⁻²⁴`.
    pub fn decay(factor: u16, steps: u16) -> Self {
        let mut drift = Self::NONE;
        drift.runs[0] = Run { factor, steps };
        drift
    }

    fn used(&self) -> usize {
        self.runs.iter().rposition(|run| run.steps > 0).map_or(0, |last| last + 1)
    }

    /// Appends it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let runs = &self.runs[..self.used()];
        out.extend(self.share.to_le_bytes());
        out.push(runs.len() as u8);
        for run in runs {
            out.extend(run.factor.to_le_bytes());
            out.extend(run.steps.to_le_bytes());
        }
    }

    /// Takes it off the front of `data`.
    ///
    /// # Errors
    /// [`CodecError::Damaged`] when it is cut off or says what no writer says.
    pub fn read(data: &mut &[u8]) -> Result<Self, CodecError> {
        const DAMAGED: CodecError = CodecError::Damaged { what: "drift of the base" };
        let ([s0, s1, s2, s3, count], mut rest) = data.split_first_chunk::<5>().ok_or(DAMAGED)?;
        let mut drift = Self { share: u32::from_le_bytes([*s0, *s1, *s2, *s3]), ..Self::NONE };
        for run in drift.runs.get_mut(..usize::from(*count)).ok_or(DAMAGED)? {
            let ([f0, f1, n0, n1], after) = rest.split_first_chunk::<4>().ok_or(DAMAGED)?;
            *run = Run { factor: u16::from_le_bytes([*f0, *f1]), steps: u16::from_le_bytes([*n0, *n1]) };
            if run.factor > MOST_FACTOR {
                return Err(DAMAGED);
            }
            rest = after;
        }
        *data = rest;
        Ok(drift)
    }

    /// What it makes of words of floats.
    pub fn apply<W: Word>(&self, words: &mut [W], kind: Kind) {
        let Number::Float { mantissa } = kind.number else { return };
        if mantissa == 23 {
            for run in &self.runs[..self.used()] {
                run.apply(words);
            }
        }
        if self.share > 0 {
            shrink(words, mantissa, self.share);
        }
    }
}

impl Run {
    fn apply<W: Word>(self, words: &mut [W]) {
        let factor = 1.0 - f32::from(self.factor) / (1 << 24) as f32;
        let steps = u32::from(self.steps);
        let decayed = |word: u32| (f32::from_bits(word) * factor).to_bits();
        for words in words.chunks_mut(SEGMENT) {
            let mut all = true;
            let mut after = [0u32; SEGMENT];
            // Within an octave a smaller value loses as much as a larger one or less. So where the first and the last
            // step take the same off, all between do.
            for (after, word) in after.iter_mut().zip(&*words) {
                let word = word.wide() as u32;
                let off = word.wrapping_sub(decayed(word));
                let end = word.wrapping_sub(off.wrapping_mul(steps));
                let same = (decayed(end.wrapping_add(off)) == end) & ((end ^ word) >> 23 == 0);
                let finite = word << 1 < 0xff00_0000;
                *after = if finite { end } else { word };
                all &= same | !finite;
            }
            if !all {
                for (after, word) in after.iter_mut().zip(&*words) {
                    *after = slowly(word.wide() as u32, factor, steps);
                }
            }
            for (word, after) in words.iter_mut().zip(after) {
                *word = W::narrow(after.into());
            }
        }
    }
}

/// The steps one stretch after another, each of which takes the same off at every step.
fn slowly(word: u32, factor: f32, steps: u32) -> u32 {
    if word << 1 >= 0xff00_0000 {
        return word;
    }
    let decayed = |word: u32| (f32::from_bits(word) * factor).to_bits();
    let (mut word, mut rest) = (word, steps);
    while rest > 0 {
        let off = word.wrapping_sub(decayed(word));
        if off == 0 {
            break;
        }
        let mut stretch = rest;
        loop {
            let end = word.wrapping_sub(off.wrapping_mul(stretch));
            if stretch == 1 || decayed(end.wrapping_add(off)) == end && (end ^ word) >> 23 == 0 {
                (word, rest) = (end, rest - stretch);
                break;
            }
            stretch /= 2;
        }
    }
    word
}

/// Brings words nearer to zero by a share of their own values; exponents stay.
fn shrink<W: Word>(words: &mut [W], mantissa: u32, share: u32) {
    let mask = (1u64 << mantissa) - 1;
    for word in words {
        let own = word.wide() & mask;
        let less = (u128::from(own | 1 << mantissa) * u128::from(share) + (1 << 31)) >> 32;
        *word = W::narrow(word.wide() & !mask | own.saturating_sub(less as u64));
    }
}

/// What may have become of the quiet segments of a block by itself, the likelier first; nothing for types so narrow that
/// it makes no difference.
pub fn guesses(raw: &[u8], base: &[u8], kind: Kind) -> Vec<Drift> {
    match kind.number {
        Number::Float { mantissa: 23 } => {
            let (raw, base) = (u32::read_all(raw), u32::read_all(base));
            let Some(share) = share(&raw, &base, 23) else { return Vec::new() };
            decay(&raw, &base, share).into_iter().chain([Drift::share(scaled(share))]).collect()
        }
        Number::Float { mantissa: 52 } => {
            let share = share(&u64::read_all(raw), &u64::read_all(base), 52);
            share.map(|share| Drift::share(scaled(share))).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn scaled(share: f64) -> u32 {
    (share * (1u64 << 32) as f64) as u32
}

/// Which share a word lost.
fn lost<W: Word>(raw: W, base: W, mantissa: u32) -> f64 {
    let value = |word: W| (word.wide() << (65 - W::BITS) >> (65 - W::BITS)) as f64;
    let own = (base.wide() & ((1 << mantissa) - 1) | 1 << mantissa) as f64;
    (value(base) - value(raw)) / own
}

/// The share that most of the quiet segments lost, if they lost any.
fn share<W: Word>(raw: &[W], base: &[W], mantissa: u32) -> Option<f64> {
    let segments = raw.chunks_exact(SEGMENT).zip(base.chunks_exact(SEGMENT));
    let middle = |(raw, base): (&[W], &[W])| {
        let mut shares: Vec<f64> = raw.iter().zip(base).map(|(&raw, &base)| lost(raw, base, mantissa)).collect();
        shares.sort_by(f64::total_cmp);
        (shares[SEGMENT * 3 / 4] - shares[SEGMENT / 4], shares[SEGMENT / 2])
    };
    let mut shares: Vec<(f64, f64)> = segments.map(middle).collect();
    // Those whose elements agree most, of which some did not change at all.
    shares.sort_by(|a, b| a.0.total_cmp(&b.0));
    let moved: Vec<f64> = shares.into_iter().map(|(_, middle)| middle).filter(|&middle| middle > 0.0).collect();
    let mut quiet = moved[..moved.len().div_ceil(4)].to_vec();
    quiet.sort_by(f64::total_cmp);
    quiet.get(quiet.len() / 2).copied()
}

/// The equal steps that explain most of the elements that lost about `share`.
fn decay(raw: &[u32], base: &[u32], share: f64) -> Option<Drift> {
    let near = |(&raw, &base): (&u32, &u32)| (lost(raw, base, 23) - share).abs() < share * 0.5;
    let pairs: Vec<(u32, u32)> =
        raw.iter().zip(base).filter(|pair| near(*pair)).map(|(&raw, &base)| (raw, base)).collect();
    let pairs: Vec<(u32, u32)> = pairs.iter().step_by(pairs.len() / TRIED + 1).copied().collect();
    let few = &pairs[..pairs.len().min(FEW)];
    let mut best = (pairs.len() / 4, None);
    for factor in 1..=MOST_FACTOR {
        let by = 1.0 - f32::from(factor) / (1 << 24) as f32;
        let steps = |&(raw, base): &(u32, u32)| {
            let off = base.wrapping_sub((f32::from_bits(base) * by).to_bits());
            base.wrapping_sub(raw).wrapping_add(off / 2).checked_div(off)
        };
        let mut steps: Vec<u32> = few.iter().filter_map(steps).collect();
        steps.sort_unstable();
        let Some(steps) = steps.get(steps.len() / 2).and_then(|&steps| u16::try_from(steps).ok()) else { continue };
        let explained =
            |pairs: &[(u32, u32)]| pairs.iter().filter(|(raw, base)| slowly(*base, by, steps.into()) == *raw).count();
        if steps == 0 || explained(few) * 4 < few.len() {
            continue;
        }
        let explained = explained(&pairs);
        if explained > best.0 {
            best = (explained, Some(Drift::decay(factor, steps)));
        }
        if explained * 8 > pairs.len() * 7 {
            break;
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighthouse_format::Dtype;

    #[test]
    fn a_run_is_what_so_many_multiplications_make() {
        let mut state = 9u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
        };
        for (factor, steps) in [(1, 1), (3, 160), (8, 3000), (503, 700), (1023, 65_535), (0, 9)] {
            // Any bits, and weights close to where the rounding changes and where an octave ends.
            let any: Vec<u32> = (0..300).map(|_| random()).collect();
            let near = |edge: f32| edge.to_bits().wrapping_add(random() % 999);
            let edges: Vec<u32> = [0.5, 0.75, 0.8333, -0.625, 0.0, 1e-38].into_iter().map(near).collect();
            let words = [any, edges].concat();
            let by = 1.0 - f32::from(factor) / (1 << 24) as f32;
            let expected = words.iter().map(|&word| {
                let finite = f32::from_bits(word).is_finite();
                (0..if finite { steps } else { 0 }).fold(word, |word, _| (f32::from_bits(word) * by).to_bits())
            });
            let expected: Vec<u32> = expected.collect();
            let mut found = words;
            Drift::decay(factor, steps).apply(&mut found, Kind::of(Dtype::F32));
            assert_eq!(found, expected, "{factor} {steps}");
        }
    }

    #[test]
    fn a_drift_is_read_as_it_was_written_and_a_stronger_one_is_refused() {
        for drift in [Drift::NONE, Drift::share(77), Drift::decay(3, 40)] {
            let mut bytes = Vec::new();
            drift.write(&mut bytes);
            bytes.push(9);
            let mut rest = &*bytes;
            assert_eq!((Drift::read(&mut rest), rest), (Ok(drift), &[9][..]));
        }
        for damaged in [&[0, 0, 0, 0, 9][..], &[0, 0, 0, 0, 1, 0, 4, 1, 0], &[0; 4], &[0, 0, 0, 0, 1, 1, 0, 1]] {
            assert!(Drift::read(&mut &*damaged).is_err());
        }
    }
}
