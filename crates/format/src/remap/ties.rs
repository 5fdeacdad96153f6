//! Names that share one tensor: which of them is kept, and which have to be added again.
//!
//! A head often is the embedding itself. safetensors holds a tensor once, and libraries look for it under one of its
//! names only; a torch file holds it under all. Which name that is stands in the code of each model: the table repeats
//! what transformers 5 declares (`_tied_weights_keys`), and where a model is not known, embeddings come before heads,
//! and the order of the file before anything else. Never the alphabet.

use std::collections::HashSet;

/// Copy and original, as they end: what stands before must be the same for both.
const PAIRS: &[(&str, &str)] = &[
    ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
    ("cls.predictions.decoder.weight", "ernie.embeddings.word_embeddings.weight"),
    ("cls.predictions.decoder.weight", "roc_bert.embeddings.word_embeddings.weight"),
    ("cls.predictions.decoder.weight", "deberta.embeddings.word_embeddings.weight"),
    ("cls.predictions.decoder.weight", "fnet.embeddings.word_embeddings.weight"),
    ("cls.predictions.decoder.weight", "mobilebert.embeddings.word_embeddings.weight"),
    ("cls.predictions.decoder.weight", "roformer.embeddings.word_embeddings.weight"),
    ("cls.predictions.decoder.weight", "visual_bert.embeddings.word_embeddings.weight"),
    ("cls.predictions.decoder.weight", "layoutlm.embeddings.word_embeddings.weight"),
    ("cls.predictions.decoder.weight", "lxmert.embeddings.word_embeddings.weight"),
    ("cls.predictions.decoder.weight", "mra.embeddings.word_embeddings.weight"),
    ("cls.predictions.decoder.weight", "nomic_bert.embeddings.word_embeddings.weight"),
    ("cls.predictions.decoder.weight", "nystromformer.embeddings.word_embeddings.weight"),
    ("cls.predictions.decoder.weight", "tapas.embeddings.word_embeddings.weight"),
    ("cls.predictions.decoder.weight", "yoso.embeddings.word_embeddings.weight"),
    ("cls.predictions.decoder.weight", "transformer.embeddings.word_embeddings.weight"),
    ("cls.predictions.decoder.bias", "cls.predictions.bias"),
    ("predictions.decoder.weight", "albert.embeddings.word_embeddings.weight"),
    ("predictions.decoder.bias", "predictions.bias"),
    ("lm_head.decoder.weight", "roberta.embeddings.word_embeddings.weight"),
    ("lm_head.decoder.weight", "roberta_prelayernorm.embeddings.word_embeddings.weight"),
    ("lm_head.decoder.weight", "bert.embeddings.word_embeddings.weight"),
    ("lm_head.decoder.weight", "esm.embeddings.word_embeddings.weight"),
    ("lm_head.decoder.weight", "gte.embeddings.word_embeddings.weight"),
    ("lm_head.decoder.weight", "ibert.embeddings.word_embeddings.weight"),
    ("lm_head.decoder.weight", "longformer.embeddings.word_embeddings.weight"),
    ("lm_head.decoder.weight", "mpnet.embeddings.word_embeddings.weight"),
    ("lm_head.decoder.bias", "lm_head.bias"),
    ("vocab_projector.weight", "distilbert.embeddings.word_embeddings.weight"),
    ("generator_lm_head.weight", "electra.embeddings.word_embeddings.weight"),
    ("generator_lm_head.weight", "convbert.embeddings.word_embeddings.weight"),
    ("lm_head.weight", "funnel.embeddings.word_embeddings.weight"),
    ("lm_loss.weight", "transformer.word_embedding.weight"),
    ("pred_layer.proj.weight", "transformer.embeddings.weight"),
    ("decoder.weight", "model.embeddings.tok_embeddings.weight"),
    ("head.weight", "rwkv.embeddings.weight"),
    ("embed_out.weight", "gpt_neox_japanese.embed_in.weight"),
    ("lm_head.weight", "gpt_neox.embed_in.weight"),
    ("lm_head.weight", "transformer.wte.weight"),
    ("lm_head.weight", "transformer.word_embeddings.weight"),
    ("lm_head.weight", "transformer.tokens_embed.weight"),
    ("lm_head.weight", "transformer.w.weight"),
    ("lm_head.weight", "backbone.embeddings.weight"),
    ("lm_head.weight", "model.embed_tokens.weight"),
    ("lm_head.weight", "model.language_model.embed_tokens.weight"),
    ("lm_head.weight", "model.text_model.embed_tokens.weight"),
    ("lm_head.weight", "model.shared.weight"),
    ("lm_head.weight", "led.shared.weight"),
    ("lm_head.weight", "shared.weight"),
    ("lm_head.weight", "model.decoder.embed_tokens.weight"),
    ("lm_head.weight", "prophetnet.word_embeddings.weight"),
    ("proj_out.weight", "model.decoder.embed_tokens.weight"),
    ("output_projection.weight", "biogpt.embed_tokens.weight"),
    ("output_projection.weight", "model.decoder.embed_tokens.weight"),
    ("decoder.output_projection.weight", "decoder.embed_tokens.weight"),
    ("text_decoder_postnet.lm_head.weight", "speecht5.decoder.prenet.embed_tokens.weight"),
    ("encoder.embed_tokens.weight", "shared.weight"),
    ("decoder.embed_tokens.weight", "shared.weight"),
    ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"),
    ("encoder.word_embeddings.weight", "word_embeddings.weight"),
    ("decoder.word_embeddings.weight", "word_embeddings.weight"),
];

/// Classes that declare a pair the other way round.
const REVERSED: &[(&str, &str, &str)] =
    &[("OpenAIGPTDoubleHeadsModel", "transformer.tokens_embed.weight", "lm_head.weight")];

/// Pairs that only classes with these beginnings have; other classes call the head of the same embedding otherwise.
const ONLY: &[(&str, &[&str])] = &[
    ("proj_out.weight", &["Whisper", "Canary", "CohereAsr", "Moonshine"]),
    ("output_projection.weight", &["BioGpt", "TrOCR"]),
    ("decoder.output_projection.weight", &["FSMT"]),
    ("vocab_projector.weight", &["DistilBert"]),
];

/// Endings of classes that have a head over the vocabulary.
const HEADED: &[&str] = &[
    "ForCausalLM",
    "LMHeadModel",
    "WithLMHeadModel",
    "DoubleHeadsModel",
    "ForMaskedLM",
    "ForPreTraining",
    "ForConditionalGeneration",
    "ForSpeechToText",
    "MTModel",
];

/// Words of names of embeddings, and of heads, where no table helps.
const EMBEDDINGS: &[&str] = &["embed", "wte", "shared", "tok_", "emb."];
const HEADS: &[&str] =
    &["head", "output", "predictions", "classifier", "proj", "logits", "decoder.weight", "generator"];

/// Most names of one tensor that are compared with each other.
const MOST_TIED: usize = 256;

/// What is done with names that share one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The name that is written.
    pub kept: String,
    /// The names that are left out, in their order.
    pub left_out: Vec<String>,
    /// Whether the model's code says so, or only the sound of the names.
    pub known: bool,
}

/// Chooses for each group of names that share one tensor which is kept. Groups and names are in the order of the file.
///
/// `class` is the model's class in transformers, such as `BertForMaskedLM`, where it is known. A group of one is kept.
#[must_use]
pub fn keep(class: Option<&str>, aliases: &[Vec<&str>]) -> Vec<Choice> {
    aliases.iter().filter_map(|names| choose(class, names)).collect()
}

fn choose(class: Option<&str>, names: &[&str]) -> Option<Choice> {
    // No model ties more; a hostile file has a million names for one tensor.
    let few = names.len() <= MOST_TIED;
    let copy_of_another = |name: &str| few && names.iter().any(|&other| name != other && is_copy(class, name, other));
    let originals: Vec<&str> = names.iter().filter(|name| !copy_of_another(name)).copied().collect();
    let known = !originals.is_empty() && originals.len() < names.len();
    let among = if originals.is_empty() { names } else { originals.as_slice() };
    // The first of the least: what stands earlier in the file is nearer to the input.
    let kept = *among.iter().min_by_key(|name| sound(name))?;
    let left_out = names.iter().filter(|name| **name != kept).map(|name| (*name).to_owned()).collect();
    Some(Choice { kept: kept.to_owned(), left_out, known })
}

/// Whether the first name is a copy of the second.
fn is_copy(class: Option<&str>, copy: &str, original: &str) -> bool {
    if let Some(class) = class
        && let Some((_, one, other)) = REVERSED.iter().find(|(reversed, _, _)| *reversed == class)
    {
        if (copy, original) == (*one, *other) {
            return true;
        }
        if (original, copy) == (*one, *other) {
            return false;
        }
    }
    PAIRS.iter().any(|(one, other)| {
        let (Some(before), Some(same)) = (copy.strip_suffix(one), original.strip_suffix(other)) else { return false };
        before == same && (before.is_empty() || before.ends_with('.'))
            // A head stands outside of the model whose embedding it is.
            || (before.is_empty() && same.ends_with('.') && one.contains("head"))
    })
}

/// 0 for an embedding, 1 for what sounds like neither, 2 for a head.
fn sound(name: &str) -> u8 {
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    match (has(EMBEDDINGS), has(HEADS)) {
        (true, false) => 0,
        (true, true) | (false, false) => 1,
        (false, true) => 2,
    }
}

/// Names that a torch file of this class has besides, each with the name of the tensor that it shares: `(copy, original)`.
///
/// `tied` is the configuration's `tie_word_embeddings`; where it is false, heads are tensors of their own.
#[must_use]
pub fn copies(class: &str, tied: Option<bool>, names: &[&str]) -> Vec<(String, String)> {
    let there: HashSet<&str> = names.iter().copied().collect();
    let headed = HEADED.iter().any(|end| class.ends_with(end));
    let mut found: Vec<(String, String)> = Vec::new();
    let mut added: HashSet<String> = HashSet::new();
    for (copy, original) in PAIRS {
        for name in names {
            let Some(before) = name.strip_suffix(original).filter(|before| before.is_empty() || before.ends_with('.'))
            else {
                continue;
            };
            let full = format!("{before}{copy}");
            if !declares(class, copy, original, names) {
                continue;
            }
            if there.contains(full.as_str()) || added.contains(&full) {
                continue;
            }
            // Embeddings of an encoder and a decoder are there when those are; a head when the class has one.
            let side =
                ["encoder.", "decoder."].iter().find(|side| copy.starts_with(**side) && *copy != "decoder.weight");
            let wanted = match side {
                Some(side) => {
                    names.iter().any(|name| name.strip_prefix(before).is_some_and(|rest| rest.starts_with(side)))
                }
                None if copy.ends_with(".bias") => headed && before.is_empty(),
                None => headed && before.is_empty() && tied != Some(false),
            };
            if wanted {
                added.insert(full.clone());
                found.push((full, (*name).to_owned()));
            }
        }
    }
    found
}

/// Whether models of this class can have the pair.
fn declares(class: &str, copy: &str, original: &str, names: &[&str]) -> bool {
    let of = |beginnings: &[&str]| beginnings.iter().any(|begin| class.starts_with(begin));
    if let Some((_, beginnings)) = ONLY.iter().find(|(only, _)| *only == copy) {
        return of(beginnings);
    }
    match (copy, original) {
        ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight") => of(&["FSMT"]),
        ("lm_head.weight", "model.decoder.embed_tokens.weight") => !ONLY.iter().any(|(_, beginnings)| of(beginnings)),
        // A head of several layers has a dense one before.
        _ if copy.starts_with("lm_head.decoder.") => names.iter().any(|name| name.starts_with("lm_head.dense.")),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(class: Option<&str>, names: &[&str]) -> (String, bool) {
        let choice = keep(class, &[names.to_vec()]).remove(0);
        (choice.kept, choice.known)
    }

    #[test]
    fn a_tied_head_is_kept_under_the_name_of_its_embedding() {
        for (names, expected) in [
            (&["lm_head.weight", "model.embed_tokens.weight"][..], "model.embed_tokens.weight"),
            (&["transformer.wte.weight", "lm_head.weight"], "transformer.wte.weight"),
            (
                &["decoder.embed_tokens.weight", "encoder.embed_tokens.weight", "lm_head.weight", "shared.weight"],
                "shared.weight",
            ),
            (
                &[
                    "model.decoder.embed_tokens.weight",
                    "model.encoder.embed_tokens.weight",
                    "lm_head.weight",
                    "model.shared.weight",
                ],
                "model.shared.weight",
            ),
            (
                &["cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"],
                "bert.embeddings.word_embeddings.weight",
            ),
            (&["cls.predictions.decoder.bias", "cls.predictions.bias"], "cls.predictions.bias"),
            (&["proj_out.weight", "model.decoder.embed_tokens.weight"], "model.decoder.embed_tokens.weight"),
        ] {
            assert_eq!(kept(None, names), (expected.to_owned(), true), "{names:?}");
            let reversed: Vec<&str> = names.iter().rev().copied().collect();
            assert_eq!(kept(None, &reversed).0, expected);
        }
    }

    #[test]
    fn unknown_models_keep_embeddings_and_then_what_comes_first() {
        assert_eq!(kept(None, &["a_head.weight", "z.embedding.weight"]), ("z.embedding.weight".to_owned(), false));
        assert_eq!(kept(None, &["zeta.weight", "alpha.weight"]), ("zeta.weight".to_owned(), false));
        assert_eq!(kept(None, &["only.weight"]), ("only.weight".to_owned(), false));
        assert!(keep(None, &[Vec::new()]).is_empty());
    }

    #[test]
    fn a_class_may_have_it_the_other_way_round() {
        let names = ["transformer.tokens_embed.weight", "lm_head.weight"];
        assert_eq!(kept(Some("OpenAIGPTLMHeadModel"), &names).0, "transformer.tokens_embed.weight");
        assert_eq!(kept(Some("OpenAIGPTDoubleHeadsModel"), &names).0, "lm_head.weight");
    }

    #[test]
    fn what_a_torch_file_lacks_is_added_again() {
        let copies = |class, tied, names: &[&str]| -> Vec<String> {
            super::copies(class, tied, names).into_iter().map(|(copy, _)| copy).collect()
        };
        assert_eq!(copies("LlamaForCausalLM", Some(true), &["model.embed_tokens.weight"]), ["lm_head.weight"]);
        assert!(copies("LlamaForCausalLM", Some(false), &["model.embed_tokens.weight"]).is_empty());
        assert!(copies("LlamaModel", None, &["embed_tokens.weight"]).is_empty());
        let t5 = ["shared.weight", "encoder.block.0.x", "decoder.block.0.x"];
        let added = copies("T5ForConditionalGeneration", None, &t5);
        assert_eq!(added, ["lm_head.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]);
        let whisper = ["model.decoder.embed_tokens.weight", "model.encoder.layers.0.x", "model.decoder.layers.0.x"];
        assert_eq!(copies("WhisperForConditionalGeneration", None, &whisper), ["proj_out.weight"]);
        assert_eq!(copies("OPTForCausalLM", None, &whisper[..1]), ["lm_head.weight"]);
        let bert = ["bert.embeddings.word_embeddings.weight", "cls.predictions.bias"];
        let added = copies("BertForMaskedLM", None, &bert);
        assert_eq!(added, ["cls.predictions.decoder.weight", "cls.predictions.decoder.bias"]);
        assert_eq!(copies("PhiForCausalLM", None, &["model.embed_tokens.weight", "lm_head.bias"]), ["lm_head.weight"]);
        assert_eq!(copies("T5EncoderModel", None, &["shared.weight", "encoder.x"]), ["encoder.embed_tokens.weight"]);
    }
}
