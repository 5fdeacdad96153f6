//! From a model of transformers to the tensors and the metadata of a GGUF file.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use crate::arrange;
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::gguf::families::experts::Stacks;
use crate::gguf::families::files::Files;
use crate::gguf::families::heads::{Orders, Way};
use crate::gguf::families::keys::Keys;
use crate::gguf::families::names::{self, Fate, Found};
use crate::gguf::families::rope::Rope;
use crate::gguf::families::settings::{Settings, Sizes};
use crate::gguf::families::table::{Change, FAMILIES, Family, Need};
use crate::gguf::families::{general, hyper};
use crate::gguf::file_type::{FileType, Place};
use crate::gguf::metadata::{Entries, Value};
use crate::gguf::tokenizer;
use crate::output::{OutputTensor, Recipe, Step};
use crate::tensor::{Stored, Tensor};

/// A model of transformers.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its tensors.
    pub tensors: &'a [Tensor],
    /// Its `config.json`.
    pub config: &'a Map<String, Json>,
    /// The small files beside it.
    pub files: &'a Files,
}

/// What the file shall be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Wanted {
    /// Types of its tensors.
    pub file_type: FileType,
    /// Name of the model; that of its card otherwise.
    pub name: Option<String>,
    /// `tokenizer.ggml.pre`, where it cannot be told from the tokenizer or is told wrong.
    pub pre: Option<String>,
}

/// What is to be written.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Plan {
    /// Entries in order.
    pub metadata: Entries,
    /// Tensors in order.
    pub tensors: Vec<OutputTensor>,
    /// What a person should know: sentence fragments without full stops.
    pub notes: Vec<String>,
}

impl Wanted {
    /// A file of this type, everything else as the model says.
    #[must_use]
    pub const fn new(file_type: FileType) -> Self {
        Self { file_type, name: None, pre: None }
    }
}

/// Plans a GGUF file of a model of transformers.
///
/// # Errors
/// [`FormatError::Unsupported`] for architectures and features that have no place in GGUF or here, with what is possible;
/// [`FormatError::Broken`] for configurations, tokenizers and tensors that do not fit together, with the key or the name.
pub fn plan_hf(source: &Source<'_>, wanted: &Wanted) -> Result<Plan, FormatError> {
    let settings = Settings::new(source.config);
    let family = family(&settings)?;
    check_quantisation(source.config)?;
    let sizes = settings.sizes(family.defaults)?;
    let mut plan = Plan::default();

    let mut made = tensors(family, &settings, &sizes, source.tensors, &mut plan.notes)?;
    let rows = rows(&made)?;
    choose_types(family, &settings, &sizes, wanted.file_type, &mut made, &mut plan.notes);
    plan.tensors = made.into_iter().map(|made| made.tensor).collect();

    let mut keys = Keys::new(family.arch);
    keys.whole("general.architecture", Value::text(family.arch));
    keys.whole("general.type", Value::text("model"));
    general::keys(&mut keys, wanted.name.as_deref(), source.files, &plan.tensors, sizes.experts, &mut plan.notes)?;
    keys.count("vocab_size", rows)?;
    hyper::keys(&mut keys, family, &settings, &sizes, source.files, &mut plan.notes)?;
    keys.whole("general.file_type", Value::U32(wanted.file_type.number()));
    keys.whole("general.quantization_version", Value::U32(2));
    if family.arch == "bert" {
        let types = settings.count(&["type_vocab_size"])?.unwrap_or(1);
        keys.whole("tokenizer.ggml.token_type_count", Value::U32(u32::try_from(types).unwrap_or(u32::MAX)));
    }
    let ask = tokenizer::Ask {
        files: source.files,
        config: source.config,
        rows,
        bert: family.arch == "bert",
        pre: wanted.pre.as_deref(),
    };
    for (key, value) in tokenizer::entries(&ask, &mut plan.notes)? {
        keys.whole(key, value);
    }
    plan.metadata = keys.entries;
    Ok(plan)
}

/// The family of a configuration.
fn family(settings: &Settings<'_>) -> Result<&'static Family, FormatError> {
    let kind = settings.model_type();
    let found = kind.and_then(|kind| FAMILIES.iter().find(|family| family.model_types.contains(&kind)));
    found.ok_or_else(|| {
        let asked = match kind {
            Some(kind) => format!("`{}`", kind.chars().take(60).collect::<String>()),
            None => "a model whose config.json has no `model_type`".to_owned(),
        };
        let detail = format!("{asked}; possible are {}", super::model_types().join(", "));
        FormatError::Unsupported { what: "this architecture in GGUF", detail }
    })
}

fn check_quantisation(config: &Map<String, Json>) -> Result<(), FormatError> {
    let Some(quantised) = config.get("quantization_config").filter(|value| !value.is_null()) else { return Ok(()) };
    let method = quantised.get("quant_method").and_then(Json::as_str).unwrap_or("unknown");
    let detail = format!(
        "`quantization_config` with method `{}`; convert the model that it was made from",
        method.chars().take(40).collect::<String>()
    );
    Err(FormatError::Unsupported { what: "a model quantised by other means in GGUF", detail })
}

/// A tensor that is to be written, with its place in the order.
struct Made {
    /// Group (before the blocks, block, behind them), block, rule, and weight before bias.
    order: (u8, u64, usize, bool),
    found: Option<Found>,
    tensor: OutputTensor,
}

fn tensors(
    family: &'static Family,
    settings: &Settings<'_>,
    sizes: &Sizes,
    tensors: &[Tensor],
    notes: &mut Vec<String>,
) -> Result<Vec<Made>, FormatError> {
    let mut made = Vec::new();
    let mut orders = Orders::default();
    let mut stacks = Stacks::default();
    let mut seen = HashSet::new();
    let mut left_out: Vec<&str> = Vec::new();
    let tied = settings.tied(family.tied);
    for tensor in tensors {
        let found = match names::of_hf(family, &tensor.name) {
            Fate::Kept(found) => found,
            Fate::LeftOut(why) => {
                if let Some(why) = why.filter(|why| !left_out.contains(why)) {
                    left_out.push(why);
                }
                continue;
            }
            Fate::Unknown => return Err(unknown(family, &tensor.name)),
        };
        let Some(rule) = family.rules.get(found.rule) else { continue };
        if rule.gguf == "output" && tied {
            left_out.push("the head, which is the embedding");
            continue;
        }
        if rule.gguf == "output" && family.arch.starts_with("gemma") {
            let detail = format!("`{}`: this architecture has no head of its own there", tensor.name);
            return Err(FormatError::Unsupported { what: "a Gemma whose head is not its embedding in GGUF", detail });
        }
        check_tensor(tensor)?;
        if let Some(block) = found.block.filter(|&block| block >= sizes.blocks) {
            let detail = format!("`{}` is of block {block}; config.json says {} blocks", tensor.name, sizes.blocks);
            return Err(FormatError::Broken { what: "tensor", at: 0, detail });
        }
        if let (Some(block), Some(expert)) = (found.block, found.expert) {
            stacks.add(block, found.rule, expert, tensor)?;
            continue;
        }
        if !seen.insert(found) {
            return Err(FormatError::DuplicateKey { key: tensor.name.clone() });
        }
        made.push(one(family, sizes, found, tensor, &mut orders)?);
    }
    for (block, rule, tensor) in stacks.stack(sizes.experts)? {
        let found = Found { rule, block: Some(block), expert: None, end: ".weight" };
        made.push(one(family, sizes, found, &tensor, &mut orders)?);
    }
    for why in left_out {
        notes.push(format!("left out: {why}"));
    }
    check_complete(family, sizes, &made)?;
    factors(family, settings, sizes, &mut made)?;
    made.sort_by_key(|made| made.order);
    Ok(made)
}

/// One tensor under its new name.
fn one(
    family: &Family,
    sizes: &Sizes,
    found: Found,
    tensor: &Tensor,
    orders: &mut Orders,
) -> Result<Made, FormatError> {
    let Some(rule) = family.rules.get(found.rule) else { return Err(unknown(family, &tensor.name)) };
    let name = names::fill(rule.gguf, &[found.block]) + found.end;
    let mut recipe = Recipe { source: tensor.clone(), rows: None, steps: Vec::new() };
    let rows = tensor.shape.first().copied().unwrap_or(0);
    let heads = match rule.gguf {
        "blk.{}.attn_q" => Some(sizes.heads),
        "blk.{}.attn_k" | "blk.{}.attn_v" => Some(sizes.kv_heads),
        _ => None,
    };
    if let Some(heads) = heads.filter(|heads| heads.checked_mul(sizes.head_dim) != Some(rows)) {
        let detail = format!("`{}` has {rows} rows, which are not {heads} heads of {}", tensor.name, sizes.head_dim);
        return Err(FormatError::Broken { what: "tensor", at: 0, detail });
    }
    match rule.change {
        Change::QueryRows => recipe.rows = Some(orders.of(&tensor.name, rows, sizes.heads, Way::ToGguf)?),
        Change::KeyRows => recipe.rows = Some(orders.of(&tensor.name, rows, sizes.kv_heads, Way::ToGguf)?),
        Change::AddOne => recipe.steps.push(Step::Add(1.0)),
        Change::Transpose if tensor.shape.len() == 2 => recipe.source = arrange::transpose(tensor, &tensor.name)?,
        Change::Transpose | Change::Stack | Change::None => {}
    }
    let shape = recipe.source.shape.clone();
    Ok(Made {
        order: order(family, found),
        found: Some(found),
        tensor: OutputTensor { name, dtype: Dtype::F32, shape, recipe },
    })
}

/// Tensors before the blocks come first, those behind them last.
fn order(family: &Family, found: Found) -> (u8, u64, usize, bool) {
    let first = family.rules.iter().position(|rule| rule.gguf.starts_with("blk.")).unwrap_or(usize::MAX);
    let group = match found.block {
        Some(_) => 1,
        None if found.rule < first => 0,
        None => 2,
    };
    (group, found.block.unwrap_or(0), found.rule, found.end == ".bias")
}

/// Factors of rotations, which transformers computes and llama.cpp reads.
fn factors(family: &Family, settings: &Settings<'_>, sizes: &Sizes, made: &mut Vec<Made>) -> Result<(), FormatError> {
    let rope = Rope::of(settings)?;
    let mut add = |number: usize, name: &str, factors: &[f32]| {
        let bytes: Vec<u8> = factors.iter().flat_map(|factor| factor.to_le_bytes()).collect();
        let shape = vec![factors.len() as u64];
        let tensor = Tensor::plain(name, Dtype::F32, shape, Stored::inline(&bytes));
        made.push(Made {
            order: (0, 0, usize::MAX - 2 + number, false),
            found: None,
            tensor: OutputTensor::same(&tensor),
        });
    };
    match family.arch {
        "llama" => {
            if let Some(factors) = rope.llama3(settings, sizes)? {
                add(0, "rope_freqs.weight", &factors);
            }
        }
        "phi3" => {
            if let Some([long, short]) = rope.longrope(sizes)? {
                add(0, "rope_factors_long.weight", &long);
                add(1, "rope_factors_short.weight", &short);
            }
        }
        _ => {}
    }
    Ok(())
}

fn choose_types(
    family: &Family,
    settings: &Settings<'_>,
    sizes: &Sizes,
    file_type: FileType,
    made: &mut [Made],
    notes: &mut Vec<String>,
) {
    let tied = settings.tied(family.tied);
    let mut smaller: Vec<(Dtype, Dtype, u64, String)> = Vec::new();
    for Made { found, tensor, .. } in made {
        let place = Place {
            name: &tensor.name,
            shape: &tensor.shape,
            block: found.and_then(|found| found.block),
            blocks: sizes.blocks,
            experts: sizes.experts,
            tied,
        };
        let (dtype, instead) = file_type.of(&place);
        tensor.dtype = dtype;
        if let Some(instead) = instead {
            match smaller.iter_mut().find(|(to, from, ..)| (*to, *from) == (dtype, instead)) {
                Some((_, _, count, _)) => *count += 1,
                None => smaller.push((dtype, instead, 1, tensor.name.clone())),
            }
        }
    }
    for (dtype, instead, count, name) in smaller {
        let what = if count == 1 { format!("`{name}`") } else { format!("{count} tensors, `{name}` first,") };
        let verb = if count == 1 { "is" } else { "are" };
        notes.push(format!("{what} {verb} `{dtype}` instead of `{instead}`, whose blocks do not divide the rows"));
    }
}

/// Rows of the embedding: the size of the vocabulary, as far as the loader is concerned.
fn rows(made: &[Made]) -> Result<u64, FormatError> {
    let shape = made.iter().find(|made| made.tensor.name == "token_embd.weight").map(|made| &made.tensor.shape);
    match shape.map(Vec::as_slice) {
        Some(&[rows, _]) if (1..=tokenizer::TOKENS).contains(&rows) => Ok(rows),
        Some(&[rows, _]) => {
            Err(FormatError::TooLarge { what: "number of rows of the embedding", size: rows, limit: tokenizer::TOKENS })
        }
        _ => Err(FormatError::Broken {
            what: "tensor",
            at: 0,
            detail: "the embedding of tokens is no matrix".to_owned(),
        }),
    }
}

fn check_tensor(tensor: &Tensor) -> Result<(), FormatError> {
    if matches!(tensor.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F8E4M3 | Dtype::F8E5M2) {
        return Ok(());
    }
    let detail = format!("tensor `{}` is `{}`; convert the model that it was made from", tensor.name, tensor.dtype);
    Err(FormatError::Unsupported { what: "a model whose weights are no floats in GGUF", detail })
}

/// Every weight of every block must be there; the first that is not is named as transformers names it.
fn check_complete(family: &Family, sizes: &Sizes, made: &[Made]) -> Result<(), FormatError> {
    let weights: HashSet<(usize, Option<u64>)> = made
        .iter()
        .filter_map(|made| made.found)
        .filter(|found| found.end == ".weight")
        .map(|found| (found.rule, found.block))
        .collect();
    for (number, rule) in family.rules.iter().enumerate() {
        let needed = match rule.need {
            Need::Always => true,
            Need::Dense => sizes.experts == 0,
            Need::Experts => sizes.experts > 0,
            Need::Never => false,
        };
        if !needed {
            continue;
        }
        let blocks = if rule.gguf.starts_with("blk.") { sizes.blocks } else { 1 };
        for block in 0..blocks {
            let block = rule.gguf.starts_with("blk.").then_some(block);
            if !weights.contains(&(number, block)) {
                let expert = (rule.change == Change::Stack).then_some(0);
                let name = names::fill(rule.hf, &[block, expert]);
                let detail = format!("`{name}.weight` is missing");
                return Err(FormatError::Broken { what: "model", at: 0, detail });
            }
        }
    }
    Ok(())
}

fn unknown(family: &Family, name: &str) -> FormatError {
    let detail = format!("tensor `{name}` has no place in the architecture `{}`", family.arch);
    FormatError::Unsupported { what: "this model in GGUF", detail }
}
