//! Low-rank adapters three ways: kohya's scripts, PEFT, diffusers.
//!
//! | | module | down, up | strength |
//! |---|---|---|---|
//! | kohya | `lora_unet_` and the path with `_` for `.` | `lora_down`, `lora_up` | a tensor `alpha` for each module |
//! | PEFT | `base_model.model.` and the path | `lora_A`, `lora_B` | `lora_alpha`, `alpha_pattern` in `adapter_config.json` |
//! | diffusers | component and path | `lora_A`, `lora_B` | the same in the metadata of the file |
//!
//! All three add `alpha / rank · up · down`. The numbers of the weights are never touched: what one side says as a tensor
//! the other says as a setting, so that there and back is exact.

mod diffusers;
mod kohya;
mod peft;
mod words;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::arrange;
use crate::error::FormatError;
use crate::tensor::Tensor;

use super::rules::{Made, refused};
use super::{Draft, Input, NamingKind};

/// Components that an adapter can be for, and how kohya's scripts call them.
const COMPONENTS: &[(&str, &[&str])] = &[
    ("unet", &["lora_unet_"]),
    ("text_encoder", &["lora_te1_", "lora_te_"]),
    ("text_encoder_2", &["lora_te2_"]),
    ("transformer", &["lora_transformer_"]),
];

/// Key of a file's metadata for the settings in diffusers: one JSON object, whose keys have the component before them.
pub(super) const SETTINGS: &str = "lora_adapter_metadata";

/// One adapted module.
#[derive(Debug, Default)]
struct Module {
    /// `[rank, in]`, or a convolution `[rank, in, h, w]`.
    down: Option<Made>,
    /// `[out, rank]`, or a convolution `[out, rank, 1, 1]`.
    up: Option<Made>,
    /// Strength times rank; the rank where nothing is said.
    alpha: Option<f64>,
    /// Magnitude of DoRA, a number for each output.
    magnitude: Option<Made>,
}

/// Modules by component (empty where it is not said) and dotted path.
type Modules = BTreeMap<(String, String), Module>;

/// Converts an adapter.
pub(super) fn convert(
    input: &Input<'_>,
    made: Vec<Made>,
    from: NamingKind,
    to: NamingKind,
    draft: &mut Draft,
) -> Result<(), FormatError> {
    let modules = match from {
        NamingKind::Kohya => kohya::read(input, made)?,
        NamingKind::Peft => peft::read(input, made)?,
        _ => diffusers::read(input, made)?,
    };
    for ((_, path), module) in &modules {
        module.rank(path)?;
    }
    match to {
        NamingKind::Kohya => kohya::write(modules, draft),
        NamingKind::Peft => peft::write(input, modules, draft),
        _ => diffusers::write(modules, draft),
    }
}

impl Module {
    fn part(&self, path: &str, what: &'static str) -> Result<&Made, FormatError> {
        let part = if what == "down" { &self.down } else { &self.up };
        part.as_ref().ok_or_else(|| refused(format!("the {what} matrix of `{path}` is not there")))
    }

    /// Inner width; both matrices must have it.
    fn rank(&self, path: &str) -> Result<u64, FormatError> {
        let (down, up) = (&self.part(path, "down")?.tensor, &self.part(path, "up")?.tensor);
        match (down.shape.as_slice(), up.shape.as_slice()) {
            ([rank, _, ..], [_, other, ..]) if rank == other && *rank > 0 => Ok(*rank),
            (one, other) => Err(refused(format!("the matrices of `{path}` do not fit: {one:?} and {other:?}"))),
        }
    }

    fn outputs(&self, path: &str) -> Result<u64, FormatError> {
        Ok(self.part(path, "up")?.tensor.shape.first().copied().unwrap_or(0))
    }

    /// The magnitude in another shape of as many numbers.
    fn magnitude(&self, path: &str, shape: &[u64], name: &str) -> Result<Option<Made>, FormatError> {
        let Some(Made { tensor, from }) = &self.magnitude else { return Ok(None) };
        if tensor.elements() != self.outputs(path)? {
            return Err(refused(format!("`{from}` of shape {:?} has not one number for each output", tensor.shape)));
        }
        Ok(Some(Made { tensor: arrange::reshape(tensor, shape, name)?, from: from.clone() }))
    }

    /// Shape of the magnitude in PEFT: a vector, or for a convolution a row of channels.
    fn peft_magnitude(&self, path: &str) -> Result<Vec<u64>, FormatError> {
        let outputs = self.outputs(path)?;
        let rank = self.down.as_ref().map_or(2, |made| made.tensor.shape.len());
        Ok(if rank > 2 {
            [1, outputs].into_iter().chain(std::iter::repeat_n(1, rank - 2)).collect()
        } else {
            vec![outputs]
        })
    }
}

/// The place of a module that is being put together.
fn module<'a>(modules: &'a mut Modules, component: &str, path: &str) -> &'a mut Module {
    modules.entry((component.to_owned(), path.to_owned())).or_default()
}

/// Puts a part in its place, once.
fn put(place: &mut Option<Made>, made: Made) -> Result<(), FormatError> {
    if let Some(other) = place {
        return Err(refused(format!("`{}` and `{}` are the same part of one module", other.from, made.from)));
    }
    *place = Some(made);
    Ok(())
}

/// Rank and strength of each module, as PEFT says them: what most have, and the others by their paths.
fn settings(modules: &[(&str, &Module)]) -> Result<Map<String, Value>, FormatError> {
    let mut each = Vec::with_capacity(modules.len());
    for (path, module) in modules {
        let rank = module.rank(path)?;
        each.push((*path, rank, module.alpha.unwrap_or(rank as f64)));
    }
    let most = |values: &mut dyn Iterator<Item = u64>| {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for value in values {
            *counts.entry(value).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(value, _)| value)
    };
    let rank = most(&mut each.iter().map(|(_, rank, _)| *rank)).unwrap_or(1);
    let alpha = most(&mut each.iter().map(|(_, _, alpha)| alpha.to_bits())).map_or(1.0, f64::from_bits);
    let other_ranks = each.iter().filter(|(_, one, _)| *one != rank);
    let other_alphas = each.iter().filter(|(_, _, one)| one.to_bits() != alpha.to_bits());
    let ranks: Map<String, Value> = other_ranks.map(|(path, rank, _)| ((*path).to_owned(), json!(rank))).collect();
    let alphas: Map<String, Value> =
        other_alphas.map(|(path, _, alpha)| ((*path).to_owned(), number(*alpha))).collect();
    let targets: Vec<&str> = each.iter().map(|(path, _, _)| *path).collect();
    Ok(Map::from_iter([
        ("r".to_owned(), json!(rank)),
        ("lora_alpha".to_owned(), number(alpha)),
        ("rank_pattern".to_owned(), ranks.into()),
        ("alpha_pattern".to_owned(), alphas.into()),
        ("target_modules".to_owned(), json!(targets)),
        ("use_dora".to_owned(), json!(modules.iter().any(|(_, module)| module.magnitude.is_some()))),
        ("use_rslora".to_owned(), json!(false)),
    ]))
}

/// A whole number without a point.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}

/// Strength times rank of a module as PEFT's settings say it; `None` when they say nothing.
fn alpha(settings: &Map<String, Value>, path: &str, rank: u64) -> Option<f64> {
    let pattern = settings.get("alpha_pattern").and_then(Value::as_object);
    // A key stands for every path that ends with it, or with `^` for one path; dots may be escaped.
    let fits = |key: &str| {
        let key = key.replace("\\.", ".");
        match key.strip_prefix('^') {
            Some(whole) => path == whole,
            None => path == key || path.strip_suffix(&*key).is_some_and(|before| before.ends_with('.')),
        }
    };
    let own =
        pattern.and_then(|pattern| pattern.iter().find(|(key, _)| fits(key))).and_then(|(_, value)| value.as_f64());
    let alpha = own.or_else(|| settings.get("lora_alpha").and_then(Value::as_f64))?;
    // With this setting the strength is alpha / √rank.
    let root = settings.get("use_rslora").and_then(Value::as_bool) == Some(true);
    Some(if root { alpha * (rank as f64).sqrt() } else { alpha })
}

/// Which component a path is of, where the names do not say it.
fn component_of(path: &str) -> Option<&'static str> {
    const BEGINS: &[(&str, &str)] = &[
        ("down_blocks.", "unet"),
        ("up_blocks.", "unet"),
        ("mid_block.", "unet"),
        ("text_model.", "text_encoder"),
        ("transformer_blocks.", "transformer"),
        ("single_transformer_blocks.", "transformer"),
    ];
    let alone = ["conv_in", "conv_out", "time_embedding.", "add_embedding."];
    let found = BEGINS.iter().find(|(begin, _)| path.starts_with(begin)).map(|(_, component)| *component);
    found.or_else(|| alone.iter().any(|begin| path.starts_with(begin)).then_some("unet"))
}

/// The tensor of a module's part under another name.
fn named(made: &Made, name: String) -> Made {
    Made { tensor: Tensor { name, ..made.tensor.clone() }, from: made.from.clone() }
}
