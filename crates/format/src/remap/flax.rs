//! Parameter trees of Flax, also from Orbax, in the names of torch.
//!
//! | leaf | torch | elements |
//! |---|---|---|
//! | `kernel` | `weight` | `[in, out]` transposed; convolutions `[.., in, out]` to `[out, in, ..]`; heads joined |
//! | `scale`, `embedding` | `weight` | as they are |
//! | `mean`, `var` | `running_mean`, `running_var` | as they are |
//!
//! Whatever else a leaf is called keeps its name.

use std::collections::HashMap;

use crate::arrange;
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::tensor::{Stored, Tensor};

use super::rules::{Made, refused, renamed};
use super::{Draft, Input, values};

/// Trees of a training state that hold the model, and come off.
const TREES: &[&str] = &["params.params.", "params.batch_stats.", "params.", "batch_stats."];
/// Projections of attention whose kernels may have an axis of heads.
const INTO_HEADS: &[&str] = &["query", "key", "value"];

/// From Flax to torch, whatever the family.
pub(super) fn to_hf(input: &Input<'_>, made: Vec<Made>, family: &str, draft: &mut Draft) -> Result<(), FormatError> {
    let ranks: HashMap<String, usize> =
        made.iter().map(|made| (made.tensor.name.clone(), made.tensor.shape.len())).collect();
    let mut done = Vec::with_capacity(made.len());
    for Made { tensor, from } in made {
        let path = TREES.iter().find_map(|tree| tensor.name.strip_prefix(tree)).unwrap_or(&tensor.name);
        let (module, leaf) = path.rsplit_once('.').map_or(("", path), |(module, leaf)| (module, leaf));
        let name = |leaf: &str| if module.is_empty() { leaf.to_owned() } else { format!("{module}.{leaf}") };
        let parent = module.rsplit('.').next().unwrap_or_default();
        let heads = |leaf: &str| {
            let sibling =
                tensor.name.rsplit_once('.').map_or(leaf.to_owned(), |(module, _)| format!("{module}.{leaf}"));
            ranks.get(&sibling).copied()
        };
        let tensor = match (leaf, tensor.shape.as_slice()) {
            ("kernel", &[into, heads, width]) if INTO_HEADS.contains(&parent) => {
                let flat = arrange::reshape(&tensor, &[into, product(&tensor, heads, width)?], &tensor.name)?;
                arrange::transpose(&flat, &name("weight"))?
            }
            ("kernel", &[heads, width, out]) if parent == "out" => {
                let flat = arrange::reshape(&tensor, &[product(&tensor, heads, width)?, out], &tensor.name)?;
                arrange::transpose(&flat, &name("weight"))?
            }
            ("bias", &[count, width]) if INTO_HEADS.contains(&parent) && heads("kernel") == Some(3) => {
                arrange::reshape(&tensor, &[product(&tensor, count, width)?], &name("bias"))?
            }
            ("kernel", _) => kernel(&tensor, &name("weight"))?,
            ("scale" | "embedding", _) => renamed(&tensor, &name("weight")),
            ("mean", _) if is_statistic(&tensor.name, &heads) => renamed(&tensor, &name("running_mean")),
            ("var", _) if is_statistic(&tensor.name, &heads) => renamed(&tensor, &name("running_var")),
            _ => renamed(&tensor, path),
        };
        done.push(Made { tensor, from });
    }
    counters(&mut done);
    if family == "whisper" {
        done = without_head(input, done, &mut draft.notes)?;
    }
    draft.whole(done);
    Ok(())
}

/// A running mean or variance: it lies in the tree of statistics, or beside its other half.
fn is_statistic(name: &str, sibling: &impl Fn(&str) -> Option<usize>) -> bool {
    name.contains("batch_stats.") || (sibling("mean") == Some(1) && sibling("var") == Some(1))
}

fn product(tensor: &Tensor, one: u64, other: u64) -> Result<u64, FormatError> {
    one.checked_mul(other).ok_or_else(|| FormatError::SizeOverflow { tensor: tensor.name.clone() })
}

/// A kernel with its inputs and outputs where torch has them.
pub(super) fn kernel(tensor: &Tensor, name: &str) -> Result<Tensor, FormatError> {
    match tensor.shape.len() {
        2 => arrange::transpose(tensor, name),
        3 => arrange::permute(tensor, &[2, 1, 0], name),
        4 => arrange::permute(tensor, &[3, 2, 0, 1], name),
        5 => arrange::permute(tensor, &[4, 3, 0, 1, 2], name),
        _ => Err(refused(format!(
            "kernel `{}` of shape {:?} is neither matrix nor convolution",
            tensor.name, tensor.shape
        ))),
    }
}

/// Adds the counters of batches, which torch keeps beside running statistics and others do not.
pub(super) fn counters(made: &mut Vec<Made>) {
    let modules: Vec<(String, String)> = made
        .iter()
        .filter_map(|made| Some((made.tensor.name.strip_suffix(".running_mean")?.to_owned(), made.from.clone())))
        .collect();
    for (module, from) in modules {
        let name = format!("{module}.num_batches_tracked");
        let tensor = Tensor::plain(name, Dtype::I64, Vec::new(), Stored::inline(&0i64.to_le_bytes()));
        made.push(Made { tensor, from });
    }
}

/// Whisper's head is the embedding; transformers does not write it.
fn without_head(input: &Input<'_>, made: Vec<Made>, notes: &mut Vec<String>) -> Result<Vec<Made>, FormatError> {
    let find = |name: &str| made.iter().find(|made| made.tensor.name == name).map(|made| &made.tensor);
    let same = match (find("proj_out.weight"), find("model.decoder.embed_tokens.weight")) {
        (Some(head), Some(embedding)) => values::equal(input, head, embedding)?,
        _ => false,
    };
    if !same {
        return Ok(made);
    }
    notes.push("`proj_out.weight` is left out: it is `model.decoder.embed_tokens.weight`".to_owned());
    Ok(made.into_iter().filter(|made| made.tensor.name != "proj_out.weight").collect())
}
