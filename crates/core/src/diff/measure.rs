//! One pass over both sides, band by band, on all cores: what is the same as bytes is compared as bytes; only what differs
//! becomes numbers.

use std::borrow::Cow;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use weighthouse_format::data::Elements;
use weighthouse_format::difference::{Difference, Mixture, changed_bytes, squares};
use weighthouse_format::number::numbers;
use weighthouse_format::stats::check_stored;
use weighthouse_format::tensor::{Filter, Stored};
use weighthouse_format::{Folder, FormatError, Limits, Tensor};

use super::align::Pair;
use super::rank::{self, Rank, Zeros};
use super::requantise::{Recomputed, Recomputing};
use super::{Arrangement, Side};
use weighthouse_format::error::chain;

/// Elements that are compared at once.
const BAND: u64 = 1 << 18;
/// Elements of a tensor that one thread takes at a time.
const TASK: u64 = 1 << 24;
/// What is held of a tensor whose elements lie in another order; more is gathered in windows.
const HELD_BYTES: u64 = 48 << 20;
/// What is decoded at once of compressed tensors.
const DECODED_BYTES: u64 = 1 << 30;
/// Threads, at most.
const MAX_THREADS: usize = 16;

/// A pair, ready to be read.
pub(super) struct Plan<'a> {
    a: Cow<'a, Tensor>,
    b: Cow<'a, Tensor>,
    c: Option<Cow<'a, Tensor>>,
    side_a: Side<'a>,
    side_b: Side<'a>,
    folder_c: Option<&'a dyn Folder>,
    /// Elements that are compared.
    elements: u64,
    /// Elements that are a whole number of blocks on every side.
    granule: u64,
    /// Whether reading it takes memory: one of them at a time.
    heavy: bool,
}

/// What the numbers of a pair say.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    pub difference: Difference,
    pub changed_bytes: u64,
    /// Bytes on the second side.
    pub size_bytes: u64,
    pub mixture: Option<Mixture>,
    pub recomputed: Option<Recomputed>,
    pub rank: Option<Rank>,
    pub zeros: Option<Zeros>,
    /// Runs of elements that are the same as bytes, of which no numbers were taken.
    same: Vec<(u64, u64)>,
}

impl<'a> Plan<'a> {
    /// Says how a pair is read; an error in words when it cannot be.
    pub(super) fn of(
        pair: &Pair,
        side_a: Side<'a>,
        side_b: Side<'a>,
        third: Option<(Side<'a>, &'a Tensor)>,
    ) -> Option<Result<Self, String>> {
        let (a, b) = (side_a.tensors().get(pair.a?)?, side_b.tensors().get(pair.b?)?);
        let elements = match pair.arrangement {
            Arrangement::Rows(rows) => {
                let row = Tensor::checked_elements(b.shape.get(1..).unwrap_or_default()).unwrap_or(0);
                rows.saturating_mul(row)
            }
            _ if a.elements() != b.elements() => return None,
            _ => a.elements(),
        };
        let third = third.filter(|(_, c)| c.elements() == a.elements());
        let mut plan = Self {
            a: Cow::Borrowed(a),
            b: Cow::Borrowed(b),
            c: third.map(|(_, c)| Cow::Borrowed(c)),
            side_a,
            side_b,
            folder_c: third.map(|(side, _)| side.folder),
            elements,
            granule: 1,
            heavy: false,
        };
        if let Arrangement::Axes { .. } = pair.arrangement {
            if let Some(view) = pair.arrangement.view(a) {
                plan.c = plan.c.and_then(|c| pair.arrangement.view(&c)).map(Cow::Owned);
                plan.a = Cow::Owned(view);
            } else if let Some(view) = pair.arrangement.inverse().view(b) {
                plan.b = Cow::Owned(view);
            } else {
                return Some(Err("its elements lie in another order, and in pieces that cannot be read so".to_owned()));
            }
        }
        let sides: [Option<&Tensor>; 3] = [Some(&plan.a), Some(&plan.b), plan.c.as_deref()];
        plan.granule = sides.iter().flatten().map(|tensor| tensor.dtype.block_elements()).max().unwrap_or(1);
        plan.heavy = sides.iter().flatten().any(|tensor| is_heavy(tensor));
        Some(
            sides
                .iter()
                .flatten()
                .try_for_each(|tensor| check_stored(tensor))
                .map_err(|error| chain(&error))
                .map(|()| plan),
        )
    }

    /// Bytes that are read.
    pub(super) fn size_bytes(&self) -> u64 {
        let of = |tensor: &Tensor| tensor.dtype.size_bytes(self.elements).unwrap_or_else(|| tensor.size_bytes());
        of(&self.a).saturating_add(of(&self.b)).saturating_add(self.c.as_deref().map_or(0, of))
    }

    /// Whether both sides are the same bytes of files that are known to be the same.
    fn is_known(&self) -> bool {
        self.a.dtype == self.b.dtype
            && self.c.is_none()
            && !self.a.pieces.is_empty()
            && self.a.pieces.len() == self.b.pieces.len()
            && self.a.shape == self.b.shape
            && self.a.pieces.iter().zip(&self.b.pieces).all(|(a, b)| {
                let places = match (&a.stored, &b.stored) {
                    (
                        Stored::File { file: file_a, begin: begin_a, end: end_a },
                        Stored::File { file: file_b, begin: begin_b, end: end_b },
                    ) => {
                        let known = (self.side_a.known)(file_a);
                        (begin_a, end_a) == (begin_b, end_b) && known.is_some() && known == (self.side_b.known)(file_b)
                    }
                    (a, b) => a == b,
                };
                places
                    && (&a.region, &a.filters, a.decoded_bytes, a.first_byte, &a.strides)
                        == (&b.region, &b.filters, b.decoded_bytes, b.first_byte, &b.strides)
            })
    }

    /// A reader of rows for the rank: both sides as numbers.
    pub(super) fn rows(&self, first: u64, elements: u64) -> Result<(Vec<f32>, Vec<f32>), FormatError> {
        let limits = limits(self.heavy);
        let read = |folder: &dyn Folder, tensor: &Tensor| {
            let block = tensor.dtype.block_elements();
            let mut reader = Elements::new(folder, tensor, &limits)?;
            let begin = first / block;
            let units = (first + elements).div_ceil(block) - begin;
            let mut bytes = vec![0; usize::try_from(units * reader.unit_bytes()).unwrap_or(usize::MAX)];
            reader.read(begin, &mut bytes)?;
            let found = numbers(tensor.dtype, &bytes)?;
            let skip = usize::try_from(first - begin * block).unwrap_or(usize::MAX);
            let len = usize::try_from(elements).unwrap_or(usize::MAX);
            Ok::<_, FormatError>((skip..skip + len).map(|at| found.get(at).unwrap_or(0.0) as f32).collect::<Vec<f32>>())
        };
        Ok((read(self.side_a.folder, &self.a)?, read(self.side_b.folder, &self.b)?))
    }

    /// Both tensors as they are read.
    pub(super) fn tensors(&self) -> (&Tensor, &Tensor) {
        (&self.a, &self.b)
    }

    pub(super) const fn elements(&self) -> u64 {
        self.elements
    }
}

/// Whether more than a band of a tensor is held in memory while it is read.
fn is_heavy(tensor: &Tensor) -> bool {
    let packed = |filter: &Filter| {
        !matches!(filter, Filter::SwapBytes { .. } | Filter::Negate { .. } | Filter::Conjugate { .. })
    };
    tensor.pieces.iter().any(|piece| {
        piece.strides.is_some()
            || piece.filters.iter().any(packed)
            || (!piece.filters.is_empty() && piece.decoded_bytes > 8 << 20)
    })
}

fn limits(heavy: bool) -> Limits {
    let mut limits = Limits::default();
    limits.decoded_bytes = if heavy { DECODED_BYTES } else { HELD_BYTES };
    limits
}

/// Whether the elements of a tensor are moved but not packed: its pieces are gathered, and never held whole.
fn is_moved(tensor: &Tensor) -> bool {
    tensor.pieces.iter().all(|piece| piece.filters.is_empty())
}

/// Reads all pairs, several at a time.
///
/// `progress` is told the bytes as they are read, from any thread.
pub(super) fn measure(plans: &[Option<Plan<'_>>], progress: &(dyn Fn(u64) + Sync)) -> Vec<Result<Measured, String>> {
    let results: Vec<Mutex<Result<Measured, String>>> =
        plans.iter().map(|_| Mutex::new(Ok(Measured::default()))).collect();
    let tasks = tasks(plans, progress);
    let heavy = Mutex::new(());
    in_parallel(&tasks, |task| {
        let Some(Some(plan)) = plans.get(task.pair) else { return };
        let _one = plan.heavy.then(|| heavy.lock());
        let found = task.run(plan, progress);
        let Some(Ok(mut result)) = results.get(task.pair).map(Mutex::lock) else { return };
        match (&mut *result, found) {
            (Ok(whole), Ok(part)) => whole.merge(part),
            (whole @ Ok(_), Err(error)) => *whole = Err(chain(&error)),
            (Err(_), _) => {}
        }
    });
    let pairs: Vec<usize> = (0..plans.len()).collect();
    in_parallel(&pairs, |&pair| {
        let (Some(Some(plan)), Some(result)) = (plans.get(pair), results.get(pair)) else { return };
        let Ok(mut result) = result.lock() else { return };
        let Ok(measured) = &mut *result else { return };
        measured.size_bytes = plan.b.dtype.size_bytes(plan.elements).unwrap_or_else(|| plan.b.size_bytes());
        if measured.difference.changed == 0 {
            return;
        }
        let _one = plan.heavy.then(|| heavy.lock());
        let done = measured.add_squares(plan).map_err(|error| chain(&error));
        match done {
            Ok(()) => {
                measured.rank = rank::of(plan, &measured.difference);
                if measured.difference.new_zeros > measured.difference.elements / 20 {
                    measured.zeros = rank::zeros(plan);
                }
            }
            Err(error) => *result = Err(error),
        }
    });
    results.into_iter().map(|result| result.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())).collect()
}

fn in_parallel<T: Sync>(tasks: &[T], run: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(tasks.len()) {
            scope.spawn(|| {
                while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run(task);
                }
            });
        }
    });
}

/// A run of one pair's elements.
struct Task {
    pair: usize,
    first: u64,
    elements: u64,
}

/// Cuts large tensors into runs, but for those that are held or decoded whole.
fn tasks(plans: &[Option<Plan<'_>>], progress: &(dyn Fn(u64) + Sync)) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (pair, plan) in plans.iter().enumerate() {
        let Some(plan) = plan.as_ref().filter(|plan| plan.elements > 0) else { continue };
        if plan.is_known() {
            progress(plan.size_bytes());
            continue;
        }
        let step = if plan.heavy { plan.elements } else { TASK.next_multiple_of(plan.granule) };
        let mut first = 0;
        while first < plan.elements {
            let elements = step.min(plan.elements - first);
            tasks.push(Task { pair, first, elements });
            first += elements;
        }
    }
    tasks
}

/// A reader of one side, and the band that it read last.
struct Band<'a> {
    tensor: &'a Tensor,
    elements: Elements<'a>,
    bytes: Vec<u8>,
}

impl<'a> Band<'a> {
    fn new(folder: &'a dyn Folder, tensor: &'a Tensor, limits: &'a Limits) -> Result<Self, FormatError> {
        Ok(Self { tensor, elements: Elements::new(folder, tensor, limits)?, bytes: Vec::new() })
    }

    fn read(&mut self, first: u64, elements: u64) -> Result<u64, FormatError> {
        let block = self.tensor.dtype.block_elements();
        let units = elements.div_ceil(block);
        self.bytes.resize(usize::try_from(units * self.elements.unit_bytes()).unwrap_or(usize::MAX), 0);
        self.elements.read(first / block, &mut self.bytes)?;
        Ok(self.bytes.len() as u64)
    }
}

impl Task {
    fn run(&self, plan: &Plan<'_>, progress: &(dyn Fn(u64) + Sync)) -> Result<Measured, FormatError> {
        let held = |tensor: &Tensor| limits(plan.heavy && !is_moved(tensor));
        let (limits_a, limits_b, limits_c) = (held(&plan.a), held(&plan.b), Limits::default());
        let mut a = Band::new(plan.side_a.folder, &plan.a, &limits_a)?;
        let mut b = Band::new(plan.side_b.folder, &plan.b, &limits_b)?;
        let mut c = match (&plan.c, plan.folder_c) {
            (Some(tensor), Some(folder)) => Some(Band::new(folder, tensor, &limits_c)?),
            _ => None,
        };
        let (dtype_a, dtype_b) = (plan.a.dtype, plan.b.dtype);
        let mut found = Measured::default();
        let mut recomputing = Recomputing::of(dtype_a, dtype_b);
        let step = BAND.next_multiple_of(plan.granule);
        let (mut at, end) = (self.first, self.first + self.elements);
        while at < end {
            let elements = step.min(end - at);
            let mut bytes = a.read(at, elements)? + b.read(at, elements)?;
            if dtype_a == dtype_b && a.bytes == b.bytes {
                found.add_same(at, elements);
            } else {
                let difference = Difference::of(dtype_a, &a.bytes, dtype_b, &b.bytes)?;
                found.changed_bytes += if dtype_a == dtype_b {
                    changed_bytes(&a.bytes, &b.bytes)
                } else {
                    dtype_b.size_bytes(difference.changed.next_multiple_of(dtype_b.block_elements())).unwrap_or(0)
                };
                found.difference.merge(&difference);
                if let Some(recomputing) = &mut recomputing {
                    recomputing.band(&a.bytes, &b.bytes)?;
                }
            }
            if let Some(c) = &mut c {
                bytes += c.read(at, elements)?;
                let (of_a, of_b) = (numbers(dtype_a, &a.bytes)?, numbers(dtype_b, &b.bytes)?);
                let of_c = numbers(c.tensor.dtype, &c.bytes)?;
                found.mixture.get_or_insert_default().add(&of_a, &of_b, &of_c);
            }
            progress(bytes);
            at += elements;
        }
        found.recomputed = recomputing.map(Recomputing::end);
        Ok(found)
    }
}

impl Measured {
    fn add_same(&mut self, first: u64, elements: u64) {
        match self.same.last_mut() {
            Some((begin, len)) if *begin + *len == first => *len += elements,
            _ => self.same.push((first, elements)),
        }
    }

    fn merge(&mut self, other: Self) {
        self.difference.merge(&other.difference);
        self.changed_bytes += other.changed_bytes;
        self.same.extend(other.same);
        if let Some(theirs) = other.mixture {
            self.mixture.get_or_insert_default().merge(&theirs);
        }
        self.recomputed = match (self.recomputed.take(), other.recomputed) {
            (Some(mine), Some(theirs)) => Some(mine.and(theirs)),
            (mine, theirs) => mine.or(theirs),
        };
    }

    /// Numbers of the runs that were the same as bytes, of tensors in which others were not.
    fn add_squares(&mut self, plan: &Plan<'_>) -> Result<(), FormatError> {
        let runs = std::mem::take(&mut self.same);
        let limits = limits(plan.heavy && !is_moved(&plan.a));
        let mut a = Band::new(plan.side_a.folder, &plan.a, &limits)?;
        for (first, elements) in runs {
            let (mut at, end) = (first, first + elements);
            while at < end {
                let len = BAND.next_multiple_of(plan.granule).min(end - at);
                a.read(at, len)?;
                self.difference.add_same(len, squares(plan.a.dtype, &a.bytes)?);
                at += len;
            }
        }
        Ok(())
    }
}
