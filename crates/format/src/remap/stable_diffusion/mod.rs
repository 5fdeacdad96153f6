//! Stable Diffusion 1, 2 and XL: one file in the names of its authors, or a folder for each component.
//!
//! | component | in one file | folder |
//! |---|---|---|
//! | U-net | `model.diffusion_model.` | `unet` |
//! | autoencoder | `first_stage_model.` | `vae` |
//! | CLIP | `cond_stage_model.transformer.`, XL `conditioner.embedders.0.transformer.` | `text_encoder` |
//! | OpenCLIP | 2 `cond_stage_model.model.`, XL `conditioner.embedders.1.model.` | `text_encoder`, XL `text_encoder_2` |
//!
//! One table has the single file left and the folder's names, component first, right. Its lines follow the number of
//! levels and layers, which the names tell.

mod config;
mod text;
mod unet;
mod vae;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::FormatError;

use super::rules::{Made, Table, Way, refused, renamed};
use super::{Draft, Input, shape_of, values};

/// Key of a single file's metadata for the configurations of the folder that it was made from.
const KEPT: &str = "weighthouse.diffusers";

/// Configurations that a folder has, and that a single file made from it keeps.
const DOCUMENTS: &[&str] = &[
    "model_index.json",
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "text_encoder_2/config.json",
    "scheduler/scheduler_config.json",
];

/// Generations that differ in their text encoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
    Xl,
}

/// From one file to a folder for each component.
pub(super) fn to_diffusers(input: &Input<'_>, made: Vec<Made>, draft: &mut Draft) -> Result<(), FormatError> {
    let any = |begin: &str| made.iter().any(|made| made.tensor.name.starts_with(begin));
    let version = match () {
        () if any("conditioner.embedders.") => Version::Xl,
        () if any("cond_stage_model.model.") => Version::Two,
        () => Version::One,
    };
    let mut table = Table::default();
    unet::table(&mut table, &unet::Plan::of_single(&made)?, version);
    vae::table(&mut table, &vae::Plan::of_single(&made)?);
    text::table(&mut table, version, &made);
    left_out(&mut table);
    let made = table.apply(Way::Forward, made, &mut draft.notes)?;
    documents(input, &made, version, draft)?;
    parts(&made, draft);
    draft.notes.push("tokenizers are not in the weights: `tokenizer` has to be put into the folder".to_owned());
    Ok(())
}

/// One set of weights for each component: the first part of a name is its folder.
pub(super) fn parts(made: &[Made], draft: &mut Draft) {
    let mut parts: BTreeMap<&str, Vec<Made>> = BTreeMap::new();
    for Made { tensor, from } in made {
        let (folder, name) = tensor.name.split_once('.').unwrap_or(("", &tensor.name));
        parts.entry(folder).or_default().push(Made { tensor: renamed(tensor, name), from: from.clone() });
    }
    for (folder, made) in parts {
        // What transformers has written itself has its file name.
        let own = ["text_encoder", "image_encoder", "safety_checker"].iter().any(|begin| folder.starts_with(begin));
        let stem = if own { "model" } else { "diffusion_pytorch_model" };
        draft.components.push((folder.to_owned(), stem, made));
    }
}

/// From a folder for each component to one file.
pub(super) fn to_single(input: &Input<'_>, made: Vec<Made>, draft: &mut Draft) -> Result<(), FormatError> {
    let made = text::completed(made);
    let linear = made.iter().any(|made| made.tensor.name.ends_with(".proj_in.weight") && made.tensor.shape.len() == 2);
    let version = match () {
        () if made.iter().any(|made| made.tensor.name.starts_with("text_encoder_2.")) => Version::Xl,
        () if linear => Version::Two,
        () => Version::One,
    };
    let mut table = Table::default();
    unet::table(&mut table, &unet::Plan::of_folder(&made)?, version);
    vae::table(&mut table, &vae::Plan::of_folder(&made)?);
    text::table(&mut table, version, &made);
    left_out(&mut table);
    let made = table.apply(Way::Backward, made, &mut draft.notes)?;
    let mut kept = Map::new();
    for path in DOCUMENTS {
        if let Some(map) = values::document(input, path)? {
            kept.insert((*path).to_owned(), map.into());
        }
    }
    if !kept.is_empty() {
        draft.metadata.insert(KEPT.to_owned(), Value::Object(kept).to_string());
    }
    draft.whole(made);
    Ok(())
}

/// What one side has and the other does not need.
fn left_out(table: &mut Table) {
    let scheduler = "the scheduler computes it from its configuration";
    for pattern in ["betas", "alphas_cumprod*", "sqrt_*", "log_one_minus_*", "posterior_*", "logvar", "lvlb_weights"] {
        table.drop(Way::Forward, pattern, scheduler);
    }
    table
        .drop(Way::Forward, "alphas_cumprod", scheduler)
        .drop(Way::Forward, "denoiser.sigmas", scheduler)
        .drop(Way::Forward, "model_ema.*", "these are running means of the training; the weights themselves are taken")
        .drop(Way::Forward, "first_stage_model.model_ema.*", "these are running means of the training")
        .drop(Way::Forward, "first_stage_model.loss.*", "the discriminator is used in training only")
        .drop(Way::Backward, "safety_checker.*", "a single file has no safety checker")
        .drop(Way::Backward, "image_encoder.*", "a single file has no image encoder");
}

/// Configurations: those that the file keeps from the folder it was made of, else what the shapes tell.
fn documents(input: &Input<'_>, made: &[Made], version: Version, draft: &mut Draft) -> Result<(), FormatError> {
    let kept = input.contents.metadata.get(KEPT).and_then(Value::as_str);
    let kept: Option<BTreeMap<String, Value>> = kept.and_then(|text| serde_json::from_str(text).ok());
    let mut found = config::all(made, version, &mut draft.notes)?;
    if let Some(kept) = kept {
        let known = kept.into_iter().filter(|(path, value)| DOCUMENTS.contains(&path.as_str()) && value.is_object());
        found.extend(known);
        draft.notes.push("configurations are those of the folder that the file was made from".to_owned());
    }
    draft.documents.extend(found);
    Ok(())
}

/// One extent of a tensor that must be there.
fn extent(made: &[Made], name: &str, axis: usize) -> Result<u64, FormatError> {
    let extent = shape_of(made, name).and_then(|shape| shape.get(axis).copied());
    extent.ok_or_else(|| refused(format!("`{name}` is not there, or has too few axes")))
}

/// A module's path in the U-net of a folder, where it is given as in the single file; others stay.
///
/// Adapters do not tell how many layers a level has; where they use these names, it is the two of all published models.
///
/// # Errors
/// [`FormatError::Unsupported`] when there is no such block.
pub(super) fn unet_path(path: &str) -> Result<String, FormatError> {
    const BLOCKS: &[&str] = &["input_blocks.", "middle_block.", "output_blocks.", "time_embed.", "label_emb.", "out."];
    if !BLOCKS.iter().any(|begin| path.starts_with(begin)) {
        return Ok(path.to_owned());
    }
    // Three levels, attention in the lower two, are XL, whose adapters are the ones with these names.
    let plan = unet::Plan { layers: 2, down: vec![false, true, true], up: vec![true, true, false] };
    let mut table = Table::default();
    unet::table(&mut table, &plan, Version::Xl);
    let name = table.name(Way::Forward, &format!("model.diffusion_model.{path}.weight"));
    let found = name.as_deref().and_then(|name| name.strip_prefix("unet.")?.strip_suffix(".weight").map(str::to_owned));
    found.ok_or_else(|| refused(format!("the U-net of Stable Diffusion XL has no `{path}`")))
}
