//! From a GGUF file back to a model of transformers.

use serde_json::{Map, Value as Json};

use crate::arrange;
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::gguf::families::config::{self, Facts};
use crate::gguf::families::heads::{Orders, Way};
use crate::gguf::families::names::{self, Found};
use crate::gguf::families::table::{Change, FAMILIES, Family};
use crate::gguf::metadata::{self, Value};
use crate::gguf::tokenizer;
use crate::limits::Limits;
use crate::output::{OutputTensor, Recipe, Step};
use crate::source::Folder;
use crate::tensor::Tensor;

/// A model in GGUF files.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    /// Its entries, as [`crate::gguf::metadata::read`] gives them.
    pub metadata: &'a [(String, Value)],
    /// Its tensors.
    pub tensors: &'a [Tensor],
    /// Where its files are: factors of rotations are numbers of the configuration.
    pub folder: &'a dyn Folder,
    /// Bounds of what is read.
    pub limits: &'a Limits,
}

/// A model of transformers that is to be written.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Restored {
    /// `config.json`.
    pub config: Map<String, Json>,
    /// Tensors under the names of transformers.
    pub tensors: Vec<OutputTensor>,
    /// Files of the tokenizer, by name.
    pub files: Vec<(String, Vec<u8>)>,
    /// What a person should know: sentence fragments without full stops.
    pub notes: Vec<String>,
}

/// Ends of names of tensors that become numbers of the configuration.
const FACTORS: &[&str] = &["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"];

/// Most experts of a block.
const EXPERTS: u64 = 1 << 12;

/// Plans the folder of transformers for a GGUF file. Without a `dtype`, floats stay what most of them are, and quantised
/// weights become `F16`.
///
/// # Errors
/// [`FormatError::Unsupported`] for architectures that are not here, with those that are, for tensors without a place, and
/// for transposed tensors that are quantised; [`FormatError::Broken`] for metadata that lacks a size, with its key.
pub fn restore_hf(stored: &Stored<'_>, dtype: Option<Dtype>) -> Result<Restored, FormatError> {
    let arch = metadata::find(stored.metadata, "general.architecture").and_then(Value::as_text);
    let Some(family) = FAMILIES.iter().find(|family| Some(family.arch) == arch) else {
        let known: Vec<&str> = FAMILIES.iter().map(|family| family.arch).collect();
        let asked: String = arch.unwrap_or("a file without an architecture").chars().take(60).collect();
        let detail = format!("`{asked}`; possible are {}", known.join(", "));
        return Err(FormatError::Unsupported { what: "this architecture of GGUF in transformers", detail });
    };
    let dtype = dtype.unwrap_or_else(|| most(stored.tensors));
    if !matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
        let detail = format!("`{dtype}`; possible are F32, F16 and BF16");
        return Err(FormatError::Unsupported { what: "this type of a model of transformers", detail });
    }
    let facts = Facts::of(stored, family)?;
    let mut out = Restored::default();
    out.tensors = tensors(stored, family, &facts, dtype)?;
    out.config = config::of(stored, family, &facts, dtype, &mut out.notes)?;
    if family.arch == "bert" {
        out.notes.push("GGUF has no pooler; transformers makes one that is not trained".to_owned());
    }
    out.files = tokenizer::restore(stored.metadata, &mut out.notes)?;
    Ok(out)
}

/// The type that most matrices have.
fn most(tensors: &[Tensor]) -> Dtype {
    let count = |dtype: Dtype| tensors.iter().filter(|tensor| tensor.shape.len() > 1 && tensor.dtype == dtype).count();
    let quantised = tensors.iter().filter(|tensor| tensor.dtype.is_quantised()).count();
    let kinds = [(count(Dtype::F32), Dtype::F32), (count(Dtype::BF16), Dtype::BF16)];
    let best = kinds.into_iter().max_by_key(|(count, _)| *count).filter(|(count, _)| *count > quantised);
    match best {
        Some((found, dtype)) if found > count(Dtype::F16) => dtype,
        _ => Dtype::F16,
    }
}

fn tensors(
    stored: &Stored<'_>,
    family: &Family,
    facts: &Facts,
    dtype: Dtype,
) -> Result<Vec<OutputTensor>, FormatError> {
    let mut out = Vec::new();
    let mut orders = Orders::default();
    for tensor in stored.tensors {
        if FACTORS.iter().any(|end| tensor.name.ends_with(end)) {
            continue;
        }
        let found = names::of_gguf(family, &tensor.name);
        let Some((found, rule)) = found.and_then(|found| Some((found, family.rules.get(found.rule)?))) else {
            let detail = format!("tensor `{}` has no place in `{}`", tensor.name, family.class);
            return Err(FormatError::Unsupported { what: "this GGUF file in transformers", detail });
        };
        let plain = |name: String, source: Tensor| OutputTensor {
            name,
            dtype,
            shape: source.shape.clone(),
            recipe: Recipe { source, rows: None, steps: Vec::new() },
        };
        let name = |expert: Option<u64>| names::fill(rule.hf, &[found.block, expert]) + found.end;
        match rule.change {
            Change::Stack => {
                let &[experts, rows, columns] = tensor.shape.as_slice() else {
                    return Err(broken(format!("`{}` is no stack of matrices", tensor.name)));
                };
                Limits::at_most("number of experts", experts, EXPERTS)?;
                for expert in 0..experts {
                    let name = name(Some(expert));
                    let one = arrange::slice(tensor, 0, expert..expert + 1, &name)?;
                    out.push(plain(name.clone(), arrange::reshape(&one, &[rows, columns], &name)?));
                }
            }
            Change::Transpose if tensor.shape.len() == 2 => {
                let name = name(None);
                let turned = arrange::transpose(tensor, &name)?;
                out.push(plain(name, turned));
            }
            Change::QueryRows => {
                let mut made = plain(name(None), tensor.clone());
                made.recipe.rows = Some(orders.of(&tensor.name, rows(tensor), facts.heads, Way::ToHf)?);
                out.push(made);
            }
            Change::KeyRows => {
                let mut made = plain(name(None), tensor.clone());
                made.recipe.rows = Some(orders.of(&tensor.name, rows(tensor), facts.kv_heads, Way::ToHf)?);
                out.push(made);
            }
            Change::AddOne => {
                let mut made = plain(name(None), tensor.clone());
                made.recipe.steps.push(Step::Add(-1.0));
                out.push(made);
            }
            Change::Transpose | Change::None => out.push(plain(name(None), tensor.clone())),
        }
    }
    Ok(out)
}

fn rows(tensor: &Tensor) -> u64 {
    tensor.shape.first().copied().unwrap_or(0)
}

/// Whether a module has a weight or a bias in a file.
pub(super) fn has(tensors: &[Tensor], family: &Family, gguf: &str, end: &str) -> bool {
    tensors.iter().any(|tensor| {
        let found = names::of_gguf(family, &tensor.name);
        found.is_some_and(|Found { rule, end: found, .. }| {
            found == end && family.rules.get(rule).is_some_and(|rule| rule.gguf == gguf)
        })
    })
}

pub(super) fn broken(detail: impl Into<String>) -> FormatError {
    FormatError::Broken { what: "gguf metadata", at: 0, detail: detail.into() }
}
