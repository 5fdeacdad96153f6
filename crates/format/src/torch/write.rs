//! Torch files, planned byte for byte as `torch.save` makes them.
//!
//! A zip of stored members: `data.pkl` with the tree of values, then a member for each storage. Every tensor has a storage
//! of its own, row-major; a tensor that stands in the tree twice has one, as tied weights have. Nothing in the pickle
//! needs more than `torch.load(weights_only=True)` allows.
//!
//! Source: PyTorch 2.15, `torch/serialization.py`, `torch/_tensor.py`, and files that it wrote.

use std::collections::HashMap;

use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::output::{Checksum, OutputFile, OutputTensor, Part};
use crate::pickle::emit::{Fill, Pickler};
use crate::tensor::Tensor;
use crate::zip::write::{Kind, ZipPlan};

use super::id;
use super::state::{Key, State};

/// Deepest nesting of a tree.
const DEPTH: u64 = 128;
/// Longest `data.pkl` in bytes: what the reader holds in memory at once.
const PICKLE_BYTES: u64 = 1 << 30;

/// Plans a file with this path, whose last part without extension names the folder inside, as `torch.save` does it.
///
/// # Errors
/// [`FormatError::Unsupported`] for a dtype that torch does not have, with what to do; [`FormatError::TooLarge`] for a
/// tree that nests too deep; [`FormatError::SizeOverflow`]; [`FormatError::NoFile`] for a tensor number that is none.
pub fn plan(path: &str, state: &State, tensors: &[OutputTensor]) -> Result<OutputFile, FormatError> {
    let (parts, _) = archive(folder_of(path), state, tensors, 0)?;
    Ok(OutputFile { path: path.to_owned(), parts })
}

/// Plans an archive whose first part is number `first_part` of its file; its parts and length in bytes.
///
/// # Errors
/// As [`plan`].
pub(super) fn archive(
    folder: &str,
    state: &State,
    tensors: &[OutputTensor],
    first_part: usize,
) -> Result<(Vec<Part>, u64), FormatError> {
    let mut storages = Storages { tensors, keys: HashMap::new(), order: Vec::new() };
    let pickle = pickled(state, &mut storages)?;
    let mut zip = ZipPlan::new(Kind::Torch, first_part);
    for (name, bytes) in [
        ("data.pkl", pickle.as_slice()),
        (".format_version", b"1"),
        (".storage_alignment", b"64"),
        ("byteorder", b"little"),
    ] {
        zip.add_bytes(&format!("{folder}/{name}"), bytes)?;
    }
    for (key, number) in storages.order.iter().enumerate() {
        let size = tensors.get(*number).map(size_bytes).transpose()?.unwrap_or(0);
        zip.add_part(&format!("{folder}/data/{key}"), &[], Part::Tensor(*number), size)?;
    }
    zip.add_bytes(&format!("{folder}/version"), b"3\n")?;
    let names = id::of_names(zip.names().filter_map(|name| name.get(folder.len() + 1..)));
    let members: Vec<Checksum> = zip.sums().cloned().collect();
    let part = Part::TorchId { names, members: members.into() };
    zip.add_part(&format!("{folder}/.data/serialization_id"), &[], part, 40)?;
    zip.finish()
}

/// The folder in the archive: the name of the file without its last extension.
fn folder_of(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    // What torch gives a file that it writes through a stream.
    let plain =
        !stem.is_empty() && stem != "." && stem != ".." && stem.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if plain && name.is_ascii() { stem } else { "archive" }
}

/// Storages of the tensors that are in the tree.
struct Storages<'a> {
    tensors: &'a [OutputTensor],
    /// Where the key of each tensor's storage is in the memo.
    keys: HashMap<usize, u32>,
    /// Numbers of the tensors, in the order of the keys.
    order: Vec<usize>,
}

/// What is left to be written of a tree.
enum Step<'a> {
    Value(&'a State),
    Key(&'a Key),
    Before(Fill, usize, usize),
    After(Fill, usize, usize),
    EndTuple(usize),
    /// One level up.
    Up,
}

/// The tree as a pickle.
fn pickled(state: &State, storages: &mut Storages<'_>) -> Result<Vec<u8>, FormatError> {
    let mut pickler = Pickler::new();
    let mut depth = 0;
    // Last first.
    let mut steps = vec![Step::Value(state)];
    while let Some(step) = steps.pop() {
        let below = steps.len();
        match step {
            Step::Key(Key::Text(text)) => drop(pickler.text(text)?),
            Step::Key(Key::Int(number)) => pickler.int((*number).into()),
            Step::Before(fill, at, len) => pickler.before(fill, at, len),
            Step::After(fill, at, len) => pickler.after(fill, at, len),
            Step::EndTuple(len) => pickler.end_tuple(len),
            Step::Up => depth -= 1,
            Step::Value(State::Tensor(number)) => storages.tensor(&mut pickler, *number)?,
            Step::Value(State::None) => pickler.none(),
            Step::Value(State::Bool(value)) => pickler.bool(*value),
            Step::Value(State::Int(value)) => pickler.int((*value).into()),
            Step::Value(State::Float(value)) => pickler.float(*value),
            Step::Value(State::Text(text)) => drop(pickler.text(text)?),
            Step::Value(State::Tuple(items)) => {
                pickler.begin_tuple(items.len());
                steps.extend([Step::Up, Step::EndTuple(items.len())]);
                steps.extend(items.iter().rev().map(Step::Value));
            }
            Step::Value(State::List(items)) => {
                pickler.op(b']');
                pickler.remember();
                steps.push(Step::Up);
                for (at, item) in items.iter().enumerate().rev() {
                    let [before, after] = around(Fill::Items, at, items.len());
                    steps.extend([after, Step::Value(item), before]);
                }
            }
            Step::Value(State::Dict(entries) | State::OrderedDict(entries)) => {
                let fill =
                    if matches!(step, Step::Value(State::Dict(_))) { Fill::Entries } else { Fill::IteratedEntries };
                if fill == Fill::Entries {
                    pickler.op(b'}');
                    pickler.remember();
                } else {
                    pickler.call_empty("collections\nOrderedDict\n");
                }
                steps.push(Step::Up);
                for (at, (key, value)) in entries.iter().enumerate().rev() {
                    let [before, after] = around(fill, at, entries.len());
                    steps.extend([after, Step::Value(value), Step::Key(key), before]);
                }
            }
        }
        if steps.len() > below {
            depth += 1;
            Limits::at_most("depth of a tree of values", depth, DEPTH)?;
        }
        Limits::at_most("pickle of a torch file in bytes", pickler.len() as u64, PICKLE_BYTES)?;
    }
    Ok(pickler.finish())
}

fn around<'a>(fill: Fill, at: usize, len: usize) -> [Step<'a>; 2] {
    [Step::Before(fill, at, len), Step::After(fill, at, len)]
}

impl Storages<'_> {
    /// Writes the call that rebuilds a tensor over its storage.
    fn tensor(&mut self, pickler: &mut Pickler, number: usize) -> Result<(), FormatError> {
        let tensor =
            self.tensors.get(number).ok_or_else(|| FormatError::NoFile { path: format!("tensor {number}") })?;
        let size = size_bytes(tensor)?;
        let Kinds { storage, own } = kinds(tensor.dtype).ok_or_else(|| refused(tensor))?;
        pickler.global(if own.is_some() {
            "torch._utils\n_rebuild_tensor_v3\n"
        } else {
            "torch._utils\n_rebuild_tensor_v2\n"
        });
        pickler.op(b'(');
        pickler.op(b'(');
        pickler.text("storage")?;
        pickler.global(storage);
        match self.keys.get(&number) {
            Some(place) => pickler.recall(*place),
            None => {
                let key = self.order.len();
                let text = key.to_string();
                // Short texts are one object in Python, others are not.
                let place = if key < 10 { pickler.text(&text)? } else { pickler.new_text(&text)? };
                self.keys.insert(number, place);
                self.order.push(number);
            }
        }
        pickler.text("cpu")?;
        pickler.int(if own.is_some() { size } else { tensor.elements() }.into());
        pickler.op(b't');
        pickler.remember();
        pickler.op(b'Q');
        pickler.int(0);
        let shape = shape(tensor)?;
        pickler.numbers(&shape);
        pickler.numbers(
            &Tensor::row_major(&shape).ok_or_else(|| FormatError::SizeOverflow { tensor: tensor.name.clone() })?,
        );
        pickler.bool(false);
        pickler.call_empty("collections\nOrderedDict\n");
        if let Some(own) = own {
            pickler.global(own);
        }
        pickler.op(b't');
        pickler.remember();
        pickler.op(b'R');
        pickler.remember();
        Ok(())
    }
}

/// Names of a dtype.
struct Kinds {
    /// Type of the storage.
    storage: &'static str,
    /// The dtype, where the storage does not say it.
    own: Option<&'static str>,
}

fn kinds(dtype: Dtype) -> Option<Kinds> {
    let typed = |storage| Some(Kinds { storage, own: None });
    let untyped = |own| Some(Kinds { storage: "torch.storage\nUntypedStorage\n", own: Some(own) });
    match dtype {
        Dtype::Bool => typed("torch\nBoolStorage\n"),
        Dtype::U8 => typed("torch\nByteStorage\n"),
        Dtype::I8 => typed("torch\nCharStorage\n"),
        Dtype::I16 => typed("torch\nShortStorage\n"),
        Dtype::I32 => typed("torch\nIntStorage\n"),
        Dtype::I64 => typed("torch\nLongStorage\n"),
        Dtype::F16 => typed("torch\nHalfStorage\n"),
        Dtype::BF16 => typed("torch\nBFloat16Storage\n"),
        Dtype::F32 => typed("torch\nFloatStorage\n"),
        Dtype::F64 => typed("torch\nDoubleStorage\n"),
        Dtype::C64 => typed("torch\nComplexFloatStorage\n"),
        Dtype::C128 => typed("torch\nComplexDoubleStorage\n"),
        _ => untyped(dtype_global(dtype)?),
    }
}

/// The name that a dtype is imported by.
pub(super) fn dtype_global(dtype: Dtype) -> Option<&'static str> {
    Some(match dtype {
        Dtype::Bool => "torch\nbool\n",
        Dtype::U8 => "torch\nuint8\n",
        Dtype::I8 => "torch\nint8\n",
        Dtype::I16 => "torch\nint16\n",
        Dtype::I32 => "torch\nint32\n",
        Dtype::I64 => "torch\nint64\n",
        Dtype::U16 => "torch\nuint16\n",
        Dtype::U32 => "torch\nuint32\n",
        Dtype::U64 => "torch\nuint64\n",
        Dtype::F16 => "torch\nfloat16\n",
        Dtype::BF16 => "torch\nbfloat16\n",
        Dtype::F32 => "torch\nfloat32\n",
        Dtype::F64 => "torch\nfloat64\n",
        Dtype::C32 => "torch\ncomplex32\n",
        Dtype::C64 => "torch\ncomplex64\n",
        Dtype::C128 => "torch\ncomplex128\n",
        Dtype::F8E5M2 => "torch\nfloat8_e5m2\n",
        Dtype::F8E4M3 => "torch\nfloat8_e4m3fn\n",
        Dtype::F8E8M0 => "torch\nfloat8_e8m0fnu\n",
        Dtype::F8E4M3Fnuz => "torch\nfloat8_e4m3fnuz\n",
        Dtype::F8E5M2Fnuz => "torch\nfloat8_e5m2fnuz\n",
        Dtype::F4 => "torch\nfloat4_e2m1fn_x2\n",
        _ => return None,
    })
}

pub(super) fn refused(tensor: &OutputTensor) -> FormatError {
    let (name, dtype) = (&tensor.name, tensor.dtype);
    let instead = if dtype.is_quantised() { "`BF16`, which it is dequantised to" } else { "`F32`" };
    let detail = format!("tensor `{name}` is {dtype}: ask for a dtype such as {instead}");
    FormatError::Unsupported { what: "this type in a torch file", detail }
}

/// Length of a tensor in bytes.
///
/// # Errors
/// [`FormatError::SizeOverflow`], [`FormatError::Unsupported`] for a block that would not be full.
pub(super) fn size_bytes(tensor: &OutputTensor) -> Result<u64, FormatError> {
    tensor.size_bytes().ok_or_else(|| FormatError::SizeOverflow { tensor: tensor.name.clone() })
}

/// Extents as torch counts them: packed types by their bytes.
pub(super) fn shape(tensor: &OutputTensor) -> Result<Vec<u64>, FormatError> {
    let mut shape = tensor.shape.clone();
    if tensor.dtype == Dtype::F4 {
        match shape.last_mut() {
            Some(last) if last.is_multiple_of(2) => *last /= 2,
            _ => {
                let detail = format!("tensor `{}` of {}: its rows do not fill whole bytes", tensor.name, tensor.dtype);
                return Err(FormatError::Unsupported { what: "this shape in a torch file", detail });
            }
        }
    }
    Ok(shape)
}

#[cfg(test)]
mod tests;
