//! Special tokens: which they are, and which of them stand around a text.

use serde_json::{Map, Value as Json};

use crate::error::FormatError;
use crate::gguf::metadata::{Entries, Value};
use crate::gguf::tokenizer::json::{Tokenizer, kind};
use crate::gguf::tokenizer::vocabulary::{Vocabulary, flag, key};
use crate::gguf::tokenizer::{Ask, short};

/// Words of transformers, and those of GGUF, misspelled as they are.
pub(super) const TOKENS: &[(&str, &str)] = &[
    ("bos", "bos_token_id"),
    ("eos", "eos_token_id"),
    ("unk", "unknown_token_id"),
    ("sep", "seperator_token_id"),
    ("pad", "padding_token_id"),
    ("mask", "mask_token_id"),
];

/// What is said of special tokens, the surest first.
struct Said<'a> {
    settings: Vec<Map<String, Json>>,
    numbers: Vec<&'a Map<String, Json>>,
}

pub(super) fn entries(
    ask: &Ask<'_>,
    tokenizer: Option<&Tokenizer>,
    vocabulary: &Vocabulary,
    notes: &mut Vec<String>,
) -> Result<Entries, FormatError> {
    let generation = ask.files.json("generation_config.json")?.unwrap_or_default();
    let text = ask.config.get("text_config").and_then(Json::as_object);
    let files = ["tokenizer_config.json", "special_tokens_map.json"];
    let mut settings = Vec::new();
    for file in files {
        settings.extend(ask.files.json(file)?);
    }
    let numbers = std::iter::once(ask.config).chain(text).chain(std::iter::once(&generation)).collect();
    let said = Said { settings, numbers };

    let mut out = Vec::new();
    for (word, name) in TOKENS {
        if let Some(id) = said.id(word, vocabulary, notes) {
            out.push((key(name), Value::U32(id)));
        }
    }
    let eos = said.id("eos", vocabulary, &mut Vec::new());
    // Models of conversations end a turn with another token than a text.
    let turn = said.numbers.iter().filter_map(|map| map.get("eos_token_id")?.as_array()).flatten();
    let mut turns = turn.filter_map(Json::as_u64).filter_map(|id| u32::try_from(id).ok());
    if let Some(id) = turns.find(|id| Some(*id) != eos && (*id as usize) < vocabulary.slots.len()) {
        out.push((key("eot_token_id"), Value::U32(id)));
    }
    let around = tokenizer.map(|tokenizer| around(tokenizer, &said, ask.bert)).unwrap_or_default();
    for (name, found) in [("add_bos_token", around.0), ("add_eos_token", around.1)] {
        let asked = said.settings.iter().find_map(|map| map.get(name)?.as_bool());
        if let Some(value) = asked.or(found) {
            out.push(flag(name, value));
        }
    }
    Ok(out)
}

impl Said<'_> {
    /// The text of a special token.
    fn text(&self, word: &str) -> Option<&str> {
        let of = |word: &str| {
            self.settings.iter().find_map(|map| {
                let value = map.get(&format!("{word}_token"))?;
                value.as_str().or_else(|| value.get("content")?.as_str())
            })
        };
        of(word).or_else(|| match word {
            // Encoders call them otherwise.
            "bos" => of("cls"),
            "eos" => of("sep"),
            _ => None,
        })
    }

    /// The number of a special token.
    fn id(&self, word: &str, vocabulary: &Vocabulary, notes: &mut Vec<String>) -> Option<u32> {
        if let Some(text) = self.text(word) {
            let id = vocabulary.slots.id(text);
            if id.is_none() {
                notes.push(format!("`{word}_token` `{}` is no token of the model", short(text)));
            }
            return id;
        }
        let numbers = self.numbers.iter().filter_map(|map| map.get(&format!("{word}_token_id")));
        let numbers = numbers.filter_map(|value| value.as_u64().or_else(|| value.get(0)?.as_u64()));
        let id = numbers.into_iter().next().and_then(|id| u32::try_from(id).ok())?;
        if id as usize >= vocabulary.slots.len() {
            notes.push(format!("`{word}_token_id` {id} is no token of the model"));
            return None;
        }
        Some(id)
    }
}

/// Whether the first and the last special token stand around a single text; `None` where nothing is said.
fn around(tokenizer: &Tokenizer, said: &Said<'_>, bert: bool) -> (Option<bool>, Option<bool>) {
    let mut out = (None, None);
    for step in Tokenizer::steps(&tokenizer.post_processor) {
        match kind(step) {
            "TemplateProcessing" => {
                let single = step.get("single").and_then(Json::as_array);
                let mark = |piece: Option<&Json>| piece?.get("SpecialToken")?.get("id")?.as_str().map(str::to_owned);
                let first = mark(single.and_then(|single| single.first()));
                let last = mark(single.and_then(|single| single.last()));
                let is = |found: Option<String>, word: &str| found.is_some() && found.as_deref() == said.text(word);
                out = (Some(is(first, "bos")), Some(is(last, "eos")));
            }
            "RobertaProcessing" | "BertProcessing" => out = (Some(true), Some(true)),
            _ => {}
        }
    }
    // Without a template, nothing stands around; an encoder's loader has its own mind about it.
    if out.0.is_none() && !bert { (Some(false), None) } else { out }
}
