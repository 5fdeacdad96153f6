//! The U-net: blocks numbered through in one file, levels and layers in the folder.

use crate::error::FormatError;
use crate::limits::Limits;

use super::Version;
use crate::remap::count;
use crate::remap::rules::{Made, Table, refused};

/// Prefixes in the single file and in the folder.
const SINGLE: &str = "model.diffusion_model.";
const FOLDER: &str = "unet.";
/// Most levels, and most layers of one; published ones have 4 and 2.
const MOST: u64 = 8;

/// Numbers of blocks, and where attention is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) layers: u64,
    /// Whether each level of the way down has attention.
    pub(super) down: Vec<bool>,
    /// Whether each level of the way up has attention.
    pub(super) up: Vec<bool>,
}

impl Plan {
    pub(super) fn of_single(made: &[Made]) -> Result<Self, FormatError> {
        let any = |begin: &str| made.iter().any(|made| made.tensor.name.starts_with(begin));
        let blocks = count(made, &format!("{SINGLE}input_blocks.#"));
        // The first block that halves the image ends the first level.
        let halving = (1..blocks.min(MOST + 2)).find(|block| any(&format!("{SINGLE}input_blocks.{block}.0.op.")));
        let layers = halving.unwrap_or(blocks).saturating_sub(1);
        if layers == 0 {
            return Err(refused("`model.diffusion_model.input_blocks` has no layers".to_owned()));
        }
        let levels = blocks / (layers + 1) + u64::from(!blocks.is_multiple_of(layers + 1));
        bounded(levels, layers)?;
        let attends = |part: &str, level: u64, first: u64| {
            (0..=layers).any(|layer| {
                let block = first + level * (layers + 1) + layer;
                any(&format!("{SINGLE}{part}.{block}.1.transformer_blocks."))
            })
        };
        Ok(Self {
            layers,
            down: (0..levels).map(|level| attends("input_blocks", level, 1)).collect(),
            up: (0..levels).map(|level| attends("output_blocks", level, 0)).collect(),
        })
    }

    pub(super) fn of_folder(made: &[Made]) -> Result<Self, FormatError> {
        let any = |begin: &str| made.iter().any(|made| made.tensor.name.starts_with(begin));
        let levels = count(made, &format!("{FOLDER}down_blocks.#"));
        let layers = count(made, &format!("{FOLDER}down_blocks.0.resnets.#"));
        if levels == 0 || layers == 0 {
            return Err(refused("`unet` has no `down_blocks`".to_owned()));
        }
        bounded(levels, layers)?;
        let attends = |part: &str, level: u64| any(&format!("{FOLDER}{part}.{level}.attentions."));
        Ok(Self {
            layers,
            down: (0..levels).map(|level| attends("down_blocks", level)).collect(),
            up: (0..levels).map(|level| attends("up_blocks", level)).collect(),
        })
    }
}

fn bounded(levels: u64, layers: u64) -> Result<(), FormatError> {
    Limits::at_most("number of levels of a U-net", levels, MOST)?;
    Limits::at_most("number of layers of a level", layers, MOST)
}

/// Adds the U-net's lines.
pub(super) fn table(table: &mut Table, plan: &Plan, version: Version) {
    let embedding = if version == Version::Xl { "add_embedding" } else { "class_embedding" };
    for (left, right) in [
        ("input_blocks.0.0.*", "conv_in.*"),
        ("time_embed.0.*", "time_embedding.linear_1.*"),
        ("time_embed.2.*", "time_embedding.linear_2.*"),
        ("label_emb.0.0.*", &*format!("{embedding}.linear_1.*")),
        ("label_emb.0.2.*", &*format!("{embedding}.linear_2.*")),
        ("label_emb.weight", "class_embedding.weight"),
        ("middle_block.1.*", "mid_block.attentions.0.*"),
        ("out.0.*", "conv_norm_out.*"),
        ("out.2.*", "conv_out.*"),
    ] {
        table.same(format!("{SINGLE}{left}"), format!("{FOLDER}{right}"));
    }
    residual(table, "middle_block.0", "mid_block.resnets.0");
    residual(table, "middle_block.2", "mid_block.resnets.1");
    let each = |level: usize| (0..=plan.layers).map(move |layer| (layer, level as u64 * (plan.layers + 1) + layer));
    for (level, attends) in plan.down.iter().enumerate() {
        for (layer, block) in each(level) {
            let (left, right) = (format!("input_blocks.{}", block + 1), format!("down_blocks.{level}"));
            if layer == plan.layers {
                let (left, right) =
                    (format!("{SINGLE}{left}.0.op.*"), format!("{FOLDER}{right}.downsamplers.0.conv.*"));
                table.same(left, right);
                continue;
            }
            residual(table, &format!("{left}.0"), &format!("{right}.resnets.{layer}"));
            if *attends {
                table.same(format!("{SINGLE}{left}.1.*"), format!("{FOLDER}{right}.attentions.{layer}.*"));
            }
        }
    }
    for (level, attends) in plan.up.iter().enumerate() {
        for (layer, block) in each(level) {
            let (left, right) = (format!("output_blocks.{block}"), format!("up_blocks.{level}"));
            residual(table, &format!("{left}.0"), &format!("{right}.resnets.{layer}"));
            if *attends {
                table.same(format!("{SINGLE}{left}.1.*"), format!("{FOLDER}{right}.attentions.{layer}.*"));
            }
            if layer == plan.layers {
                // What doubles the image comes after the attention, if there is any.
                let place = if *attends { 2 } else { 1 };
                let left = format!("{SINGLE}{left}.{place}.conv.*");
                table.same(left, format!("{FOLDER}{right}.upsamplers.0.conv.*"));
            }
        }
    }
}

/// One residual block.
fn residual(table: &mut Table, left: &str, right: &str) {
    for (one, other) in [
        ("in_layers.0", "norm1"),
        ("in_layers.2", "conv1"),
        ("emb_layers.1", "time_emb_proj"),
        ("out_layers.0", "norm2"),
        ("out_layers.3", "conv2"),
        ("skip_connection", "conv_shortcut"),
    ] {
        table.same(format!("{SINGLE}{left}.{one}.*"), format!("{FOLDER}{right}.{other}.*"));
    }
}
