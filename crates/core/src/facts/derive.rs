//! From what was read to what is known.

use serde_json::{Map, Value};
use weighthouse_store::catalog::RepoKind;

use super::names::{ADAPTER, CONFIG, DIFFUSERS, Names};
use super::read::Sources;
use super::{Facts, Transformers, tags};
use crate::card::{Card, texts};

/// Longest card, as JSON in bytes, that every listing carries along.
const MAX_CARD_DATA_BYTES: usize = 128 << 10;
/// Longest single member of a config summary, as JSON in bytes.
const MAX_MEMBER_BYTES: usize = 16 << 10;
/// Architectures of one model.
const MAX_ARCHITECTURES: usize = 16;

/// Ends of class names, the task they are for, and the class that loads them.
const TASKS: &[(&str, &str, &str)] = &[
    ("ForCausalLM", "text-generation", "AutoModelForCausalLM"),
    ("LMHeadModel", "text-generation", "AutoModelForCausalLM"),
    ("ForMaskedLM", "fill-mask", "AutoModelForMaskedLM"),
    ("ForSequenceClassification", "text-classification", "AutoModelForSequenceClassification"),
    ("ForTokenClassification", "token-classification", "AutoModelForTokenClassification"),
    ("ForQuestionAnswering", "question-answering", "AutoModelForQuestionAnswering"),
    ("ForMultipleChoice", "multiple-choice", "AutoModelForMultipleChoice"),
    ("ForImageClassification", "image-classification", "AutoModelForImageClassification"),
    ("ForObjectDetection", "object-detection", "AutoModelForObjectDetection"),
    ("ForSemanticSegmentation", "image-segmentation", "AutoModelForSemanticSegmentation"),
    ("ForDepthEstimation", "depth-estimation", "AutoModelForDepthEstimation"),
    ("ForCTC", "automatic-speech-recognition", "AutoModelForCTC"),
    ("ForSpeechSeq2Seq", "automatic-speech-recognition", "AutoModelForSpeechSeq2Seq"),
    ("ForAudioClassification", "audio-classification", "AutoModelForAudioClassification"),
];

/// Puts facts together.
pub(super) fn facts(kind: RepoKind, names: &Names, sources: &Sources) -> Facts {
    let card = Card::parse(sources.card.as_deref().unwrap_or_default());
    let mut facts = Facts { formats: names.formats.iter().map(|&f| f.to_owned()).collect(), ..Facts::default() };
    if kind == RepoKind::Model {
        describe_model(&mut facts, &card, names, sources);
    }
    facts.tags = tags::of(kind, &facts, &card);
    facts.card_data = Some(card.data).filter(|data| !data.is_empty()).map(short_enough);
    facts
}

fn describe_model(facts: &mut Facts, card: &Card<'_>, names: &Names, sources: &Sources) {
    let config = sources.config.as_ref();
    let text_in = |map: Option<&Map<String, Value>>, key: &str| -> Option<String> {
        map?.get(key)?.as_str().map(|text| text.chars().take(200).collect())
    };
    facts.model_type = text_in(config, "model_type");
    facts.architectures = texts(config.and_then(|config| config.get("architectures")));
    facts.architectures.truncate(MAX_ARCHITECTURES);
    facts.safetensors.clone_from(&sources.parameters);
    facts.library_name = card.texts("library_name").into_iter().next().or_else(|| library(names, sources));
    let seq2seq = sequence_task(config);
    let known = facts.architectures.iter().find_map(|name| TASKS.iter().find(|(end, ..)| name.ends_with(end)));
    let task = known.map(|(_, task, _)| *task).or(seq2seq.map(|(task, _)| task));
    let stated = card.texts("pipeline_tag").into_iter().next();
    facts.pipeline_tag = stated.or_else(|| task_of_library(facts.library_name.as_deref(), task).map(str::to_owned));
    facts.config = config.map(|config| summary(config, sources.tokenizer.as_ref()));
    facts.mask_token = sources.tokenizer.as_ref().and_then(|tokenizer| match tokenizer.get("mask_token")? {
        Value::String(text) => Some(text.clone()),
        Value::Object(token) => Some(token.get("content")?.as_str()?.to_owned()),
        _ => None,
    });
    facts.mask_token = facts.mask_token.take().filter(|token| token.len() <= 64);
    if facts.library_name.as_deref() == Some("transformers") && config.is_some() {
        let class = known.map(|(.., class)| *class).or(seq2seq.map(|(_, class)| class)).unwrap_or("AutoModel");
        let custom = config.and_then(|config| config.get("auto_map")?.get(class)?.as_str());
        facts.transformers = Some(Transformers {
            auto_model: class.to_owned(),
            custom_class: custom.map(|custom| custom.chars().take(200).collect()),
            processor: processor(names).map(str::to_owned),
        });
    }
    let base = text_in(sources.adapter.as_ref(), "base_model_name_or_path");
    facts.base_models = card.texts("base_model");
    if facts.base_models.is_empty() {
        // A path on the author's machine is no name.
        facts.base_models.extend(base.filter(|name| crate::names::check_repo_id(name).is_ok()));
    }
    if !facts.base_models.is_empty() {
        let stated = card.texts("base_model_relation").into_iter().next();
        facts.base_model_relation = Some(stated.unwrap_or_else(|| relation(facts, card, names, config).to_owned()));
    }
}

/// How a model came from its base models, when the card does not say.
fn relation(facts: &Facts, card: &Card<'_>, names: &Names, config: Option<&Map<String, Value>>) -> &'static str {
    let merged = facts.base_models.len() > 1 || card.texts("tags").iter().any(|tag| tag == "merge");
    let quantised = config.is_some_and(|config| config.contains_key("quantization_config"));
    if facts.library_name.as_deref() == Some("peft") || names.has(ADAPTER) {
        "adapter"
    } else if quantised || facts.has_format("gguf") {
        "quantized"
    } else if merged {
        "merge"
    } else {
        "finetune"
    }
}

fn library(names: &Names, sources: &Sources) -> Option<String> {
    let config = sources.config.as_ref();
    let says = |key: &str| config.is_some_and(|config| config.contains_key(key));
    let library = if names.has(DIFFUSERS) || says("_diffusers_version") {
        "diffusers"
    } else if names.has(ADAPTER) {
        "peft"
    } else if names.has("modules.json") || names.has("config_sentence_transformers.json") {
        "sentence-transformers"
    } else if says("pretrained_cfg") {
        "timm"
    } else if names.has(CONFIG) && (says("model_type") || says("architectures")) {
        "transformers"
    } else if names.formats.contains(&"keras") {
        "keras"
    } else {
        return None;
    };
    Some(library.to_owned())
}

fn task_of_library<'a>(library: Option<&str>, task: Option<&'a str>) -> Option<&'a str> {
    match library {
        Some("sentence-transformers") => Some("sentence-similarity"),
        Some("timm") => Some("image-classification"),
        Some("stable-baselines3") => Some("reinforcement-learning"),
        Some("diffusers") => Some("text-to-image"),
        _ => task,
    }
}

/// Task of the many `…ForConditionalGeneration`, which their name does not tell.
fn sequence_task(config: Option<&Map<String, Value>>) -> Option<(&'static str, &'static str)> {
    let config = config?;
    let generates = |name: &String| name.ends_with("ForConditionalGeneration") || name.ends_with("ForVision2Seq");
    if !texts(config.get("architectures")).iter().any(generates) {
        return None;
    }
    Some(match config.get("model_type").and_then(Value::as_str) {
        Some("whisper" | "speech_to_text") => ("automatic-speech-recognition", "AutoModelForSpeechSeq2Seq"),
        _ if config.contains_key("vision_config") => ("image-text-to-text", "AutoModelForImageTextToText"),
        _ => ("text2text-generation", "AutoModelForSeq2SeqLM"),
    })
}

fn processor(names: &Names) -> Option<&'static str> {
    let tokenizer = ["tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.txt"];
    let tokenizer = tokenizer.iter().any(|name| names.has(name));
    match (names.has("preprocessor_config.json"), tokenizer) {
        _ if names.has("processor_config.json") => Some("AutoProcessor"),
        (true, true) => Some("AutoProcessor"),
        (true, false) => Some("AutoImageProcessor"),
        (false, true) => Some("AutoTokenizer"),
        (false, false) => None,
    }
}

/// The members of the two files that clients look at, each within bounds.
fn summary(config: &Map<String, Value>, tokenizer: Option<&Map<String, Value>>) -> Map<String, Value> {
    let short = |value: &Value| value.to_string().len() <= MAX_MEMBER_BYTES;
    let pick = |from: &Map<String, Value>, keys: &[&str]| -> Map<String, Value> {
        let found = keys.iter().filter_map(|&key| Some((key.to_owned(), from.get(key)?.clone())));
        found.filter(|(_, value)| short(value)).collect()
    };
    let mut found = pick(config, &["architectures", "auto_map", "model_type", "quantization_config"]);
    if let Some(tokenizer) = tokenizer {
        let special = [
            "bos_token",
            "chat_template",
            "cls_token",
            "eos_token",
            "mask_token",
            "pad_token",
            "sep_token",
            "unk_token",
        ];
        found.insert("tokenizer_config".to_owned(), Value::Object(pick(tokenizer, &special)));
    }
    found
}

/// A card as it goes into listings: long ones lose their evaluation results, then their longest fields.
fn short_enough(mut data: Map<String, Value>) -> Map<String, Value> {
    let length = |value: &Value| value.to_string().len();
    let mut sizes: Vec<(String, usize)> =
        data.iter().map(|(key, value)| (key.clone(), key.len() + length(value))).collect();
    let mut total: usize = sizes.iter().map(|(_, size)| size).sum();
    sizes.sort_by_key(|(key, size)| (key != "model-index", std::cmp::Reverse(*size)));
    for (key, size) in sizes {
        if total <= MAX_CARD_DATA_BYTES {
            break;
        }
        data.remove(&key);
        total -= size;
    }
    data
}
