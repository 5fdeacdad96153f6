//! What the loader must know of a model besides its tensors: `<architecture>.*`.
//!
//! # Source
//! The keys that llama.cpp's loader asks for, and `Keys` of `gguf` 0.19.

use serde_json::Value;

use crate::error::FormatError;
use crate::gguf::families::files::Files;
use crate::gguf::families::keys::Keys;
use crate::gguf::families::rope::Rope;
use crate::gguf::families::settings::{Settings, Sizes, missing};
use crate::gguf::families::table::Family;

/// Writes the keys of a family.
pub(super) fn keys(
    keys: &mut Keys,
    family: &Family,
    settings: &Settings<'_>,
    sizes: &Sizes,
    files: &Files,
    notes: &mut Vec<String>,
) -> Result<(), FormatError> {
    keys.count("block_count", sizes.blocks)?;
    let context = match settings.count(&["max_position_embeddings", "n_positions", "n_ctx"])? {
        Some(context) => context,
        None if family.arch == "gemma3" => 131_072,
        None => return Err(missing("max_position_embeddings")),
    };
    keys.count("context_length", context)?;
    keys.count("embedding_length", sizes.hidden)?;
    keys.count("feed_forward_length", feed_forward(family, settings, sizes)?)?;
    keys.count("attention.head_count", sizes.heads)?;
    match family.arch {
        "gpt2" => keys.float("attention.layer_norm_epsilon", epsilon(settings, &["layer_norm_epsilon"], None)?),
        "bert" => bert(keys, settings, files, notes)?,
        _ => {
            keys.count("attention.head_count_kv", sizes.kv_heads)?;
            let default = (family.arch == "gemma3").then_some(1e-6);
            keys.float("attention.layer_norm_rms_epsilon", epsilon(settings, &["rms_norm_eps"], default)?);
            let own = settings.count(&["head_dim"])?.is_some() || sizes.head_dim * sizes.heads != sizes.hidden;
            if own || family.arch.starts_with("gemma") {
                keys.count("attention.key_length", sizes.head_dim)?;
                keys.count("attention.value_length", sizes.head_dim)?;
            }
            Rope::of(settings)?.keys(keys, settings, notes)?;
            experts(keys, family, settings, sizes, notes)?;
        }
    }
    match family.arch {
        "llama" => llama(keys, settings, sizes, notes)?,
        "gemma2" => {
            for (key, word) in [
                ("attn_logit_softcapping", "attn_logit_softcapping"),
                ("final_logit_softcapping", "final_logit_softcapping"),
            ] {
                keys.float(key, settings.float(&[word])?.ok_or_else(|| missing(word))?);
            }
            keys.count("attention.sliding_window", settings.needed(&["sliding_window"])?)?;
            scale(settings, sizes, notes)?;
        }
        "gemma3" => gemma3(keys, settings, sizes, notes)?,
        "phi3" => phi3(keys, settings, sizes, context)?,
        _ => {}
    }
    Ok(())
}

fn epsilon(settings: &Settings<'_>, words: &[&str], default: Option<f64>) -> Result<f64, FormatError> {
    let found = settings.float(words)?.or(default);
    found.ok_or_else(|| missing(words.first().copied().unwrap_or_default()))
}

fn feed_forward(family: &Family, settings: &Settings<'_>, sizes: &Sizes) -> Result<u64, FormatError> {
    if family.arch == "gpt2" {
        return Ok(settings.count(&["n_inner"])?.unwrap_or(sizes.hidden.saturating_mul(4)));
    }
    settings.needed(&["intermediate_size"])
}

fn llama(keys: &mut Keys, settings: &Settings<'_>, sizes: &Sizes, notes: &mut Vec<String>) -> Result<(), FormatError> {
    keys.count("rope.dimension_count", sizes.head_dim)?;
    if let Some(window) = settings.count(&["sliding_window"])?.filter(|&window| window > 0) {
        notes.push(format!("llama.cpp lets this architecture see everything, not a window of {window} tokens"));
    }
    Ok(())
}

fn bert(keys: &mut Keys, settings: &Settings<'_>, files: &Files, notes: &mut Vec<String>) -> Result<(), FormatError> {
    keys.float("attention.layer_norm_epsilon", epsilon(settings, &["layer_norm_eps"], None)?);
    keys.flag("attention.causal", false);
    if let Some(kind) = settings.text(&["position_embedding_type"]).filter(|kind| *kind != "absolute") {
        let detail = format!("`position_embedding_type` `{}`", kind.chars().take(40).collect::<String>());
        return Err(FormatError::Unsupported { what: "a BERT with other than absolute positions in GGUF", detail });
    }
    match pooling(files)? {
        Some((number, _)) => keys.count("pooling_type", number)?,
        None if files.has("1_Pooling/config.json") => {
            notes.push("`1_Pooling/config.json` asks for a pooling that llama.cpp does not have".to_owned());
        }
        None => {}
    }
    Ok(())
}

/// Pooling of sentence-transformers: its number in llama.cpp, and its word.
fn pooling(files: &Files) -> Result<Option<(u64, &'static str)>, FormatError> {
    const KINDS: &[(u64, &str, &str)] = &[
        (1, "mean", "pooling_mode_mean_tokens"),
        (2, "cls", "pooling_mode_cls_token"),
        (3, "lasttoken", "pooling_mode_lasttoken"),
    ];
    let Some(config) = files.json("1_Pooling/config.json")? else { return Ok(None) };
    let mode = config.get("pooling_mode").and_then(Value::as_str);
    let is = |word: &str, flag: &str| mode == Some(word) || config.get(flag).and_then(Value::as_bool) == Some(true);
    Ok(KINDS.iter().find(|(_, word, flag)| is(word, flag)).map(|(number, word, _)| (*number, *word)))
}

fn experts(
    keys: &mut Keys,
    family: &Family,
    settings: &Settings<'_>,
    sizes: &Sizes,
    notes: &mut Vec<String>,
) -> Result<(), FormatError> {
    let moe = family.arch.ends_with("moe");
    if moe || (family.arch == "llama" && sizes.experts > 0) {
        keys.count("expert_count", sizes.experts)?;
        keys.count("expert_used_count", settings.needed(&["num_experts_per_tok"])?)?;
    }
    if !moe {
        return Ok(());
    }
    keys.count("expert_feed_forward_length", settings.needed(&["moe_intermediate_size"])?)?;
    if family.arch == "qwen2moe" {
        keys.count("expert_shared_feed_forward_length", settings.needed(&["shared_expert_intermediate_size"])?)?;
    }
    let dense = settings.find(&["mlp_only_layers"]).and_then(Value::as_array).is_some_and(|layers| !layers.is_empty());
    if dense || settings.count(&["decoder_sparse_step"])?.is_some_and(|step| step != 1) {
        let detail = "some layers have no experts (`mlp_only_layers`, `decoder_sparse_step`)".to_owned();
        return Err(FormatError::Unsupported { what: "a model with experts in some layers only in GGUF", detail });
    }
    // What the loader's graph does, whatever the file says.
    let normalised = family.arch == "qwen3moe";
    if settings.flag(&["norm_topk_prob"]).is_some_and(|asked| asked != normalised) {
        let what = if normalised { "always" } else { "never" };
        notes.push(format!("llama.cpp {what} normalises the weights of this architecture's experts"));
    }
    Ok(())
}

/// Gemma's attention may be scaled by another number than the size of its heads; the loader knows only some models.
fn scale(settings: &Settings<'_>, sizes: &Sizes, notes: &mut Vec<String>) -> Result<(), FormatError> {
    if let Some(scalar) = settings.float(&["query_pre_attn_scalar"])?
        && scalar != sizes.head_dim as f64
        // The models of 27 billion parameters, which it tells by their number of blocks.
        && !(matches!(sizes.blocks, 46 | 62) && scalar == (sizes.hidden / sizes.heads) as f64)
    {
        notes.push(format!(
            "llama.cpp scales attention by the size of a head, {}; this model by `query_pre_attn_scalar` {scalar}",
            sizes.head_dim
        ));
    }
    Ok(())
}

fn gemma3(keys: &mut Keys, settings: &Settings<'_>, sizes: &Sizes, notes: &mut Vec<String>) -> Result<(), FormatError> {
    // Configurations of the first models leave the base out.
    keys.float("rope.freq_base", 1_000_000.0);
    if let Some(theta) = Rope::of(settings)?.local_theta {
        keys.float("rope.freq_base_swa", theta);
    }
    if let Some(cap) = settings.float(&["final_logit_softcapping"])?.filter(|&cap| cap != 0.0) {
        keys.float("final_logit_softcapping", cap);
    }
    if settings.float(&["attn_logit_softcapping"])?.is_some_and(|cap| cap != 0.0) {
        let detail = "`attn_logit_softcapping` of a Gemma 3".to_owned();
        return Err(FormatError::Unsupported { what: "capped attention in GGUF", detail });
    }
    let pattern = settings.count(&["sliding_window_pattern", "_sliding_window_pattern"])?.unwrap_or(6);
    if pattern != 1 {
        keys.count("attention.sliding_window", settings.needed(&["sliding_window"])?)?;
    }
    if pattern != 1 && pattern != 6 {
        notes.push(format!("llama.cpp lets every 6th layer see everything; in this model it is every {pattern}th"));
    }
    scale(settings, sizes, notes)
}

fn phi3(keys: &mut Keys, settings: &Settings<'_>, sizes: &Sizes, context: u64) -> Result<(), FormatError> {
    let rope = Rope::of(settings)?;
    let part = match rope.partial()? {
        Some(part) => part,
        None => settings.float(&["partial_rotary_factor"])?.unwrap_or(1.0),
    };
    keys.count("rope.dimension_count", (part.clamp(0.0, 1.0) * sizes.head_dim as f64) as u64)?;
    let original = settings.count(&["original_max_position_embeddings"])?.unwrap_or(context);
    keys.count("rope.scaling.original_context_length", original)?;
    if matches!(rope.kind(), Some("longrope" | "su")) {
        keys.float("rope.scaling.attn_factor", rope.attention_factor(context, original)?);
    }
    keys.count("attention.sliding_window", settings.count(&["sliding_window"])?.unwrap_or(0))
}
