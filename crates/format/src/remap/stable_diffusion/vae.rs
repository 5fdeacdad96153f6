//! The autoencoder: the way up counts its levels from the other end, and attention is a convolution over points.

use crate::error::FormatError;
use crate::limits::Limits;

use crate::remap::count;
use crate::remap::rules::{Change, Made, Table};

const SINGLE: &str = "first_stage_model.";
const FOLDER: &str = "vae.";
/// Most levels; published ones have 4.
const MOST: u64 = 8;

/// Number of levels; 0 when there is no autoencoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) levels: u64,
}

impl Plan {
    pub(super) fn of_single(made: &[Made]) -> Result<Self, FormatError> {
        let (down, up) = (format!("{SINGLE}encoder.down.#"), format!("{SINGLE}decoder.up.#"));
        Self::new(count(made, &down).max(count(made, &up)))
    }

    pub(super) fn of_folder(made: &[Made]) -> Result<Self, FormatError> {
        let (down, up) = (format!("{FOLDER}encoder.down_blocks.#"), format!("{FOLDER}decoder.up_blocks.#"));
        Self::new(count(made, &down).max(count(made, &up)))
    }

    fn new(levels: u64) -> Result<Self, FormatError> {
        Limits::at_most("number of levels of an autoencoder", levels, MOST)?;
        Ok(Self { levels })
    }
}

/// Adds the autoencoder's lines.
pub(super) fn table(table: &mut Table, plan: &Plan) {
    let mut same = |left: &str, right: &str| {
        table.same(format!("{SINGLE}{left}"), format!("{FOLDER}{right}"));
    };
    same("quant_conv.*", "quant_conv.*");
    same("post_quant_conv.*", "post_quant_conv.*");
    let mut residuals = Vec::new();
    for side in ["encoder", "decoder"] {
        for (left, right) in [("conv_in", "conv_in"), ("conv_out", "conv_out"), ("norm_out", "conv_norm_out")] {
            same(&format!("{side}.{left}.*"), &format!("{side}.{right}.*"));
        }
        for number in 0..2 {
            let left = format!("{side}.mid.block_{}", number + 1);
            residuals.push((left, format!("{side}.mid_block.resnets.{number}")));
        }
        same(&format!("{side}.mid.attn_1.norm.*"), &format!("{side}.mid_block.attentions.0.group_norm.*"));
    }
    for level in 0..plan.levels {
        let up = plan.levels - 1 - level;
        residuals.push((format!("encoder.down.{level}.block.#"), format!("encoder.down_blocks.{level}.resnets.#")));
        residuals.push((format!("decoder.up.{level}.block.#"), format!("decoder.up_blocks.{up}.resnets.#")));
        same(
            &format!("encoder.down.{level}.downsample.conv.*"),
            &format!("encoder.down_blocks.{level}.downsamplers.0.conv.*"),
        );
        same(&format!("decoder.up.{level}.upsample.conv.*"), &format!("decoder.up_blocks.{up}.upsamplers.0.conv.*"));
    }
    for (left, right) in residuals {
        for part in ["norm1", "norm2", "conv1", "conv2"] {
            same(&format!("{left}.{part}.*"), &format!("{right}.{part}.*"));
        }
        same(&format!("{left}.nin_shortcut.*"), &format!("{right}.conv_shortcut.*"));
    }
    for side in ["encoder", "decoder"] {
        let (left, right) = (format!("{SINGLE}{side}.mid.attn_1"), format!("{FOLDER}{side}.mid_block.attentions.0"));
        // The second name of each is what diffusers had before its release 0.13.
        for (one, others) in [
            ("q", ["to_q", "query"]),
            ("k", ["to_k", "key"]),
            ("v", ["to_v", "value"]),
            ("proj_out", ["to_out.0", "proj_attn"]),
        ] {
            for other in others {
                table.change(format!("{left}.{one}.*"), format!("{right}.{other}.*"), Change::Pointwise);
            }
        }
    }
}
