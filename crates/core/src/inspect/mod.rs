//! What is in a checkpoint: the use case behind `wh inspect` and the pages of the hub.
//!
//! Only headers are read, unless statistics or digests of the tensors are asked for.

pub mod diagram;
mod json;
pub mod modules;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};
use weighthouse_format::checkpoint::{self, Checkpoint};
use weighthouse_format::contents::WarningKind;
use weighthouse_format::error::chain;
use weighthouse_format::stats::{self, Read, Wanted};
use weighthouse_format::{Folder, Limits, Tensor};

use crate::Error;
use crate::card::Card;

pub use json::Document;

/// Longest card that is read, in bytes.
const MAX_CARD_BYTES: u64 = 4 << 20;

/// What to find out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Statistics of every tensor; reads all bytes.
    pub stats: bool,
    /// SHA-256 of every tensor; reads all bytes.
    pub hash: bool,
}

/// A checkpoint, and what was found out about it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Inspection {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// YAML of its card.
    pub card: Map<String, Value>,
    /// What reading each tensor gave, weights first, then the optimizer's; empty if nothing was read.
    pub reads: Vec<Result<Read, String>>,
}

/// Inspects a folder, or one file of it.
///
/// `progress` is told how many bytes were read and how many there are, from any thread.
///
/// # Errors
/// When the file is not there or is no checkpoint; a folder always answers, with warnings.
pub fn inspect(
    folder: &dyn Folder,
    file: Option<&str>,
    options: Options,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Inspection, Error> {
    let limits = Limits::default();
    let checkpoint = match file {
        Some(path) => checkpoint::read_file(folder, path, &limits)?,
        None => checkpoint::read(folder, &limits)?,
    };
    let mut inspection = Inspection { card: card(folder, &checkpoint), checkpoint, reads: Vec::new() };
    if options.stats || options.hash {
        let tensors: Vec<&Tensor> = inspection.checkpoint.tensors().collect();
        let total = tensors.iter().fold(0u64, |sum, tensor| sum.saturating_add(tensor.size_bytes()));
        let wanted = Wanted { stats: options.stats, sha256: options.hash, ..Wanted::default() };
        let found = stats::read_all(folder, &tensors, wanted, &data_limits(), &|bytes| progress(bytes, total));
        inspection.reads = found.into_iter().map(|read| read.map_err(|error| chain(&error))).collect();
        inspection.look_at_values();
    }
    Ok(inspection)
}

/// Whoever asks for all elements wants large compressed arrays too, which are decoded whole.
fn data_limits() -> Limits {
    let mut limits = Limits::default();
    limits.decoded_bytes = 1 << 30;
    limits
}

fn card(folder: &dyn Folder, checkpoint: &Checkpoint) -> Map<String, Value> {
    let read = || {
        let section = folder.open(checkpoint.card.as_deref()?).ok()?;
        section.head("model card", MAX_CARD_BYTES).ok()
    };
    let text = read().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    text.map(|text| Card::parse(&text).data).unwrap_or_default()
}

impl Inspection {
    /// License that the card or the file states.
    #[must_use]
    pub fn license(&self) -> Option<String> {
        let metadata = &self.checkpoint.contents.metadata;
        let stated =
            self.card.get("license").or_else(|| metadata.get("license")).or_else(|| metadata.get("general.license"));
        stated.and_then(Value::as_str).map(str::to_owned)
    }

    /// Models that the card or the file says it was made from.
    #[must_use]
    pub fn base_models(&self) -> Vec<String> {
        let stated = self.card.get("base_model").or_else(|| self.checkpoint.contents.metadata.get("base_model"));
        match stated {
            Some(Value::String(name)) => vec![name.clone()],
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }

    /// How the weights are quantised, in a few words; `None` when they are not.
    #[must_use]
    pub fn quantisation(&self) -> Option<String> {
        let contents = &self.checkpoint.contents;
        let of_config = contents.metadata.get("quantization").and_then(Value::as_object);
        if let Some(config) = of_config {
            let word = |key: &str| {
                config.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            };
            let bits = word("bits").map(|bits| format!("{bits} bits"));
            let words: Vec<String> = [word("quant_method"), bits].into_iter().flatten().collect();
            return Some(if words.is_empty() { "by its configuration".to_owned() } else { words.join(", ") });
        }
        let mut types: Vec<&str> = contents
            .tensors
            .iter()
            .filter(|tensor| tensor.dtype.is_quantised() || matches!(tensor.dtype.as_str(), "QI8" | "QU8" | "QI32"))
            .map(|tensor| tensor.dtype.as_str())
            .collect();
        types.sort_unstable();
        types.dedup();
        if types.is_empty() { None } else { Some(types.join(", ")) }
    }

    /// What reading a tensor gave, by its place among weights and optimizer state.
    #[must_use]
    pub fn read(&self, number: usize) -> Option<&Result<Read, String>> {
        self.reads.get(number)
    }

    /// Turns what the values show into warnings: not finite, all zero, all the same, twice the same.
    fn look_at_values(&mut self) {
        const MOST: usize = 20;
        let mut found: Vec<(WarningKind, String, String)> = Vec::new();
        let mut by_digest = std::collections::HashMap::new();
        let weights = self.checkpoint.contents.tensors.len();
        for (number, (tensor, read)) in self.checkpoint.tensors().zip(&self.reads).enumerate() {
            let file = tensor.place().map_or("", |(file, _)| file).to_owned();
            let name = tensor.name.escape_default();
            let read = match read {
                Ok(read) => read,
                Err(error) => {
                    found.push((WarningKind::Unreadable, file, format!("tensor `{name}`: {error}")));
                    continue;
                }
            };
            if number >= weights {
                continue;
            }
            if let Some(stats) = read.stats {
                if stats.nan + stats.infinite > 0 {
                    let text = format!("tensor `{name}` has {} NaN and {} infinite values", stats.nan, stats.infinite);
                    found.push((WarningKind::Values, file.clone(), text));
                } else if stats.zeros == stats.count() && stats.count() > 1 && tensor.shape.len() > 1 {
                    found.push((WarningKind::Values, file.clone(), format!("tensor `{name}` is all zeros")));
                } else if stats.min == stats.max && stats.count() > 1 && tensor.shape.len() > 1 {
                    let text = format!("tensor `{name}` is {} everywhere", stats.min);
                    found.push((WarningKind::Values, file.clone(), text));
                }
            }
            if let Some(sha256) = read.sha256
                && tensor.elements() > 1
                && tensor.shape.len() > 1
            {
                let first =
                    by_digest.entry((sha256, tensor.dtype, &tensor.shape)).or_insert((&tensor.name, &tensor.pieces));
                if first.0 != &tensor.name && first.1 != &tensor.pieces {
                    let text = format!("tensor `{name}` has the same values as `{}`", first.0.escape_default());
                    found.push((WarningKind::Duplicate, file, text));
                }
            }
        }
        let more = found.len().saturating_sub(MOST);
        for (kind, file, message) in found.into_iter().take(MOST) {
            self.checkpoint.contents.warn(kind, file, message);
        }
        if more > 0 {
            self.checkpoint.contents.warn(WarningKind::Values, "", format!("{more} more remarks on values"));
        }
    }
}
