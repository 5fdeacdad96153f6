//! The bytes of a planned file, in order: several threads read and cast, one thread takes.
//!
//! ```text
//!   queue of tensors ─► worker ─┐ each tensor has a channel of its own,
//!                    ─► worker ─┤ the channels arrive in the order of the file
//!                               └─► taker: bytes, checksums ─► sink
//! ```
//! Memory is bounded by the number of workers, whatever the size of a tensor.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use crc_fast::{CrcAlgorithm, Digest};
use weighthouse_format::cast::cast;
use weighthouse_format::data::Elements;
use weighthouse_format::data::produce::Produce;
use weighthouse_format::error::chain;
use weighthouse_format::number::{Numbers, numbers};
use weighthouse_format::output::{Checksum, OutputFile, OutputTensor, Part, torch_id};
use weighthouse_format::remap::{Affine, dequantise};
use weighthouse_format::{Dtype, Folder, FormatError, Limits};

use super::Plan;
use crate::Error;

/// Bytes that a worker gives at once.
pub(super) const BAND_BYTES: u64 = 1 << 20;
/// Most workers.
const WORKERS: usize = 8;

type Band = Result<Vec<u8>, FormatError>;

/// Gives the bytes of `file` from part `first` on to `sink`. `sums` are those of the parts before.
///
/// # Errors
/// What reading, casting and the sink say. Nothing else is given to the sink after an error.
pub(super) fn stream(
    folder: &dyn Folder,
    plan: &Plan,
    file: &OutputFile,
    first: usize,
    sums: &mut Sums,
    sink: &mut dyn FnMut(Given<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let tensors = plan.tensors.as_slice();
    let parts = file.parts.get(first..).unwrap_or_default();
    let queue = parts.iter().filter_map(|part| match part {
        Part::Tensor(number) => Some((tensors.get(*number)?, plan.affine.get(number))),
        _ => None,
    });
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get).min(WORKERS);
    let (announce, announced) = sync_channel::<Receiver<Band>>(workers);
    let queue = Mutex::new((queue, announce));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(((tensor, affine), sender)) = next(&queue) {
                    produce(folder, tensor, affine, &sender);
                }
                // The taker waits as long as somebody could still announce.
            });
        }
        // Dropped first on every way out, which ends the workers.
        let announced = announced;
        for (number, part) in parts.iter().enumerate() {
            let mut sum = Sum::new(sums.wanted);
            match part {
                Part::Bytes(bytes) => {
                    sum.update(bytes);
                    sink(Given::Bytes(bytes))?;
                }
                Part::Crc32(range) => {
                    let bytes = sums.of(range.clone()).to_le_bytes();
                    sum.update(&bytes);
                    sink(Given::Bytes(&bytes))?;
                }
                Part::TorchId { names, members } => {
                    let members = members.iter().map(|member| match member {
                        Checksum::Known(sum) => *sum,
                        Checksum::Of(range) => sums.of(range.clone()),
                    });
                    let digits = torch_id(*names, members);
                    sum.update(digits.as_bytes());
                    sink(Given::Bytes(digits.as_bytes()))?;
                }
                Part::Tensor(tensor) => {
                    let name = tensors.get(*tensor).map_or("", |tensor| &tensor.name);
                    let expected = part.size_bytes(tensors);
                    let mut got = 0;
                    let gone = || Error::Malformed("a thread that reads tensors ended early".to_owned());
                    for band in announced.recv().map_err(|_| gone())? {
                        let band = band.map_err(|error| reading(name, &error))?;
                        got += band.len() as u64;
                        sum.update(&band);
                        sink(Given::Bytes(&band))?;
                    }
                    if got != expected {
                        let text = format!("tensor `{name}` gave {got} bytes of {expected}");
                        return Err(Error::Malformed(text));
                    }
                }
            }
            sums.push(sum);
            sink(Given::EndOfPart(first + number))?;
        }
        Ok(())
    })
}

/// What a sink is given.
pub(super) enum Given<'a> {
    /// The next bytes of the file.
    Bytes(&'a [u8]),
    /// The part of this number is complete.
    EndOfPart(usize),
}

/// The next tensor, and where its bytes go. Holding the lock keeps the order of the channels that of the file.
fn next<T>(queue: &Mutex<(impl Iterator<Item = T>, SyncSender<Receiver<Band>>)>) -> Option<(T, SyncSender<Band>)> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    let tensor = queue.0.next()?;
    let (sender, receiver) = sync_channel(1);
    queue.1.send(receiver).ok()?;
    Some((tensor, sender))
}

fn produce(folder: &dyn Folder, tensor: &OutputTensor, affine: Option<&Affine>, sender: &SyncSender<Band>) {
    let limits = data_limits();
    // A taker that is gone has failed, and says why itself.
    let send = |bytes: &[u8]| sender.send(Ok(bytes.to_vec())).map_err(|_| FormatError::Empty { what: "the taker" });
    let bands = match affine {
        Some(affine) => computed(folder, tensor, affine, &limits, send),
        None => Produce::new(folder, tensor, &limits).and_then(|mut produce| produce.bands(BAND_BYTES, send)),
    };
    if let Err(error) = bands {
        let _ = sender.send(Err(error));
    }
}

/// A tensor out of packed words, some rows at a time.
fn computed(
    folder: &dyn Folder,
    tensor: &OutputTensor,
    affine: &Affine,
    limits: &Limits,
    mut each: impl FnMut(&[u8]) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let columns = tensor.shape.last().copied().unwrap_or(0).max(1);
    let rows = tensor.elements() / columns;
    let mut words = Elements::new(folder, &tensor.recipe.source, limits)?;
    let mut scales = Elements::new(folder, &affine.scales, limits)?;
    let mut biases = Elements::new(folder, &affine.biases, limits)?;
    let step = (BAND_BYTES / (4 * columns)).max(1);
    let mut first = 0;
    while first < rows {
        let count = step.min(rows - first);
        let packed = part(&mut words, rows, first, count)?;
        let single = |elements: &mut Elements<'_>, dtype| match numbers(dtype, &part(elements, rows, first, count)?)? {
            Numbers::Single(numbers) => Ok(numbers),
            Numbers::Double(numbers) => Ok(numbers.into_iter().map(|number| number as f32).collect()),
        };
        let scales: Vec<f32> = single(&mut scales, affine.scales.dtype)?;
        let biases: Vec<f32> = single(&mut biases, affine.biases.dtype)?;
        let mut out = vec![0.0; usize::try_from(count * columns).unwrap_or(usize::MAX)];
        let group = usize::try_from(affine.group_size).unwrap_or(usize::MAX);
        dequantise(&packed, &scales, &biases, affine.bits, group, &mut out)?;
        let bytes: Vec<u8> = out.iter().flat_map(|number| number.to_le_bytes()).collect();
        let mut made = Vec::new();
        cast(Dtype::F32, &bytes, &tensor.recipe.steps, tensor.dtype, &mut made)?;
        each(&made)?;
        first += count;
    }
    Ok(())
}

/// The bytes of `count` of the `rows` that elements are in.
fn part(elements: &mut Elements<'_>, rows: u64, first: u64, count: u64) -> Result<Vec<u8>, FormatError> {
    let row = elements.units() / rows.max(1);
    let len = count.saturating_mul(row).saturating_mul(elements.unit_bytes());
    Limits::at_most("packed rows in bytes", len, 1 << 30)?;
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    elements.read(first.saturating_mul(row), &mut bytes)?;
    Ok(bytes)
}

/// Whoever converts wants large compressed arrays too, which are decoded whole.
pub(super) fn data_limits() -> Limits {
    let mut limits = Limits::default();
    limits.decoded_bytes = 1 << 30;
    limits
}

/// An error of reading a tensor, with its causes in one line.
fn reading(tensor: &str, error: &FormatError) -> Error {
    Error::Malformed(format!("tensor `{}`: {}", tensor.escape_default(), chain(error)))
}

/// CRC-32 of the parts of a file, where the file asks for any.
pub(super) struct Sums {
    wanted: bool,
    parts: Vec<Sum>,
}

impl Sums {
    pub(super) fn of_file(file: &OutputFile) -> Self {
        let wanted = file.parts.iter().any(|part| matches!(part, Part::Crc32(_) | Part::TorchId { .. }));
        Self { wanted, parts: Vec::new() }
    }

    /// A sum that is to be fed the bytes of the next part.
    pub(super) fn start(&self) -> Sum {
        Sum::new(self.wanted)
    }

    pub(super) fn push(&mut self, sum: Sum) {
        if self.wanted {
            self.parts.push(sum);
        }
    }

    fn of(&self, range: std::ops::Range<usize>) -> u32 {
        let mut whole = Digest::new(CrcAlgorithm::Crc32IsoHdlc);
        for sum in self.parts.get(range).unwrap_or_default() {
            if let Some(part) = &sum.0 {
                whole.combine(part);
            }
        }
        whole.finalize() as u32
    }
}

/// CRC-32 of one part.
pub(super) struct Sum(Option<Digest>);

impl Sum {
    fn new(wanted: bool) -> Self {
        Self(wanted.then(|| Digest::new(CrcAlgorithm::Crc32IsoHdlc)))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        if let Some(digest) = &mut self.0 {
            digest.update(bytes);
        }
    }
}
