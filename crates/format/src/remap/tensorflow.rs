//! BERT in the names of TensorFlow: Google's first release, and transformers' models of TensorFlow 2.

use crate::arrange;
use crate::error::FormatError;
use crate::tensor::Tensor;

use super::Draft;
use super::rules::{Made, refused, renamed};

/// What transformers puts before the names of its models of TensorFlow 2.
const CLASS: &str = "tf_";

/// From TensorFlow to transformers.
pub(super) fn to_hf(made: Vec<Made>, draft: &mut Draft) -> Result<(), FormatError> {
    let mut done = Vec::with_capacity(made.len());
    for Made { tensor, from } in made {
        let path = plain(&tensor.name);
        if matches!(path.as_str(), "global_step" | "iter" | "save_counter") || is_slot(&path) {
            draft.notes.push(format!("`{from}` is left out: it belongs to the training"));
            continue;
        }
        let Some(name) = name(&path) else {
            return Err(refused(format!("no rule says what `{from}` is called")));
        };
        let leaf = path.rsplit('/').next().unwrap_or_default();
        let tensor = if leaf == "kernel" { kernel(&tensor, &path, &name)? } else { vector(&tensor, leaf, &name)? };
        done.push(Made { tensor, from });
    }
    if !done.iter().any(|made| made.tensor.name.starts_with("bert.encoder.layer.0.")) {
        return Err(refused("these are no names of BERT: `bert/encoder/layer_0` is not there".to_owned()));
    }
    draft.whole(done);
    Ok(())
}

/// A path without what TensorFlow 2 and its saver add: `bert/encoder/layer_0/attention/self/query/kernel`.
fn plain(name: &str) -> String {
    let name = name.strip_suffix(":0").unwrap_or(name);
    let parts: Vec<&str> = name.split('/').collect();
    let begin = parts.iter().rposition(|part| part.starts_with(CLASS)).map_or(0, |at| at + 1);
    let mut out: Vec<String> = Vec::with_capacity(parts.len());
    for part in parts.get(begin..).unwrap_or_default() {
        // Three underscores hide the scope that a layer was made in; lists are counted by `_._`.
        let part = part.rsplit("___").next().unwrap_or(part);
        out.push(part.replace("_._", "_"));
    }
    out.join("/")
}

/// State of the optimizers of BERT's first release, where the reader has not told it apart.
fn is_slot(path: &str) -> bool {
    path.ends_with("/adam_m") || path.ends_with("/adam_v")
}

/// The name in transformers.
fn name(path: &str) -> Option<String> {
    let known = match path {
        "output_weights" | "classifier/kernel" => "classifier.weight",
        "output_bias" | "classifier/bias" => "classifier.bias",
        "cls/predictions/output_bias" | "cls/predictions/bias" => "cls.predictions.bias",
        "cls/seq_relationship/output_weights" | "cls/seq_relationship/kernel" => "cls.seq_relationship.weight",
        "cls/seq_relationship/output_bias" => "cls.seq_relationship.bias",
        _ => "",
    };
    if !known.is_empty() {
        return Some(known.to_owned());
    }
    if !["bert/", "cls/", "classifier/", "qa_outputs/"].iter().any(|begin| path.starts_with(begin)) {
        return None;
    }
    let mut parts: Vec<String> = Vec::new();
    let count = path.split('/').count();
    for (at, part) in path.split('/').enumerate() {
        let last = at + 1 == count;
        match (part.strip_prefix("layer_"), part) {
            (Some(number), _) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
                parts.extend(["layer".to_owned(), number.to_owned()]);
            }
            (_, "kernel" | "gamma" | "embeddings" | "weight") if last => parts.push("weight".to_owned()),
            (_, "beta" | "bias") if last => parts.push("bias".to_owned()),
            // Google's embeddings are variables, not layers.
            (_, "word_embeddings" | "token_type_embeddings" | "position_embeddings") if last => {
                parts.extend([part.to_owned(), "weight".to_owned()]);
            }
            _ if last => return None,
            _ => parts.push(part.to_owned()),
        }
    }
    Some(parts.join("."))
}

/// `[in, out]` or with an axis of heads: `[in, heads, width]` into attention, `[heads, width, out]` out of it.
fn kernel(tensor: &Tensor, path: &str, name: &str) -> Result<Tensor, FormatError> {
    let product = |one: u64, other: u64| {
        one.checked_mul(other).ok_or_else(|| FormatError::SizeOverflow { tensor: tensor.name.clone() })
    };
    let flat = match *tensor.shape.as_slice() {
        [_, _] => tensor.clone(),
        [into, heads, width] if path.contains("/self/") => {
            arrange::reshape(tensor, &[into, product(heads, width)?], &tensor.name)?
        }
        [heads, width, out] => arrange::reshape(tensor, &[product(heads, width)?, out], &tensor.name)?,
        _ => return Err(refused(format!("kernel `{}` has the shape {:?}", tensor.name, tensor.shape))),
    };
    arrange::transpose(&flat, name)
}

fn vector(tensor: &Tensor, leaf: &str, name: &str) -> Result<Tensor, FormatError> {
    match *tensor.shape.as_slice() {
        [heads, width] if leaf == "bias" => {
            let len = heads.checked_mul(width);
            let len = len.ok_or_else(|| FormatError::SizeOverflow { tensor: tensor.name.clone() })?;
            arrange::reshape(tensor, &[len], name)
        }
        _ => Ok(renamed(tensor, name)),
    }
}
