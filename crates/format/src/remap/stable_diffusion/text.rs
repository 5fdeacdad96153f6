//! Text encoders: CLIP, which both sides call the same, and OpenCLIP, which fuses query, key and value.

use super::Version;
use crate::remap::count;
use crate::remap::rules::{Change, Made, Table, Way, renamed};

/// The whole tower of Stable Diffusion 2; its last layer is not used.
const WHOLE_TOWER: u64 = 24;

/// Adds the lines of the text encoders.
pub(super) fn table(table: &mut Table, version: Version, made: &[Made]) {
    match version {
        Version::One => clip(table, "cond_stage_model.transformer.", "text_encoder."),
        Version::Two => {
            let layers = count(made, "cond_stage_model.model.transformer.resblocks.#");
            if layers == WHOLE_TOWER {
                let last = format!("cond_stage_model.model.transformer.resblocks.{}.*", WHOLE_TOWER - 1);
                table.drop(Way::Forward, last, "Stable Diffusion 2 reads the text before the last layer");
            }
            table.drop(
                Way::Forward,
                "cond_stage_model.model.text_projection",
                "Stable Diffusion 2 uses no projection of the text",
            );
            open_clip(table, "cond_stage_model.model.", "text_encoder.");
        }
        Version::Xl => {
            clip(table, "conditioner.embedders.0.transformer.", "text_encoder.");
            open_clip(table, "conditioner.embedders.1.model.", "text_encoder_2.");
        }
    }
}

fn clip(table: &mut Table, left: &str, right: &str) {
    let buffer = "positions are counted";
    table
        .drop(Way::Forward, format!("{left}text_model.embeddings.position_ids"), buffer)
        .drop(Way::Backward, format!("{right}text_model.embeddings.position_ids"), buffer)
        .same(format!("{left}text_model.*"), format!("{right}text_model.*"))
        .same(format!("{left}text_projection.*"), format!("{right}text_projection.*"));
}

fn open_clip(table: &mut Table, left: &str, right: &str) {
    let (one, other) = (format!("{left}transformer.resblocks.#"), format!("{right}text_model.encoder.layers.#"));
    let qkv = |kind: &str| ["q", "k", "v"].map(|part| format!("{other}.self_attn.{part}_proj.{kind}").into());
    table
        .drop(Way::Forward, format!("{left}logit_scale"), "it belongs to the training of CLIP")
        .drop(Way::Forward, format!("{left}attn_mask"), "transformers makes the causal mask itself")
        .drop(Way::Backward, format!("{right}text_model.embeddings.position_ids"), "positions are counted")
        .same(format!("{left}positional_embedding"), format!("{right}text_model.embeddings.position_embedding.weight"))
        .same(format!("{left}token_embedding.weight"), format!("{right}text_model.embeddings.token_embedding.weight"))
        .same(format!("{left}ln_final.*"), format!("{right}text_model.final_layer_norm.*"))
        .change(format!("{left}text_projection"), format!("{right}text_projection.weight"), Change::Matrix)
        .fused(format!("{one}.attn.in_proj_weight"), qkv("weight"))
        .fused(format!("{one}.attn.in_proj_bias"), qkv("bias"))
        .same(format!("{one}.attn.out_proj.*"), format!("{other}.self_attn.out_proj.*"))
        .same(format!("{one}.ln_1.*"), format!("{other}.layer_norm1.*"))
        .same(format!("{one}.ln_2.*"), format!("{other}.layer_norm2.*"))
        .same(format!("{one}.mlp.c_fc.*"), format!("{other}.mlp.fc1.*"))
        .same(format!("{one}.mlp.c_proj.*"), format!("{other}.mlp.fc2.*"));
}

/// transformers 5 leaves the first part of a text encoder's names out; here it is put back.
pub(super) fn completed(made: Vec<Made>) -> Vec<Made> {
    const PARTS: &[&str] = &["embeddings.", "encoder.", "final_layer_norm."];
    let complete = |Made { tensor, from }: Made| {
        let short = ["text_encoder.", "text_encoder_2."].into_iter().find_map(|before| {
            let rest = tensor.name.strip_prefix(before)?;
            PARTS.iter().any(|part| rest.starts_with(part)).then(|| format!("{before}text_model.{rest}"))
        });
        match short {
            Some(name) => Made { tensor: renamed(&tensor, &name), from },
            None => Made { tensor, from },
        }
    };
    made.into_iter().map(complete).collect()
}
