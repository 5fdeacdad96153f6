//! What came before GGUF: `ggml`, `ggmf` and `ggjt` files of llama.cpp and whisper.cpp.
//!
//! Sizes of the model, the vocabulary, then tensors: rank, length of the name, type, extents (fastest first), name, and
//! the elements, in `ggjt` at a multiple of 32. Quantised blocks had other layouts before `ggjt` version 3: those tensors
//! are listed with shape and type, and without bytes.

use crate::contents::{Contents, WarningKind};
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::protobuf::broken;
use crate::source::Section;
use crate::tensor::{Piece, Region, Tensor};

use super::cursor::Cursor;

const LLAMA: &[&str] = &["n_vocab", "n_embd", "n_mult", "n_head", "n_layer", "n_rot", "ftype"];
const WHISPER: &[&str] = &[
    "n_vocab",
    "n_audio_ctx",
    "n_audio_state",
    "n_audio_head",
    "n_audio_layer",
    "n_text_ctx",
    "n_text_state",
    "n_text_head",
    "n_text_layer",
    "n_mels",
    "ftype",
];
/// Audio positions of every Whisper, which no llama has as its width.
const WHISPER_AUDIO: u32 = 1500;

/// Describes a legacy file.
///
/// # Errors
/// [`FormatError::BadMagic`] and [`FormatError::UnknownVersion`] for other files, [`FormatError::Broken`] and its kin for
/// numbers that lie, [`FormatError::TooLarge`] beyond the limits.
pub fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    let mut cursor = Cursor::new("ggml file", section, 0);
    let kind = match cursor.take(4)?.as_slice() {
        b"lmgg" => "ggml",
        b"fmgg" => "ggmf",
        b"tjgg" => "ggjt",
        _ => return Err(FormatError::BadMagic { what: "ggml file" }),
    };
    let version = if kind == "ggml" { 0 } else { cursor.u32()? };
    if version > 3 || (kind == "ggmf" && version != 1) {
        return Err(FormatError::UnknownVersion { what: "ggml file", version: version.into() });
    }
    let mut contents = Contents::of(Format::Ggml);
    contents.metadata.insert("container".into(), kind.into());
    contents.metadata.insert("version".into(), version.into());
    let begin = cursor.at;
    let (vocabulary, second) = (cursor.u32()?, cursor.u32()?);
    cursor.at = begin;
    let is_whisper = kind == "ggml" && second == WHISPER_AUDIO;
    contents.architecture.family = Some(if is_whisper { "whisper" } else { "llama" }.into());
    for name in if is_whisper { WHISPER } else { LLAMA } {
        contents.metadata.insert((*name).into(), cursor.u32()?.into());
    }
    let mut words = vocabulary;
    if is_whisper {
        let (mels, bins) = (u64::from(cursor.u32()?), u64::from(cursor.u32()?));
        cursor.part(mels.saturating_mul(bins).saturating_mul(4))?;
        words = cursor.u32()?;
    }
    Limits::at_most("number of ggml words", words.into(), limits.tensors)?;
    for _ in 0..words {
        let len = u64::from(cursor.u32()?);
        cursor.part(len)?;
        // A score stands behind each word since `ggmf`.
        if kind != "ggml" {
            cursor.u32()?;
        }
    }
    let mut unread = 0u64;
    while !cursor.is_at_end() {
        let (tensor, is_read) = tensor(&mut cursor, kind, version, limits)?;
        unread += u64::from(!is_read);
        contents.tensors.push(tensor);
        Limits::at_most("number of tensors", contents.tensors.len() as u64, limits.tensors)?;
    }
    if unread > 0 {
        let text = format!("{unread} tensors have blocks as they were before `ggjt` 3, which are not read");
        contents.warn(WarningKind::Unreadable, &**section.file(), text);
    }
    Ok(contents)
}

/// The next tensor, and whether its blocks are laid out as today.
fn tensor(cursor: &mut Cursor<'_>, kind: &str, version: u32, limits: &Limits) -> Result<(Tensor, bool), FormatError> {
    let at = cursor.at;
    let (rank, len, code) = (u64::from(cursor.u32()?), u64::from(cursor.u32()?), cursor.u32()?);
    Limits::at_most("rank of a ggml tensor", rank, 4)?;
    Limits::at_most("ggml name in bytes", len, limits.name_bytes)?;
    let mut shape = Vec::new();
    for _ in 0..rank {
        shape.push(u64::from(cursor.u32()?));
    }
    shape.reverse();
    let name = String::from_utf8_lossy(&cursor.take(len)?).into_owned();
    // Elements and bytes of a block now, and bytes of a block before.
    let (dtype, old) = match code {
        0 => (Dtype::F32, 4),
        1 => (Dtype::F16, 2),
        2 => (Dtype::Q40, 20),
        3 => (Dtype::Q41, 24),
        6 => (Dtype::Q50, 22),
        7 => (Dtype::Q51, 24),
        8 => (Dtype::Q80, 36),
        code => return Err(FormatError::UnknownDtype { tensor: name, dtype: code.to_string() }),
    };
    if kind == "ggjt" {
        cursor.at = cursor.at.next_multiple_of(32);
    }
    let is_read = !dtype.is_quantised() || (kind == "ggjt" && version == 3);
    let elements = Tensor::checked_elements(&shape);
    let blocks = elements
        .filter(|elements| elements % dtype.block_elements() == 0)
        .map(|elements| elements / dtype.block_elements());
    let bytes = if is_read { dtype.block_bytes() } else { old };
    let size = blocks.and_then(|blocks| blocks.checked_mul(bytes));
    let size = size.ok_or_else(|| broken("ggml tensor", at, format!("`{name}` has no whole number of blocks")))?;
    let stored = cursor.part(size)?.stored("ggml tensor", 0, size)?;
    let pieces = if is_read { vec![Piece::plain(Region::Whole, stored)] } else { Vec::new() };
    Ok((Tensor { name, dtype, shape, pieces }, is_read))
}
