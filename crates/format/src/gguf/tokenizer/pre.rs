//! The name that llama.cpp has for a way of splitting text before byte-level BPE, told from the splitting itself.
//!
//! Its converter hashes what a tokenizer makes of one text, and knows no tokenizer that was trained yesterday. Here the
//! steps of `tokenizer.json` are compared with those that llama.cpp implements; a name stands for all that share them.

use serde_json::Value as Json;

use crate::error::FormatError;
use crate::gguf::tokenizer::json::{Tokenizer, kind};
use crate::gguf::tokenizer::{short, unsupported};

/// English endings, whatever their case: the two ways in which they are written.
const ENDINGS: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const ENDINGS_LONG: &str = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";

/// Byte-level alphabet with the expression of GPT-2, and without.
const BYTES_SPLIT: &str = "ByteLevel, splitting";
const BYTES: &str = "ByteLevel";
const DIGITS: &str = "Digits, one by one";
const DIGIT_RUNS: &str = "Digits";
const PUNCTUATION: &str = "Punctuation";

/// Names, and the steps that they stand for. An expression that ends with `…` is compared up to there.
const KNOWN: &[(&str, &[&str])] = &[
    ("gpt-2", &[BYTES_SPLIT]),
    ("gpt-2", &[r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", BYTES]),
    (
        "llama-bpe",
        &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            BYTES,
        ],
    ),
    (
        "qwen2",
        &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            BYTES,
        ],
    ),
    (
        "qwen35",
        &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            BYTES,
        ],
    ),
    (
        "gpt-4o",
        &[
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            BYTES,
        ],
    ),
    (
        "tekken",
        &[
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            BYTES,
        ],
    ),
    ("deepseek-v3", &[r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", "[!\"#$%&'()*+,\\-./:;<=>?@…", BYTES]),
    ("deepseek-coder", &["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", DIGITS, BYTES]),
    ("deepseek-llm", &["[\r\n]", r"\s?[A-Za-z…", r"\s?[!-/…", r"\s+$", "[一-龥ࠀ-一가-퟿]+", DIGITS, BYTES]),
    ("starcoder", &[DIGITS, BYTES_SPLIT]),
    ("falcon", &[PUNCTUATION, BYTES_SPLIT, DIGIT_RUNS, "[0-9][0-9][0-9]"]),
    ("bloom", &[r" ?[^(\s|[.,!?…。，、।۔،])]+", BYTES]),
];

/// The name for a tokenizer's splitting.
///
/// # Errors
/// [`FormatError::Unsupported`], with the steps, when llama.cpp has none for it that is known here.
pub(super) fn name(tokenizer: &Tokenizer) -> Result<&'static str, FormatError> {
    let steps: Vec<String> = Tokenizer::steps(&tokenizer.pre_tokenizer).into_iter().map(step).collect();
    let fits =
        |known: &[&str]| known.len() == steps.len() && known.iter().zip(&steps).all(|(known, step)| is(known, step));
    let Some((name, _)) = KNOWN.iter().find(|(_, known)| fits(known)) else {
        let steps: Vec<String> = steps.iter().map(|step| format!("`{}`", short(step))).collect();
        return Err(unsupported(format!(
            "llama.cpp has no known name for splitting by {}; if you know one, say it (`{}`, …)",
            if steps.is_empty() { "nothing".to_owned() } else { steps.join(", ") },
            names().join("`, `")
        )));
    };
    // The expression of Llama 3 is that of others too, which do not take whole words before they merge.
    let whole_words = tokenizer.model.ignore_merges.unwrap_or(false);
    Ok(if *name == "llama-bpe" && !whole_words { "dbrx" } else { name })
}

/// The names that can be told.
pub(super) fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = KNOWN.iter().map(|(name, _)| *name).collect();
    names.dedup();
    names
}

/// The steps of a name, for a tokenizer that is written back.
pub(super) fn expression(name: &str) -> Option<&'static [&'static str]> {
    let name = match name {
        "llama3" | "llama-v3" | "dbrx" | "smaug-bpe" | "chatglm-bpe" | "glm4" => "llama-bpe",
        "stablelm2" | "deepseek-r1-qwen" | "megrez" => "qwen2",
        "gpt2" | "phi-2" | "mpt" | "olmo" | "default" => "gpt-2",
        "refact" | "command-r" | "smollm" | "codeshell" => "starcoder",
        other => other,
    };
    let found = KNOWN.iter().find(|(known, _)| *known == name).map(|(_, steps)| *steps)?;
    found.iter().all(|step| !step.ends_with('…')).then_some(found)
}

/// A step of [`KNOWN`] as `tokenizer.json` has it.
pub(super) fn to_json(step: &str) -> Json {
    let bytes = |split: bool| serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": split});
    match step {
        BYTES_SPLIT => bytes(true),
        BYTES => bytes(false),
        DIGITS => serde_json::json!({"type": "Digits", "individual_digits": true}),
        DIGIT_RUNS => serde_json::json!({"type": "Digits", "individual_digits": false}),
        PUNCTUATION => serde_json::json!({"type": "Punctuation", "behavior": "Contiguous"}),
        regex => serde_json::json!({
            "type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false,
        }),
    }
}

fn is(known: &str, step: &str) -> bool {
    known.strip_suffix('…').map_or(known == step, |begin| step.starts_with(begin))
}

/// A step in the words of [`KNOWN`], or in its own.
fn step(value: &Json) -> String {
    let flag = |key: &str, default: bool| value.get(key).and_then(Json::as_bool).unwrap_or(default);
    match kind(value) {
        "ByteLevel" if flag("use_regex", true) => BYTES_SPLIT.to_owned(),
        "ByteLevel" => BYTES.to_owned(),
        "Digits" if flag("individual_digits", false) => DIGITS.to_owned(),
        "Digits" => DIGIT_RUNS.to_owned(),
        "Punctuation" => PUNCTUATION.to_owned(),
        "Split" if !flag("invert", false) => {
            let pattern = value.get("pattern");
            let text = ["Regex", "String"].iter().find_map(|key| pattern?.get(*key)?.as_str());
            text.unwrap_or_default().replace(ENDINGS_LONG, ENDINGS)
        }
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::tokenizer::json::Model;
    use serde_json::json;

    fn of(pre_tokenizer: Json, ignore_merges: bool) -> Result<&'static str, FormatError> {
        let nothing = Json::Null;
        name(&Tokenizer {
            added_tokens: Vec::new(),
            normalizer: nothing.clone(),
            pre_tokenizer,
            post_processor: nothing.clone(),
            decoder: nothing,
            model: Model { ignore_merges: Some(ignore_merges), ..Model::default() },
        })
    }

    #[test]
    fn every_known_splitting_has_its_name() {
        for (known, steps) in KNOWN.iter().filter(|(_, steps)| steps.iter().all(|step| !step.ends_with('…'))) {
            let steps: Vec<Json> = steps.iter().map(|step| to_json(step)).collect();
            let found = of(json!({"type": "Sequence", "pretokenizers": steps}), true).unwrap();
            assert_eq!(found, *known);
        }
    }

    #[test]
    fn the_two_spellings_of_endings_are_one() {
        let regex = KNOWN.iter().find(|(name, _)| *name == "qwen2").unwrap().1[0];
        let long = to_json(&regex.replace(ENDINGS, ENDINGS_LONG));
        assert_eq!(of(json!({"type": "Sequence", "pretokenizers": [long, to_json(BYTES)]}), false).unwrap(), "qwen2");
    }

    #[test]
    fn whole_words_tell_llama_3_from_its_like() {
        let steps: Vec<Json> = expression("llama-bpe").unwrap().iter().map(|step| to_json(step)).collect();
        assert_eq!(of(json!({"type": "Sequence", "pretokenizers": steps}), false).unwrap(), "dbrx");
    }

    #[test]
    fn an_unknown_splitting_is_shown_and_not_guessed() {
        let error = of(json!({"type": "Split", "pattern": {"Regex": "\\w+"}, "invert": false}), false).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("\\w+") && text.contains("`qwen2`"), "{text}");
        assert!(of(Json::Null, false).unwrap_err().to_string().contains("nothing"));
        assert!(of(json!([[[["deep"]]]]), false).is_err());
    }
}
