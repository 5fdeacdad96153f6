//! Whisper: transformers and openai-whisper.

use serde_json::{Map, Value, json};

use crate::error::FormatError;

use super::rules::{Made, Table, Way, refused};
use super::{Draft, Envelope, Input, count, shape_of, values};

/// First number of a vocabulary with languages.
const MULTILINGUAL: u64 = 51_865;

/// Left openai-whisper, right transformers; `before` is `model.` under a head.
fn table(before: &str) -> Table {
    let mut table = Table::default();
    for (side, embedding) in [("encoder", "embed_positions.weight"), ("decoder", "embed_positions.weight")] {
        let (left, right) = (format!("{side}.blocks.#"), format!("{before}{side}.layers.#"));
        table.same(format!("{side}.positional_embedding"), format!("{before}{side}.{embedding}"));
        for (one, other) in [("attn", "self_attn"), ("cross_attn", "encoder_attn")] {
            for (short, long) in [("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "out_proj")] {
                table.same(format!("{left}.{one}.{short}.*"), format!("{right}.{other}.{long}.*"));
            }
            table.same(format!("{left}.{one}_ln.*"), format!("{right}.{other}_layer_norm.*"));
        }
        table
            .same(format!("{left}.mlp.0.*"), format!("{right}.fc1.*"))
            .same(format!("{left}.mlp.2.*"), format!("{right}.fc2.*"))
            .same(format!("{left}.mlp_ln.*"), format!("{right}.final_layer_norm.*"));
    }
    table
        .same("encoder.conv1.*", format!("{before}encoder.conv1.*"))
        .same("encoder.conv2.*", format!("{before}encoder.conv2.*"))
        .same("encoder.ln_post.*", format!("{before}encoder.layer_norm.*"))
        .same("decoder.token_embedding.weight", format!("{before}decoder.embed_tokens.weight"))
        .same("decoder.ln.*", format!("{before}decoder.layer_norm.*"))
        .drop(Way::Forward, "decoder.mask", "transformers makes the causal mask itself")
        .drop(Way::Forward, "alignment_heads", "it belongs into the configuration of generation")
        .drop(Way::Backward, "proj_out.weight", "openai-whisper uses the embedding of the tokens instead");
    table
}

/// From openai-whisper to transformers. The head is not written: it is the embedding of the tokens.
pub(super) fn to_hf(input: &Input<'_>, made: Vec<Made>, draft: &mut Draft) -> Result<(), FormatError> {
    let config = config(input, &made, &mut draft.notes)?;
    let made = table("model.").apply(Way::Forward, made, &mut draft.notes)?;
    draft.documents.insert("config.json".to_owned(), config);
    draft.whole(made);
    Ok(())
}

/// From transformers to openai-whisper: the weights lie under `model_state_dict` beside `dims`.
pub(super) fn to_openai(input: &Input<'_>, made: Vec<Made>, draft: &mut Draft) -> Result<(), FormatError> {
    let find = |name: &str| made.iter().find(|made| made.tensor.name == name).map(|made| &made.tensor);
    if let (Some(head), Some(embedding)) = (find("proj_out.weight"), find("model.decoder.embed_tokens.weight"))
        && !values::equal(input, head, embedding)?
    {
        let detail = "`proj_out.weight` is not `model.decoder.embed_tokens.weight`, and openai-whisper has no head";
        return Err(refused(detail.to_owned()));
    }
    let before = if made.iter().any(|made| made.tensor.name.starts_with("model.")) { "model." } else { "" };
    let made = table(before).apply(Way::Backward, made, &mut draft.notes)?;
    same(input, made, draft)
}

/// The weights beside `dims`.
pub(super) fn same(input: &Input<'_>, made: Vec<Made>, draft: &mut Draft) -> Result<(), FormatError> {
    let dims = dims(input, &made, &mut draft.notes)?;
    draft.envelope =
        Some(Envelope { key: "model_state_dict", beside: Map::from_iter([("dims".to_owned(), dims.into())]) });
    draft.whole(made);
    Ok(())
}

/// Sizes that shapes tell, by the names of openai-whisper.
struct Sizes {
    mels: u64,
    audio_context: u64,
    audio_state: u64,
    audio_layers: u64,
    vocabulary: u64,
    text_context: u64,
    text_state: u64,
    text_layers: u64,
}

impl Sizes {
    fn of(made: &[Made]) -> Result<Self, FormatError> {
        let shape = |name: &str, axis: usize| {
            let extent = shape_of(made, name).and_then(|shape| shape.get(axis).copied());
            extent.ok_or_else(|| refused(format!("`{name}` is not there, or has too few axes")))
        };
        Ok(Self {
            mels: shape("encoder.conv1.weight", 1)?,
            audio_context: shape("encoder.positional_embedding", 0)?,
            audio_state: shape("encoder.positional_embedding", 1)?,
            audio_layers: count(made, "encoder.blocks.#"),
            vocabulary: shape("decoder.token_embedding.weight", 0)?,
            text_context: shape("decoder.positional_embedding", 0)?,
            text_state: shape("decoder.positional_embedding", 1)?,
            text_layers: count(made, "decoder.blocks.#"),
        })
    }
}

/// Number of heads: as stated, or 64 numbers to a head as in all published sizes.
fn heads(input: &Input<'_>, keys: [&str; 2], state: u64, notes: &mut Vec<String>) -> u64 {
    let architecture = &input.contents.architecture.config;
    let metadata = &input.contents.metadata;
    let dims = metadata.get("dims").and_then(Value::as_object);
    let places = [Some(architecture), dims, Some(metadata)];
    let stated = places.into_iter().flatten().find_map(|map| keys.iter().find_map(|key| map.get(*key)?.as_u64()));
    stated.unwrap_or_else(|| {
        let heads = (state / 64).max(1);
        notes.push(format!("the number of heads is not in the weights; {heads} is assumed from a width of {state}"));
        heads
    })
}

fn config(input: &Input<'_>, made: &[Made], notes: &mut Vec<String>) -> Result<Value, FormatError> {
    let sizes = Sizes::of(made)?;
    let inner = |side: &str| {
        let shape = shape_of(made, &format!("{side}.blocks.0.mlp.0.weight"));
        shape.and_then(|shape| shape.first().copied()).unwrap_or(sizes.text_state.saturating_mul(4))
    };
    let (audio, text) = (
        heads(input, ["n_audio_head", "encoder_attention_heads"], sizes.audio_state, notes),
        heads(input, ["n_text_head", "decoder_attention_heads"], sizes.text_state, notes),
    );
    if sizes.audio_state != sizes.text_state {
        let (one, other) = (sizes.audio_state, sizes.text_state);
        return Err(refused(format!(
            "transformers has one width for encoder and decoder; these have {one} and {other}"
        )));
    }
    let mut config = json!({
        "model_type": "whisper",
        "architectures": ["WhisperForConditionalGeneration"],
        "d_model": sizes.text_state,
        "num_mel_bins": sizes.mels,
        "vocab_size": sizes.vocabulary,
        "encoder_layers": sizes.audio_layers,
        "decoder_layers": sizes.text_layers,
        "encoder_attention_heads": audio,
        "decoder_attention_heads": text,
        "encoder_ffn_dim": inner("encoder"),
        "decoder_ffn_dim": inner("decoder"),
        "max_source_positions": sizes.audio_context,
        "max_target_positions": sizes.text_context,
        "activation_function": "gelu",
        "scale_embedding": false,
        "tie_word_embeddings": true,
        "is_encoder_decoder": true,
    });
    // The tokenizers count from here: with languages one more ordinary token comes before.
    let end = if sizes.vocabulary >= MULTILINGUAL { 50_257 } else { 50_256 };
    let end = if sizes.vocabulary > end + 1 {
        end
    } else {
        notes.push(format!(
            "a vocabulary of {} has not Whisper's special tokens; 0 and 1 stand for them",
            sizes.vocabulary
        ));
        0
    };
    if let Value::Object(map) = &mut config {
        for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            map.insert(key.to_owned(), end.into());
        }
        map.insert("decoder_start_token_id".to_owned(), (end + 1).into());
    }
    Ok(config)
}

fn dims(input: &Input<'_>, made: &[Made], notes: &mut Vec<String>) -> Result<Map<String, Value>, FormatError> {
    let sizes = Sizes::of(made)?;
    for (side, state) in [("encoder", sizes.audio_state), ("decoder", sizes.text_state)] {
        let name = format!("{side}.blocks.0.mlp.0.weight");
        let inner = shape_of(made, &name).and_then(|shape| shape.first().copied());
        if inner.is_some_and(|inner| Some(inner) != state.checked_mul(4)) {
            let detail = format!("openai-whisper has four times the width inside; `{name}` has {inner:?} rows");
            return Err(refused(detail));
        }
    }
    let (audio, text) = (
        heads(input, ["encoder_attention_heads", "n_audio_head"], sizes.audio_state, notes),
        heads(input, ["decoder_attention_heads", "n_text_head"], sizes.text_state, notes),
    );
    let pairs = [
        ("n_mels", sizes.mels),
        ("n_audio_ctx", sizes.audio_context),
        ("n_audio_state", sizes.audio_state),
        ("n_audio_head", audio),
        ("n_audio_layer", sizes.audio_layers),
        ("n_vocab", sizes.vocabulary),
        ("n_text_ctx", sizes.text_context),
        ("n_text_state", sizes.text_state),
        ("n_text_head", text),
        ("n_text_layer", sizes.text_layers),
    ];
    Ok(pairs.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect())
}
