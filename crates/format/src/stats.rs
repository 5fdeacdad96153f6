//! Statistics of tensors, streamed in one pass and in parallel.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::Digest;

use crate::data::Elements;
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::number::{Numbers, numbers};
use crate::source::Folder;
use crate::tensor::Tensor;

/// Bytes that are read at once.
const BAND_BYTES: u64 = 4 << 20;
/// Bytes of a tensor that one thread takes at a time.
const TASK_BYTES: u64 = 64 << 20;
/// A tensor that claims more elements than this, in bytes, must have a fair part of them stored.
const UNSTORED_BYTES: u64 = 256 << 20;
/// How many times more bytes a tensor may have than are stored of it: fill values, expanded views, compression.
const UNSTORED_RATIO: u64 = 256;
/// Elements that become numbers together, about: as numbers they stay in the second cache.
const PART: u64 = 16_384;
/// Elements whose mean is taken together; they stay in the first cache.
const RUN: usize = 2048;

/// What can be said of numbers without keeping them. Values that are not finite count, and are left out of the rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stats {
    /// Finite numbers.
    pub finite: u64,
    /// Not a number.
    pub nan: u64,
    /// Positive and negative infinities.
    pub infinite: u64,
    /// Zeros, of either sign.
    pub zeros: u64,
    /// Smallest; positive infinity when there are none.
    pub min: f64,
    /// Largest; negative infinity when there are none.
    pub max: f64,
    /// Mean of the finite numbers.
    pub mean: f64,
    /// Sum of squared distances from the mean.
    squares: f64,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            finite: 0,
            nan: 0,
            infinite: 0,
            zeros: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            mean: 0.0,
            squares: 0.0,
        }
    }
}

impl Stats {
    /// Statistics of little-endian elements.
    ///
    /// # Errors
    /// [`FormatError::Unsupported`] for types that are no numbers.
    pub fn of(dtype: Dtype, bytes: &[u8]) -> Result<Self, FormatError> {
        let mut stats = Self::default();
        let part_bytes = (PART / dtype.block_elements()).max(1).saturating_mul(dtype.block_bytes());
        for part in bytes.chunks(usize::try_from(part_bytes).unwrap_or(usize::MAX).max(1)) {
            match numbers(dtype, part)? {
                Numbers::Single(numbers) => numbers.chunks(RUN).for_each(|run| stats.merge(&of_run(run))),
                Numbers::Double(numbers) => numbers.chunks(RUN).for_each(|run| stats.merge(&of_run(run))),
            }
        }
        Ok(stats)
    }

    /// Takes in the statistics of other numbers (Chan, Golub and LeVeque 1979, equation 2.1).
    pub fn merge(&mut self, other: &Self) {
        let (mine, theirs) = (self.finite as f64, other.finite as f64);
        if other.finite > 0 {
            let distance = other.mean - self.mean;
            let share = theirs / (mine + theirs);
            self.mean += distance * share;
            self.squares += other.squares + distance * distance * mine * share;
        }
        self.finite += other.finite;
        self.nan += other.nan;
        self.infinite += other.infinite;
        self.zeros += other.zeros;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// All numbers.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.finite + self.nan + self.infinite
    }

    /// Standard deviation of the finite numbers, of the population as NumPy takes it.
    #[must_use]
    pub fn std(&self) -> f64 {
        if self.finite == 0 { 0.0 } else { (self.squares / self.finite as f64).sqrt() }
    }

    /// Euclidean norm of the finite numbers.
    #[must_use]
    pub fn norm(&self) -> f64 {
        (self.squares + self.finite as f64 * self.mean * self.mean).sqrt()
    }
}

/// A number that statistics are taken of.
trait Number: Copy + Into<f64> {
    const LARGEST: Self;
    const SMALLEST: Self;
    fn smaller(self, other: Self) -> Self;
    fn larger(self, other: Self) -> Self;
    fn is_zero(self) -> bool;
}

macro_rules! number {
    ($type:ty) => {
        impl Number for $type {
            const LARGEST: Self = <$type>::INFINITY;
            const SMALLEST: Self = <$type>::NEG_INFINITY;
            fn smaller(self, other: Self) -> Self {
                if other < self { other } else { self }
            }
            fn larger(self, other: Self) -> Self {
                if other > self { other } else { self }
            }
            fn is_zero(self) -> bool {
                self == 0.0
            }
        }
    };
}
number!(f32);
number!(f64);

/// Statistics of a short run, in one pass. Sums go in lanes, so that they vectorise.
///
/// Distances are taken from the first number and not from zero. As that is one of the numbers, their squares are at most
/// `n + 1` times those of the distances from the mean, which bounds what is lost when one is computed from the other.
fn of_run<T: Number>(run: &[T]) -> Stats {
    const LANES: usize = 8;
    let first: f64 = run.first().map_or(0.0, |&first| first.into());
    let (chunks, rest) = run.as_chunks::<LANES>();
    let (mut sums, mut squares) = ([0f64; LANES], [0f64; LANES]);
    let (mut low, mut high) = ([T::LARGEST; LANES], [T::SMALLEST; LANES]);
    let mut zeros = [0u32; LANES];
    let mut take = |chunk: &[T]| {
        for (((((&value, sum), square), low), high), zeros) in
            chunk.iter().zip(&mut sums).zip(&mut squares).zip(&mut low).zip(&mut high).zip(&mut zeros)
        {
            let distance: f64 = value.into() - first;
            *sum += distance;
            *square += distance * distance;
            *low = low.smaller(value);
            *high = high.larger(value);
            *zeros += u32::from(value.is_zero());
        }
    };
    chunks.iter().for_each(|chunk| take(chunk));
    take(rest);
    let (sum, squares): (f64, f64) = (sums.iter().sum(), squares.iter().sum());
    if !sum.is_finite() || !squares.is_finite() {
        return one_by_one(run);
    }
    let away = sum / run.len().max(1) as f64;
    Stats {
        finite: run.len() as u64,
        nan: 0,
        infinite: 0,
        zeros: zeros.iter().map(|&zeros| u64::from(zeros)).sum(),
        min: low.iter().fold(f64::INFINITY, |min, &value| min.min(value.into())),
        max: high.iter().fold(f64::NEG_INFINITY, |max, &value| max.max(value.into())),
        mean: first + away,
        squares: (squares - sum * away).max(0.0),
    }
}

/// Statistics of a run that has numbers which are not finite, or that are so large that their sum is not.
fn one_by_one<T: Number>(run: &[T]) -> Stats {
    let mut stats = Stats::default();
    for &value in run {
        let value: f64 = value.into();
        if value.is_nan() {
            stats.nan += 1;
        } else if value.is_infinite() {
            stats.infinite += 1;
        } else {
            let one = Stats {
                finite: 1,
                zeros: u64::from(value == 0.0),
                min: value,
                max: value,
                mean: value,
                ..Stats::default()
            };
            stats.merge(&one);
        }
    }
    stats
}

/// What reading a tensor whole gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Read {
    /// Statistics, if they were asked for.
    pub stats: Option<Stats>,
    /// SHA-256 of the row-major little-endian elements, if it was asked for; of quantised ones, of their blocks.
    pub sha256: Option<[u8; 32]>,
}

/// What to find out while a tensor is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Statistics.
    pub stats: bool,
    /// SHA-256.
    pub sha256: bool,
}

/// Reads all tensors, several at a time, and says what was wanted of each; text gives nothing.
///
/// `progress` is told the bytes as they are read, from any thread.
///
/// # Errors
/// One result for each tensor, in order: a tensor that cannot be read does not stop the others.
pub fn read_all(
    folder: &dyn Folder,
    tensors: &[&Tensor],
    wanted: Wanted,
    limits: &Limits,
    progress: &(dyn Fn(u64) + Sync),
) -> Vec<Result<Read, FormatError>> {
    let tasks = tasks(tensors, wanted);
    let results: Vec<Mutex<Result<Read, FormatError>>> =
        tensors.iter().map(|_| Mutex::new(Ok(Read::default()))).collect();
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(16);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(tasks.len()) {
            scope.spawn(|| {
                while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Some(tensor) = tensors.get(task.tensor) else { continue };
                    let found = task.run(folder, tensor, wanted, limits, progress);
                    let Some(Ok(mut result)) = results.get(task.tensor).map(Mutex::lock) else { continue };
                    match (&mut *result, found) {
                        (Ok(whole), Ok(part)) => whole.add(part),
                        (whole @ Ok(_), Err(error)) => *whole = Err(error),
                        (Err(_), _) => {}
                    }
                }
            });
        }
    });
    results.into_iter().map(|result| result.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())).collect()
}

impl Read {
    fn add(&mut self, part: Self) {
        match (&mut self.stats, part.stats) {
            (Some(mine), Some(theirs)) => mine.merge(&theirs),
            (mine, theirs) => *mine = mine.take().or(theirs),
        }
        self.sha256 = self.sha256.or(part.sha256);
    }
}

/// A run of one tensor's units.
struct Task {
    tensor: usize,
    first: u64,
    units: u64,
}

/// Cuts large tensors into runs, unless they are hashed, which goes in order.
fn tasks(tensors: &[&Tensor], wanted: Wanted) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (number, tensor) in tensors.iter().enumerate() {
        let unit_bytes = tensor.dtype.block_bytes();
        if unit_bytes == 0 {
            continue;
        }
        let units = tensor.elements().div_ceil(tensor.dtype.block_elements());
        // Filtered pieces are decoded whole: cutting them would decode them several times.
        let whole = wanted.sha256 || tensor.pieces.iter().any(|piece| !piece.filters.is_empty());
        let step = if whole { units.max(1) } else { (TASK_BYTES / unit_bytes).max(1) };
        let mut first = 0;
        loop {
            tasks.push(Task { tensor: number, first, units: step.min(units - first) });
            first += step;
            if first >= units {
                break;
            }
        }
    }
    // The longest first, so that no thread is left with one at the end.
    tasks.sort_by_key(|task| std::cmp::Reverse(task.units));
    tasks
}

impl Task {
    fn run(
        &self,
        folder: &dyn Folder,
        tensor: &Tensor,
        wanted: Wanted,
        limits: &Limits,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Read, FormatError> {
        check_stored(tensor)?;
        let mut elements = Elements::new(folder, tensor, limits)?;
        let mut stats = wanted.stats.then(Stats::default);
        let mut hasher = wanted.sha256.then(sha2::Sha256::new);
        let step = (BAND_BYTES / elements.unit_bytes()).max(1);
        let mut buffer = Vec::new();
        let (mut at, end) = (self.first, self.first + self.units);
        while at < end {
            let units = step.min(end - at);
            buffer.resize(usize::try_from(units * elements.unit_bytes()).unwrap_or(usize::MAX), 0);
            elements.read(at, &mut buffer)?;
            if let Some(hasher) = &mut hasher {
                hasher.update(&buffer);
            }
            if let Some(stats) = &mut stats {
                stats.merge(&Stats::of(tensor.dtype, &buffer)?);
            }
            progress(buffer.len() as u64);
            at += units;
        }
        Ok(Read { stats, sha256: hasher.map(|hasher| hasher.finalize().into()) })
    }
}

/// Refuses a tensor that would take days to read although a few bytes are stored.
///
/// # Errors
/// [`FormatError::Unsupported`] when it has far more bytes by its shape than are stored of it.
pub fn check_stored(tensor: &Tensor) -> Result<(), FormatError> {
    let size = tensor.size_bytes();
    let stored = tensor.pieces.iter().fold(0u64, |sum, piece| sum.saturating_add(piece.stored.size_bytes()));
    if size <= UNSTORED_BYTES.max(stored.saturating_mul(UNSTORED_RATIO)) {
        return Ok(());
    }
    let detail = format!("tensor `{}` has {size} bytes by its shape, of which {stored} are stored", tensor.name);
    Err(FormatError::Unsupported { what: "reading a tensor that is hardly there", detail })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{MemoryFolder, Section};
    use crate::tensor::Stored;
    use proptest::prelude::*;

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() <= 1e-9 * one.abs().max(other.abs()).max(1.0)
    }

    proptest! {
        #[test]
        fn one_pass_finds_what_two_passes_find(values in prop::collection::vec(-1e6f32..1e6, 1..6000), bad in 0usize..3) {
            let mut all = values.clone();
            let at = all.len() / 2;
            all.splice(at..at, [[].as_slice(), &[f32::NAN, 0.0], &[f32::INFINITY, f32::NEG_INFINITY]][bad].iter().copied());
            let bytes: Vec<u8> = all.iter().flat_map(|value| value.to_le_bytes()).collect();
            let stats = Stats::of(Dtype::F32, &bytes).unwrap();
            let finite: Vec<f64> = all.iter().filter(|value| value.is_finite()).map(|&value| f64::from(value)).collect();
            let mean = finite.iter().sum::<f64>() / finite.len() as f64;
            let variance = finite.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / finite.len() as f64;
            prop_assert_eq!(stats.count(), all.len() as u64);
            prop_assert_eq!((stats.nan, stats.infinite), (u64::from(bad == 1), if bad == 2 { 2 } else { 0 }));
            prop_assert_eq!(stats.zeros, finite.iter().filter(|value| **value == 0.0).count() as u64);
            prop_assert_eq!(stats.min, finite.iter().copied().fold(f64::INFINITY, f64::min));
            prop_assert_eq!(stats.max, finite.iter().copied().fold(f64::NEG_INFINITY, f64::max));
            prop_assert!(close(stats.mean, mean), "{} {}", stats.mean, mean);
            prop_assert!(close(stats.std(), variance.sqrt()), "{} {}", stats.std(), variance.sqrt());
            prop_assert!(close(stats.norm(), finite.iter().map(|value| value * value).sum::<f64>().sqrt()));
        }
    }

    #[test]
    fn a_tensor_that_is_hardly_there_is_not_read_for_days() {
        let fill = Stored::Fill([0u8].as_slice().into());
        let tensor = Tensor::plain("t", Dtype::U8, vec![1 << 50], fill);
        let folder = MemoryFolder::default();
        let wanted = Wanted { stats: true, sha256: true };
        let found = read_all(&folder, &[&tensor], wanted, &Limits::default(), &|_| {});
        assert!(found[0].as_ref().unwrap_err().to_string().contains("of which 1 are stored"));
    }

    #[test]
    fn all_tensors_are_read_and_a_broken_one_hurts_no_other() {
        let folder = MemoryFolder::new(vec![Section::of_bytes("a", (0..=255u8).collect::<Vec<_>>())]);
        let tensor = |begin, end| {
            Tensor::plain("t", Dtype::U8, vec![end - begin], Stored::File { file: "a".into(), begin, end })
        };
        let (good, bad, empty) = (tensor(1, 5), tensor(250, 300), tensor(0, 0));
        let wanted = Wanted { stats: true, sha256: true };
        let found = read_all(&folder, &[&good, &bad, &empty], wanted, &Limits::default(), &|_| {});
        let read = found[0].as_ref().unwrap();
        assert_eq!(read.stats.unwrap().mean, 2.5);
        assert_eq!(read.sha256.unwrap(), <[u8; 32]>::from(sha2::Sha256::digest([1, 2, 3, 4])));
        assert!(found[1].is_err());
        assert_eq!(found[2].as_ref().unwrap().sha256.unwrap(), <[u8; 32]>::from(sha2::Sha256::digest([])));
    }
}
