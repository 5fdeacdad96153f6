//! Values of one tensor: a window, a histogram, and all of them as an npy file.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use weighthouse_format::data::Elements;
use weighthouse_format::number::{Numbers, numbers};
use weighthouse_format::{Dtype, FormatError, Limits, Tensor};
use weighthouse_store::StoreError;
use weighthouse_store::digest::Sha256;

use super::stored::explain;
use super::{Inside, Part, TensorStats, task};
use crate::{Error, Hub};

/// Rows and columns of a window.
pub const WINDOW: u64 = 16;
/// Bars of a histogram.
pub const BARS: usize = 48;
/// Downloads of single tensors at once; each keeps a thread.
pub(super) const DOWNLOADS: usize = 8;

/// Changes whenever histograms are made in a new way.
const VERSION: i64 = 1;
/// Bytes of a tensor that a histogram is made of; of a larger one it is made of samples.
const HISTOGRAM_BYTES: u64 = 64 << 20;
/// Bytes of one sample.
const SAMPLE_BYTES: u64 = 1 << 20;
/// Most bytes that answering one question about values reads.
const BUDGET_BYTES: u64 = 1 << 30;
/// Bytes of one piece of an npy file.
const PIECE_BYTES: u64 = 1 << 20;

/// A part of a tensor, as rows of numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// First row, of [`Window::rows`].
    pub row: u64,
    /// First column, of [`Window::columns`].
    pub column: u64,
    /// Rows of the whole: the product of all extents but the last; a vector is cut into rows of 16.
    pub rows: u64,
    /// Columns of the whole: the last extent.
    pub columns: u64,
    /// Up to 16 rows of up to 16 numbers.
    pub values: Vec<Vec<f64>>,
}

/// How often values occur.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Histogram {
    /// Lower end of the first bar.
    pub min: f64,
    /// Upper end of the last bar, which it includes.
    pub max: f64,
    /// Numbers in each bar; all bars are equally wide.
    pub counts: Vec<u64>,
    /// Finite numbers that were counted.
    pub counted: u64,
    /// Whether these are samples of a larger tensor.
    pub sampled: bool,
}

/// An npy file of a tensor, to be made as it is sent.
#[derive(Debug)]
pub struct Npy {
    /// Magic, version, and header, padded to 64 bytes.
    header: Vec<u8>,
    /// Length of the whole file in bytes.
    pub size_bytes: u64,
    /// The element type in NumPy's spelling, such as `<f4`.
    pub descr: &'static str,
    /// Whether elements change their type: NumPy has no `BF16`, no 8-bit floats, and no blocks.
    pub widened: bool,
}

/// Rows and columns of a tensor as a table.
#[must_use]
pub fn table_of(shape: &[u64]) -> (u64, u64) {
    let elements = Tensor::checked_elements(shape).unwrap_or(u64::MAX);
    match shape {
        [] => (1, 1),
        [len] => (len.div_ceil(WINDOW), WINDOW.min(*len)),
        [.., last] => (elements.checked_div(*last).unwrap_or(0), *last),
    }
}

impl Inside {
    /// Reads a window of a tensor. On a blocking thread.
    fn window(&self, hub: &Hub, tensor: &Tensor, row: u64, column: u64) -> Result<Window, FormatError> {
        let (rows, columns) = table_of(&tensor.shape);
        let total = tensor.elements();
        let (row, column) = (row.min(rows.saturating_sub(1)), column.min(columns.saturating_sub(1)));
        let folder = self.stored(hub, BUDGET_BYTES);
        let limits = limits();
        let mut elements = Elements::new(&folder, tensor, &limits)?;
        let mut window = Window { row, column, rows, columns, values: Vec::new() };
        let block = tensor.dtype.block_elements();
        for at in row..rows.min(row.saturating_add(WINDOW)) {
            let first = at.saturating_mul(columns).saturating_add(column);
            let end = first.saturating_add(WINDOW.min(columns - column)).min(total);
            if first >= end {
                break;
            }
            // Packed and quantised elements come in whole blocks.
            let (first_unit, end_unit) = (first / block, end.div_ceil(block));
            let mut bytes = vec![0; usize::try_from((end_unit - first_unit) * elements.unit_bytes()).unwrap_or(0)];
            elements.read(first_unit, &mut bytes)?;
            let numbers = numbers(tensor.dtype, &bytes)?;
            // A complex number is two.
            let width = parts(tensor.dtype);
            let from = (first - first_unit * block) * width;
            let to = (end - first_unit * block) * width;
            let number = |index: u64| numbers.get(usize::try_from(index).ok()?);
            window.values.push((from..to).map_while(number).collect());
        }
        Ok(window)
    }

    /// Counts values. On a blocking thread.
    fn histogram(&self, hub: &Hub, tensor: &Tensor, (min, max): (f64, f64)) -> Result<Histogram, FormatError> {
        let folder = self.stored(hub, BUDGET_BYTES);
        let limits = limits();
        let mut elements = Elements::new(&folder, tensor, &limits)?;
        let mut counts = vec![0u64; BARS];
        // Halved, since the distance of the ends may be no number.
        let scale = BARS as f64 / (max / 2.0 - min / 2.0) / 2.0;
        let mut count = |value: f64| {
            if value.is_finite() && value >= min && value <= max {
                let bar = if scale.is_finite() { ((value / 2.0 - min / 2.0) * 2.0 * scale) as usize } else { 0 };
                if let Some(count) = counts.get_mut(bar.min(BARS - 1)) {
                    *count += 1;
                }
            }
        };
        let (unit, units) = (elements.unit_bytes(), elements.units());
        let sampled = units.saturating_mul(unit) > HISTOGRAM_BYTES;
        let step = (SAMPLE_BYTES / unit).max(1);
        let samples = if sampled { HISTOGRAM_BYTES / SAMPLE_BYTES } else { units.div_ceil(step) };
        let mut bytes = Vec::new();
        for sample in 0..samples {
            let first = if sampled {
                // Evenly over the whole, the ends included.
                let last = units.saturating_sub(step);
                (u128::from(last) * u128::from(sample) / u128::from(samples - 1).max(1)) as u64
            } else {
                sample * step
            };
            let len = step.min(units - first);
            bytes.resize(usize::try_from(len * unit).unwrap_or(0), 0);
            elements.read(first, &mut bytes)?;
            match numbers(tensor.dtype, &bytes)? {
                Numbers::Single(values) => values.into_iter().for_each(|value| count(f64::from(value))),
                Numbers::Double(values) => values.into_iter().for_each(&mut count),
            }
        }
        let counted = counts.iter().sum();
        Ok(Histogram { min, max, counts, counted, sampled })
    }

    fn tensor(&self, part: Part, number: usize) -> Result<&Tensor, Error> {
        let missing = || Error::NotFound { what: "tensor", name: number.to_string() };
        self.tensors(part).get(number).ok_or_else(missing)
    }
}

/// Numbers of one element: two of complex ones.
const fn parts(dtype: Dtype) -> u64 {
    match dtype {
        Dtype::C32 | Dtype::C64 | Dtype::C128 => 2,
        _ => 1,
    }
}

/// For questions that are answered at once.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.decoded_bytes = 256 << 20;
    limits
}

/// How elements are written: NumPy's spelling, and bytes of one element.
fn descr(dtype: Dtype) -> Option<(&'static str, u64, bool)> {
    Some(match dtype {
        Dtype::Bool => ("|b1", 1, false),
        Dtype::U8 | Dtype::QU8 => ("|u1", 1, false),
        Dtype::I8 | Dtype::QI8 => ("|i1", 1, false),
        Dtype::U16 => ("<u2", 2, false),
        Dtype::I16 => ("<i2", 2, false),
        Dtype::U32 => ("<u4", 4, false),
        Dtype::I32 | Dtype::QI32 => ("<i4", 4, false),
        Dtype::U64 => ("<u8", 8, false),
        Dtype::I64 => ("<i8", 8, false),
        Dtype::F16 => ("<f2", 2, false),
        Dtype::F32 => ("<f4", 4, false),
        Dtype::F64 => ("<f8", 8, false),
        Dtype::C64 => ("<c8", 8, false),
        Dtype::C128 => ("<c16", 16, false),
        Dtype::C32 => ("<c8", 8, true),
        Dtype::F128 | Dtype::Text => return None,
        _ => ("<f4", 4, true),
    })
}

impl Npy {
    /// Prepares the file of a tensor.
    ///
    /// # Errors
    /// [`Error::Malformed`] for text and 128-bit floats, which have no numbers in NumPy that mean the same everywhere.
    pub fn of(tensor: &Tensor) -> Result<Self, Error> {
        let refused = || Error::Malformed(format!("tensors of {} cannot be written as npy", tensor.dtype));
        let (descr, width, widened) = descr(tensor.dtype).ok_or_else(refused)?;
        let mut shape = tensor.shape.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        if tensor.shape.len() == 1 {
            shape.push(',');
        }
        let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
        // Magic, version and length are 10 bytes; the data begin at a multiple of 64.
        let len = (10 + text.len() + 1).next_multiple_of(64) - 10;
        while text.len() + 1 < len {
            text.push(' ');
        }
        text.push('\n');
        let short = u16::try_from(text.len()).map_err(|_| refused())?;
        let mut header = b"\x93NUMPY\x01\x00".to_vec();
        header.extend(short.to_le_bytes());
        header.extend(text.as_bytes());
        let data = tensor.elements().checked_mul(width).and_then(|data| data.checked_add(header.len() as u64));
        Ok(Self { size_bytes: data.ok_or_else(refused)?, header, descr, widened })
    }
}

/// Elements as they are written: as they are, or widened to `f4`.
fn written(dtype: Dtype, bytes: &[u8], widened: bool) -> Result<Vec<u8>, FormatError> {
    if !widened {
        return Ok(bytes.to_vec());
    }
    Ok(match numbers(dtype, bytes)? {
        Numbers::Single(values) => values.into_iter().flat_map(f32::to_le_bytes).collect(),
        // Powers of two alone: they fit.
        Numbers::Double(values) => values.into_iter().flat_map(|value| (value as f32).to_le_bytes()).collect(),
    })
}

impl Hub {
    /// A window of 16 × 16 values.
    ///
    /// # Errors
    /// [`Error::Malformed`] for types that are no numbers and for broken files.
    pub async fn window(
        &self,
        inside: &Arc<Inside>,
        part: Part,
        number: usize,
        (row, column): (u64, u64),
    ) -> Result<Window, Error> {
        let (hub, inside) = (self.clone(), Arc::clone(inside));
        self.in_turn(move || {
            let tensor = inside.tensor(part, number)?;
            inside.window(&hub, tensor, row, column).map_err(explain)
        })
        .await
    }

    /// The histogram of a tensor that the index knows; made when it is first asked for, of at most 64 MiB.
    ///
    /// # Errors
    /// As [`Hub::window`].
    pub async fn histogram(
        &self,
        inside: &Arc<Inside>,
        part: Part,
        number: usize,
        (hash, stats): (Sha256, TensorStats),
    ) -> Result<Option<Histogram>, Error> {
        let (Some(min), Some(max)) = (stats.min, stats.max) else { return Ok(None) };
        let dtype = inside.tensor(part, number)?.dtype.as_str();
        let readings = self.catalog().readings();
        if let Some(json) = readings.histogram(&hash, dtype, VERSION).await?
            && let Ok(kept) = serde_json::from_str(&json)
        {
            return Ok(Some(kept));
        }
        let (hub, shared) = (self.clone(), Arc::clone(inside));
        let made = self.in_turn(move || {
            let tensor = shared.tensor(part, number)?;
            shared.histogram(&hub, tensor, (min, max)).map_err(explain)
        });
        let made = made.await?;
        let json = serde_json::to_string(&made).map_err(|error| Error::Malformed(error.to_string()))?;
        readings.set_histogram(&hash, dtype, VERSION, &json).await?;
        Ok(Some(made))
    }

    /// Streams a tensor as an npy file; what fails on the way ends the stream with an error.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many tensors are being sent; [`Error::Malformed`] when there is nothing that can be sent.
    pub async fn npy(
        &self,
        inside: &Arc<Inside>,
        part: Part,
        number: usize,
    ) -> Result<(Npy, tokio::sync::mpsc::Receiver<Result<Bytes, StoreError>>), Error> {
        let turn = Arc::clone(&self.readers().downloads).try_acquire_owned();
        let turn = turn.map_err(|_| Error::Busy { what: "sending tensors" })?;
        let npy = Npy::of(inside.tensor(part, number)?)?;
        let (widened, header) = (npy.widened, Bytes::copy_from_slice(&npy.header));
        let (send, receive) = tokio::sync::mpsc::channel(2);
        let (hub, inside) = (self.clone(), Arc::clone(inside));
        let folder = inside.stored(self, u64::MAX);
        // What cannot be read at all is said before anything is sent.
        let check = |tensor: &Tensor| Elements::new(&folder, tensor, &Limits::default()).map(drop).map_err(explain);
        check(inside.tensor(part, number)?)?;
        drop(folder);
        let folder = inside.stored(&hub, u64::MAX);
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let Some(tensor) = inside.tensors(part).get(number) else { return };
            let sent = (|| {
                let gone = || FormatError::Io { what: "an answer", source: std::io::ErrorKind::BrokenPipe.into() };
                send.blocking_send(Ok(header)).map_err(|_| gone())?;
                let limits = Limits::default();
                let mut left = tensor.elements().saturating_mul(width(tensor.dtype));
                Elements::new(&folder, tensor, &limits)?.bands(PIECE_BYTES, |band| {
                    let mut bytes = written(tensor.dtype, band, widened)?;
                    // The last block of packed elements may be longer than the tensor.
                    bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    left -= bytes.len() as u64;
                    send.blocking_send(Ok(bytes.into())).map_err(|_| gone())
                })
            })();
            if let Err(error) = sent {
                let what = StoreError::Task(format!("a tensor could not be sent: {error}"));
                let _ = send.blocking_send(Err(what));
            }
        });
        Ok((npy, receive))
    }

    /// Runs work on a thread of its own, a few at a time.
    pub(crate) async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let busy = || Error::Busy { what: "reading tensors" };
        let _place = self.readers().waiting.try_acquire().map_err(|_| busy())?;
        let _turn = self.readers().turns.acquire().await.map_err(|_| busy())?;
        tokio::task::spawn_blocking(work).await.map_err(task)?
    }
}

/// Bytes of one written element.
fn width(dtype: Dtype) -> u64 {
    descr(dtype).map_or(0, |(_, width, _)| width)
}
