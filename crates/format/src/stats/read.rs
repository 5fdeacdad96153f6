//! Reading tensors whole: everything that is wanted of their elements, in one pass, several tensors at a time.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::Digest;

use super::bits::{Bits, BitsReader};
use super::rows::{Rows, RowsReader};
use super::{Stats, each_part};
use crate::data::Elements;
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;
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

/// What reading a tensor whole gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Read {
    /// Statistics, if they were asked for.
    pub stats: Option<Stats>,
    /// SHA-256 of the row-major little-endian elements, if it was asked for; of quantised ones, of their blocks.
    pub sha256: Option<[u8; 32]>,
    /// What the bits of floats show, if that was asked for.
    pub bits: Option<Bits>,
    /// Rows of a matrix, if they were asked for.
    pub rows: Option<Rows>,
}

/// What to find out while a tensor is read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Statistics.
    pub stats: bool,
    /// SHA-256.
    pub sha256: bool,
    /// What the bits of floats show.
    pub bits: bool,
    /// Rows of matrices, and those that are more than so many robust standard deviations longer than the median.
    pub rows: Option<f64>,
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
        match (&mut self.bits, part.bits) {
            (Some(mine), Some(theirs)) => mine.merge(&theirs),
            (mine, theirs) => *mine = mine.take().or(theirs),
        }
        self.sha256 = self.sha256.or(part.sha256);
        self.rows = self.rows.take().or(part.rows);
    }
}

/// A run of one tensor's units.
struct Task {
    tensor: usize,
    first: u64,
    units: u64,
}

/// Cuts large tensors into runs, unless they are hashed or rows are read, which goes in order.
fn tasks(tensors: &[&Tensor], wanted: Wanted) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (number, tensor) in tensors.iter().enumerate() {
        let unit_bytes = tensor.dtype.block_bytes();
        if unit_bytes == 0 {
            continue;
        }
        let units = tensor.elements().div_ceil(tensor.dtype.block_elements());
        // Filtered pieces are decoded whole: cutting them would decode them several times.
        let whole =
            wanted.sha256 || wanted.rows.is_some() || tensor.pieces.iter().any(|piece| !piece.filters.is_empty());
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
        let mut pass = Pass::new(tensor, wanted, self.first);
        let step = (BAND_BYTES / elements.unit_bytes()).max(1);
        let mut buffer = Vec::new();
        let (mut at, end) = (self.first, self.first + self.units);
        while at < end {
            let units = step.min(end - at);
            buffer.resize(usize::try_from(units * elements.unit_bytes()).unwrap_or(usize::MAX), 0);
            elements.read(at, &mut buffer)?;
            pass.feed(&buffer)?;
            progress(buffer.len() as u64);
            at += units;
        }
        Ok(pass.finish())
    }
}

/// Everything that is found out of elements while they go by once.
struct Pass {
    dtype: Dtype,
    stats: Option<Stats>,
    hasher: Option<sha2::Sha256>,
    bits: Option<BitsReader>,
    rows: Option<(RowsReader, f64)>,
}

impl Pass {
    fn new(tensor: &Tensor, wanted: Wanted, first: u64) -> Self {
        Self {
            dtype: tensor.dtype,
            stats: wanted.stats.then(Stats::default),
            hasher: wanted.sha256.then(sha2::Sha256::new),
            bits: wanted.bits.then(|| BitsReader::new(tensor.dtype, first)).flatten(),
            rows: wanted.rows.and_then(|limit| Some((RowsReader::new(tensor)?, limit))),
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        if let Some(bits) = &mut self.bits {
            bits.feed(bytes);
        }
        if self.stats.is_none() && self.rows.is_none() {
            return Ok(());
        }
        each_part(self.dtype, bytes, |part| {
            if let Some(stats) = &mut self.stats {
                stats.take(part);
            }
            if let Some((rows, _)) = &mut self.rows {
                rows.feed(part);
            }
        })
    }

    fn finish(self) -> Read {
        Read {
            stats: self.stats,
            sha256: self.hasher.map(|hasher| hasher.finalize().into()),
            bits: self.bits.map(BitsReader::finish),
            rows: self.rows.map(|(rows, limit)| rows.finish(limit)),
        }
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

    #[test]
    fn a_tensor_that_is_hardly_there_is_not_read_for_days() {
        let fill = Stored::Fill([0u8].as_slice().into());
        let tensor = Tensor::plain("t", Dtype::U8, vec![1 << 50], fill);
        let folder = MemoryFolder::default();
        let wanted = Wanted { stats: true, sha256: true, bits: true, rows: Some(12.0) };
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
        let wanted = Wanted { stats: true, sha256: true, bits: true, rows: Some(12.0) };
        let found = read_all(&folder, &[&good, &bad, &empty], wanted, &Limits::default(), &|_| {});
        let read = found[0].as_ref().unwrap();
        assert_eq!(read.stats.unwrap().mean, 2.5);
        assert_eq!(read.sha256.unwrap(), <[u8; 32]>::from(sha2::Sha256::digest([1, 2, 3, 4])));
        assert!(found[1].is_err());
        assert_eq!(found[2].as_ref().unwrap().sha256.unwrap(), <[u8; 32]>::from(sha2::Sha256::digest([])));
    }
}
