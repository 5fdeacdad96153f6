//! What the names of tensors are: whose scheme, and of which family.

use std::fmt;

use crate::contents::Contents;
use crate::error::FormatError;
use crate::identity::Format;
use crate::tensor::Tensor;

use super::wrappers;

/// Defines the enum and its spellings from one list.
macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident $text:literal;)*) => {
        /// A scheme of names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum NamingKind {
            $($(#[$doc])* $variant,)*
        }

        impl NamingKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The spelling on the command line and in our output.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The scheme with this spelling.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

kinds! {
    /// As transformers saves them.
    Hf "hf";
    /// As `state_dict()` of transformers 5 has them where that differs: stacked experts, renamed blocks.
    HfMemory "hf-memory";
    /// timm.
    Timm "timm";
    /// torchvision.
    Torchvision "torchvision";
    /// openai-whisper.
    OpenAiWhisper "openai-whisper";
    /// Stable Diffusion in one file, in the names of its first authors.
    StableDiffusion "stable-diffusion";
    /// Pipeline folder of diffusers.
    Diffusers "diffusers";
    /// Parameter trees of Flax, also from Orbax.
    Flax "flax";
    /// Variables of TensorFlow.
    TensorFlow "tensorflow";
    /// Variables of Keras.
    Keras "keras";
    /// LoRA of kohya's scripts.
    Kohya "kohya-lora";
    /// LoRA of PEFT.
    Peft "peft";
    /// LoRA of diffusers.
    DiffusersLora "diffusers-lora";
    /// MLX.
    Mlx "mlx";
    /// Megatron Core.
    Megatron "megatron";
    /// Initialisers of an ONNX graph.
    Onnx "onnx";
    /// Llama.cpp's names; their remaps are those of the GGUF writer.
    Gguf "gguf";
    /// None that is known.
    Unknown "unknown";
}

impl fmt::Display for NamingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whose names tensors have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// The scheme.
    pub kind: NamingKind,
    /// Family in the field's short word, if known: `bert`, `whisper`, `mixtral`; `sd1`, `sd2`, `sdxl` for Stable
    /// Diffusion.
    pub family: Option<String>,
}

impl fmt::Display for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.family {
            Some(family) => write!(f, "{} names of {family}", self.kind),
            None => write!(f, "{} names", self.kind),
        }
    }
}

/// Schemes, by parts of names that only they have; all parts of one line must occur. The first line that fits counts.
const SCHEMES: &[(NamingKind, Option<&str>, &[&str])] = &[
    (NamingKind::Kohya, None, &["lora_unet_"]),
    (NamingKind::Kohya, None, &["lora_te_"]),
    (NamingKind::Kohya, None, &["lora_te1_"]),
    (NamingKind::Kohya, None, &["lora_te2_"]),
    (NamingKind::Kohya, None, &["lora_transformer_"]),
    (NamingKind::Peft, None, &["base_model.model.", ".lora_A."]),
    (NamingKind::Peft, None, &["base_model.model.", ".lora_embedding_A"]),
    (NamingKind::DiffusersLora, None, &["^unet.", ".lora_A.weight"]),
    (NamingKind::DiffusersLora, None, &["^text_encoder.", ".lora_A.weight"]),
    (NamingKind::DiffusersLora, None, &["^text_encoder_2.", ".lora_A.weight"]),
    (NamingKind::DiffusersLora, None, &["^transformer.", ".lora_A.weight"]),
    (NamingKind::DiffusersLora, None, &["^unet.", ".lora.down.weight"]),
    (NamingKind::DiffusersLora, None, &["^text_encoder.", ".lora.down.weight"]),
    (NamingKind::DiffusersLora, None, &["^unet.", ".lora_linear_layer.down.weight"]),
    (NamingKind::DiffusersLora, None, &["^text_encoder.", ".lora_linear_layer.down.weight"]),
    (NamingKind::StableDiffusion, Some("sdxl"), &["^model.diffusion_model.", "^conditioner.embedders."]),
    (NamingKind::StableDiffusion, Some("sd2"), &["^model.diffusion_model.", "^cond_stage_model.model."]),
    (NamingKind::StableDiffusion, Some("sd1"), &["^model.diffusion_model.input_blocks."]),
    (NamingKind::Megatron, None, &["self_attention.linear_qkv."]),
    (NamingKind::OpenAiWhisper, Some("whisper"), &["^encoder.blocks.0.attn.query.", "^decoder.blocks.0.cross_attn."]),
    (NamingKind::Timm, Some("vit"), &["^blocks.0.attn.qkv.", "^patch_embed.proj."]),
    (NamingKind::Torchvision, Some("resnet"), &["^layer1.0.conv1.", "^layer1.0.bn1.", "^bn1."]),
    (NamingKind::TensorFlow, Some("bert"), &["bert/encoder/layer_0/attention/"]),
    (NamingKind::TensorFlow, Some("bert"), &["bert/encoder/layer_._0/attention/"]),
    (NamingKind::HfMemory, Some("mixtral"), &["mlp.experts.gate_up_proj", "mlp.gate.weight"]),
    (NamingKind::HfMemory, Some("vit"), &["layers.0.attention.q_proj.", "layers.0.layernorm_before."]),
    (
        NamingKind::Hf,
        Some("whisper"),
        &["encoder.conv1.", "decoder.layers.0.encoder_attn.", "decoder.embed_positions."],
    ),
    (NamingKind::Hf, Some("vit"), &["encoder.layer.0.attention.attention.query.", "embeddings.patch_embeddings."]),
    (NamingKind::Hf, Some("resnet"), &["embedder.embedder.convolution.", "encoder.stages.0.layers.0."]),
    (NamingKind::Hf, Some("mixtral"), &["block_sparse_moe.experts.0.w1."]),
    (NamingKind::Hf, Some("qwen3_moe"), &["mlp.experts.0.gate_proj.", "self_attn.q_norm."]),
    (NamingKind::Hf, Some("qwen2_moe"), &["mlp.experts.0.gate_proj.", "mlp.shared_expert."]),
    (NamingKind::Hf, Some("roberta"), &["roberta.encoder.layer.0."]),
    (NamingKind::Hf, Some("bert"), &["encoder.layer.0.attention.self.query.", "embeddings.token_type_embeddings."]),
    (NamingKind::Hf, Some("t5"), &["block.0.layer.0.SelfAttention."]),
    (NamingKind::Hf, Some("gpt2"), &["h.0.attn.c_attn."]),
    (NamingKind::Hf, Some("gpt_neox"), &["gpt_neox.layers.0."]),
    (NamingKind::Hf, Some("llama"), &["layers.0.self_attn.q_proj.", "layers.0.mlp.gate_proj."]),
    (NamingKind::Hf, Some("wav2vec2"), &["feature_extractor.conv_layers.0."]),
    (NamingKind::Hf, Some("distilbert"), &["transformer.layer.0.attention.q_lin."]),
    (NamingKind::Hf, Some("opt"), &["decoder.layers.0.self_attn.q_proj.", "decoder.layers.0.fc1."]),
    (NamingKind::Hf, Some("clip"), &["text_model.encoder.layers.0.self_attn."]),
];

/// Whose names the tensors of a checkpoint have, without what wrappers put before them.
#[must_use]
pub fn naming(contents: &Contents) -> Naming {
    match wrappers::unwrapped(contents, &mut Vec::new()) {
        Ok((_, naming)) => naming,
        Err(_) => Naming { kind: NamingKind::Unknown, family: None },
    }
}

/// Whose names these are; `contents` gives formats and configuration.
pub(super) fn of_names<'a>(contents: &Contents, names: impl Iterator<Item = &'a str> + Clone) -> Naming {
    let stated = contents.architecture.family.clone();
    let has = |format: Format| contents.formats.contains(&format);
    let by_names = by_names(names.clone());
    let family = |fallback: Option<&str>| stated.clone().or_else(|| fallback.map(str::to_owned));
    let known = by_names.map(|(_, family)| family);
    // Folders and byte formats that have names of their own come before what single names look like.
    let by_format = [
        (Format::Gguf, NamingKind::Gguf),
        (Format::Diffusers, NamingKind::Diffusers),
        (Format::Onnx, NamingKind::Onnx),
        (Format::Flax, NamingKind::Flax),
        (Format::Orbax, NamingKind::Flax),
        (Format::Keras, NamingKind::Keras),
        (Format::KerasH5, NamingKind::Keras),
        (Format::KerasWeights, NamingKind::Keras),
        (Format::TensorBundle, NamingKind::TensorFlow),
        (Format::SavedModel, NamingKind::TensorFlow),
        (Format::TfV1, NamingKind::TensorFlow),
        (Format::Mlx, NamingKind::Mlx),
        (Format::Megatron, NamingKind::Megatron),
    ];
    if let Some((_, kind)) = by_format.iter().find(|(format, _)| has(*format)) {
        let family = match kind {
            NamingKind::Flax | NamingKind::Keras | NamingKind::TensorFlow => {
                family(tree_family(names.clone()).or(known.flatten()))
            }
            _ => family(known.flatten()),
        };
        return Naming { kind: *kind, family };
    }
    if contents.metadata.get("format").and_then(serde_json::Value::as_str) == Some("mlx") {
        return Naming { kind: NamingKind::Mlx, family: family(known.flatten()) };
    }
    match by_names {
        // torchvision and timm have the same names; a configuration tells them apart.
        Some((NamingKind::Torchvision, found)) if has(Format::Timm) => {
            Naming { kind: NamingKind::Timm, family: found.map(str::to_owned) }
        }
        Some((kind @ (NamingKind::Hf | NamingKind::HfMemory), found)) => Naming { kind, family: family(found) },
        Some((kind, found)) => Naming { kind, family: found.map(str::to_owned) },
        None if has(Format::HfModel) => Naming { kind: NamingKind::Hf, family: stated },
        None if names.clone().any(|name| name.ends_with(".kernel") || name.ends_with(".embedding")) => {
            Naming { kind: NamingKind::Flax, family: family(tree_family(names)) }
        }
        None => Naming { kind: NamingKind::Unknown, family: stated },
    }
}

/// The first line of [`SCHEMES`] whose parts all occur.
fn by_names<'a>(names: impl Iterator<Item = &'a str>) -> Option<(NamingKind, Option<&'static str>)> {
    let mut seen = vec![0u64; SCHEMES.len()];
    for name in names {
        for (seen, (_, _, parts)) in seen.iter_mut().zip(SCHEMES) {
            for (number, part) in parts.iter().enumerate() {
                let there = match part.strip_prefix('^') {
                    Some(begin) => name.starts_with(begin),
                    None => name.contains(part),
                };
                *seen |= u64::from(there) << number;
            }
        }
    }
    let all = |(seen, (_, _, parts)): &(&u64, &(NamingKind, Option<&str>, &[&str]))| **seen == (1 << parts.len()) - 1;
    seen.iter().zip(SCHEMES).find(all).map(|(_, (kind, family, _))| (*kind, *family))
}

/// Families, by parts of names in trees of JAX and TensorFlow.
fn tree_family<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    const TREES: &[(&str, &str)] = &[
        ("bert/encoder/layer_", "bert"),
        ("attention.self.query.kernel", "bert"),
        ("attention.attention.query.kernel", "vit"),
        ("c_attn.kernel", "gpt2"),
        ("SelfAttention.q.kernel", "t5"),
        ("encoder_attn.q_proj.kernel", "whisper"),
        ("embedder.embedder.convolution.kernel", "resnet"),
    ];
    let mut found = [false; TREES.len()];
    for name in names {
        for (found, (part, _)) in found.iter_mut().zip(TREES) {
            *found |= name.contains(part);
        }
    }
    found.iter().zip(TREES).find(|(found, _)| **found).map(|(_, (_, family))| *family)
}

/// What weights under these names can become; itself for what is only copied.
#[must_use]
pub fn targets(naming: &Naming) -> &'static [NamingKind] {
    use NamingKind as Kind;
    match (naming.kind, naming.family.as_deref()) {
        (Kind::Hf, Some("resnet")) => &[Kind::Hf, Kind::Timm, Kind::Torchvision, Kind::Mlx],
        (Kind::Hf, Some("vit")) => &[Kind::Hf, Kind::HfMemory, Kind::Timm, Kind::Mlx],
        (Kind::Hf, Some("whisper")) => &[Kind::Hf, Kind::OpenAiWhisper, Kind::Mlx],
        (Kind::Hf, Some("mixtral" | "qwen2_moe" | "qwen3_moe")) => &[Kind::Hf, Kind::HfMemory, Kind::Mlx],
        (Kind::Hf, _) => &[Kind::Hf, Kind::Mlx],
        (Kind::HfMemory, _) => &[Kind::HfMemory, Kind::Hf],
        (Kind::Timm, Some("vit")) => &[Kind::Timm, Kind::Hf],
        (Kind::Timm | Kind::Torchvision, _) => &[Kind::Timm, Kind::Torchvision, Kind::Hf],
        (Kind::OpenAiWhisper, _) => &[Kind::OpenAiWhisper, Kind::Hf],
        (Kind::StableDiffusion, _) => &[Kind::StableDiffusion, Kind::Diffusers],
        (Kind::Diffusers, _) => &[Kind::Diffusers, Kind::StableDiffusion],
        (Kind::Flax, _) => &[Kind::Flax, Kind::Hf],
        (Kind::TensorFlow, Some("bert")) => &[Kind::TensorFlow, Kind::Hf],
        (Kind::TensorFlow, _) => &[Kind::TensorFlow],
        (Kind::Keras, _) => &[Kind::Keras, Kind::Hf],
        (Kind::Kohya | Kind::Peft | Kind::DiffusersLora, _) => &[Kind::Kohya, Kind::Peft, Kind::DiffusersLora],
        (Kind::Mlx, _) => &[Kind::Mlx, Kind::Hf],
        (Kind::Onnx, _) => &[Kind::Onnx, Kind::Hf],
        (Kind::Megatron, _) => &[Kind::Megatron],
        (Kind::Gguf, _) => &[Kind::Gguf],
        (Kind::Unknown, _) => &[Kind::Unknown],
    }
}

/// Refuses more tensors than tables are made for.
pub(super) fn at_most(tensors: &[Tensor]) -> Result<(), FormatError> {
    const MOST: u64 = 1 << 20;
    crate::limits::Limits::at_most("number of tensors", tensors.len() as u64, MOST)
}
