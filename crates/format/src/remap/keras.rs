//! Layers of Keras, of both generations, in the words and shapes of torch.
//!
//! | Keras | torch | elements |
//! |---|---|---|
//! | `kernel` | `weight` | `[in, out]` transposed; convolutions `[.., in, out]` to `[out, in, ..]` |
//! | `depthwise_kernel` | `weight` | `[h, w, in, multiplier]` to `[in·multiplier, 1, h, w]` |
//! | `gamma`, `beta` | `weight`, `bias` | as they are |
//! | `moving_mean`, `moving_variance` | `running_mean`, `running_var` | as they are |
//! | `embeddings` | `weight` | as they are |
//!
//! Keras 3 numbers a layer's variables instead of naming them: `layers/dense/vars/0`. The folder tells the class, and
//! the class the order.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::arrange;
use crate::error::FormatError;
use crate::tensor::Tensor;

use super::flax::{counters, kernel};
use super::rules::{Made, refused, renamed};
use super::{Draft, Input};

/// Names of a layer's variables in the order of Keras 3, by the class as its folder spells it.
const ORDERS: &[(&str, &[&str])] = &[
    ("dense", &["kernel", "bias"]),
    ("conv1d", &["kernel", "bias"]),
    ("conv2d", &["kernel", "bias"]),
    ("conv3d", &["kernel", "bias"]),
    ("conv2d_transpose", &["kernel", "bias"]),
    ("depthwise_conv2d", &["depthwise_kernel", "bias"]),
    ("depthwise_conv1d", &["depthwise_kernel", "bias"]),
    ("batch_normalization", &["gamma", "beta", "moving_mean", "moving_variance"]),
    ("layer_normalization", &["gamma", "beta"]),
    ("group_normalization", &["gamma", "beta"]),
    ("embedding", &["embeddings"]),
];

/// From Keras to torch.
pub(super) fn to_torch(input: &Input<'_>, made: Vec<Made>, draft: &mut Draft) -> Result<(), FormatError> {
    let own = own_names(&input.contents.metadata);
    let deep = depthwise_layers(&input.contents.architecture.config);
    let mut done = Vec::with_capacity(made.len());
    let mut kept = 0u64;
    for Made { tensor, from } in made {
        let (module, leaf) = place(&tensor.name)?;
        let layer = tensor.name.rsplit_once("/vars/").map_or("", |(layer, _)| layer);
        let module = own.get(layer).map_or(module, |name| (*name).to_owned());
        let name = |leaf: &str| if module.is_empty() { leaf.to_owned() } else { format!("{module}.{leaf}") };
        let tensor = match leaf.as_str() {
            // Keras 3 calls the kernel of a depthwise convolution like any other.
            "kernel" if deep.contains(module.rsplit('.').next().unwrap_or_default()) => {
                depthwise(&tensor, &name("weight"))?
            }
            "kernel" | "pointwise_kernel" => kernel(&tensor, &name("weight"))?,
            "depthwise_kernel" => depthwise(&tensor, &name("weight"))?,
            "gamma" | "embeddings" => renamed(&tensor, &name("weight")),
            "beta" | "bias" => renamed(&tensor, &name("bias")),
            "moving_mean" => renamed(&tensor, &name("running_mean")),
            "moving_variance" => renamed(&tensor, &name("running_var")),
            other => {
                kept += 1;
                renamed(&tensor, &name(other))
            }
        };
        done.push(Made { tensor, from });
    }
    if kept > 0 {
        draft.notes.push(format!("{kept} variables have no counterpart in torch; they keep their names and shapes"));
    }
    counters(&mut done);
    draft.whole(done);
    Ok(())
}

/// Module and variable of a path: `dense/dense/kernel:0`, `layers/dense/vars/0`.
fn place(path: &str) -> Result<(String, String), FormatError> {
    let path = path.strip_suffix(":0").unwrap_or(path);
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != "layers").collect();
    if let [module @ .., "vars", number] = parts.as_slice()
        && let Ok(number) = number.parse::<usize>()
    {
        let layer = module.last().copied().unwrap_or_default();
        let class = layer.trim_end_matches(|character: char| character.is_ascii_digit());
        let class = class.strip_suffix('_').unwrap_or(layer);
        let order = ORDERS.iter().find(|(known, _)| *known == class || *known == layer);
        let leaf = order
            .and_then(|(_, order)| order.get(number))
            .map_or_else(|| format!("vars.{number}"), |leaf| (*leaf).to_owned());
        return Ok((module.join("."), leaf));
    }
    let Some((leaf, module)) = parts.split_last() else {
        return Err(refused(format!("`{path}` is no path of a variable")));
    };
    // The first file format repeats the layer before its variables.
    let mut module: Vec<&str> = module.to_vec();
    if let [.., one, other] = module.as_slice()
        && one == other
    {
        module.pop();
    }
    Ok((module.join("."), (*leaf).to_owned()))
}

/// `[h, w, in, multiplier]` to `[in·multiplier, 1, h, w]`, or the same without `h`.
fn depthwise(tensor: &Tensor, name: &str) -> Result<Tensor, FormatError> {
    let rank = tensor.shape.len();
    let (Some(axes), Some([into, multiplier])) = (rank.checked_sub(2), tensor.shape.last_chunk::<2>()) else {
        return Err(refused(format!("depthwise kernel `{}` has the shape {:?}", tensor.name, tensor.shape)));
    };
    let groups = into.checked_mul(*multiplier);
    let groups = groups.ok_or_else(|| FormatError::SizeOverflow { tensor: tensor.name.clone() })?;
    let order: Vec<usize> = [axes, axes + 1].into_iter().chain(0..axes).collect();
    let moved = arrange::permute(tensor, &order, name)?;
    let window = tensor.shape.get(..axes).unwrap_or_default();
    let shape: Vec<u64> = [groups, 1].into_iter().chain(window.iter().copied()).collect();
    arrange::reshape(&moved, &shape, name)
}

/// Names of the depthwise convolutions that the model's configuration has, at any depth.
fn depthwise_layers(config: &Map<String, Value>) -> HashSet<&str> {
    /// Values that are looked at.
    const MOST: usize = 1 << 20;
    let mut found = HashSet::new();
    let mut pending: Vec<&Value> = config.values().collect();
    let mut visits = 0;
    while let Some(value) = pending.pop() {
        visits += 1;
        if visits > MOST {
            break;
        }
        match value {
            Value::Object(map) => {
                let class = map.get("class_name").and_then(Value::as_str);
                let name = map.get("config").and_then(|config| config.get("name")).and_then(Value::as_str);
                if let Some(name) = name.filter(|_| class.is_some_and(|class| class.starts_with("DepthwiseConv"))) {
                    found.insert(name);
                }
                pending.extend(map.values());
            }
            Value::Array(list) => pending.extend(list),
            _ => {}
        }
    }
    found
}

/// The layers' own names by their paths, where a Keras 3 file says them and none is there twice.
fn own_names(metadata: &Map<String, Value>) -> HashMap<&str, &str> {
    let layers = metadata.get("layers").and_then(Value::as_object);
    let pairs: Vec<(&str, &str)> =
        layers.into_iter().flatten().filter_map(|(path, name)| Some((path.as_str(), name.as_str()?))).collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (_, name) in &pairs {
        *counts.entry(name).or_default() += 1;
    }
    if counts.values().any(|count| *count > 1) {
        return HashMap::new();
    }
    pairs.into_iter().filter(|(_, name)| !name.is_empty() && !name.contains('/')).collect()
}
