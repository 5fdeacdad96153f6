//! Differences of tokenizers: `tokenizer.json`, `vocab.txt`, `vocab.json` and what lies beside them, or what a GGUF file says.
//!
//! Lists of merges are hashed while they are parsed, and tokens kept once: a quarter of a million of them is usual.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use weighthouse_format::Format;

use super::config::maps;
use super::{Side, TokenizerChange};

/// Longest file that is read, in bytes.
const MAX_BYTES: u64 = 64 << 20;
/// Tokens that are shown.
const EXAMPLES: usize = 8;
/// Keys of `tokenizer_config.json` that name special tokens.
const SPECIAL: &[&str] = &[
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
    "additional_special_tokens",
];

/// What is known of a tokenizer.
#[derive(Debug, Default)]
struct Tokenizer {
    tokens: HashMap<String, u64>,
    size: Option<u64>,
    merges: Option<u64>,
    special: Map<String, Value>,
    chat_template: Option<String>,
}

/// Compares the tokenizers; `None` when neither side has one.
pub(super) fn changes(a: Side<'_>, b: Side<'_>) -> Option<TokenizerChange> {
    let (one, other) = (Tokenizer::of(a), Tokenizer::of(b));
    if one.is_none() && other.is_none() {
        return None;
    }
    let both = one.is_some() && other.is_some();
    let (one, other) = (one.unwrap_or_default(), other.unwrap_or_default());
    let compared = !one.tokens.is_empty() && !other.tokens.is_empty();
    let mut change = TokenizerChange { size_a: one.size, size_b: other.size, compared, ..TokenizerChange::default() };
    if compared {
        (change.added, change.added_examples) = missing(&other.tokens, &one.tokens);
        (change.removed, change.removed_examples) = missing(&one.tokens, &other.tokens);
        let moved = one.tokens.iter().filter(|(token, id)| other.tokens.get(*token).is_some_and(|found| found != *id));
        change.moved = moved.count() as u64;
    }
    if let (Some(one), Some(other)) = (one.merges, other.merges) {
        change.merges_changed = Some(one != other);
    }
    if both && !one.special.is_empty() && !other.special.is_empty() {
        change.special = maps(&one.special, &other.special);
    }
    if one.chat_template.is_some() || other.chat_template.is_some() {
        change.chat_template_changed = Some(one.chat_template != other.chat_template);
    }
    Some(change)
}

/// Number of tokens that the other side lacks, and those with the smallest numbers.
fn missing(from: &HashMap<String, u64>, other: &HashMap<String, u64>) -> (u64, Vec<String>) {
    let mut found: Vec<(u64, &String)> =
        from.iter().filter(|(token, _)| !other.contains_key(*token)).map(|(token, id)| (*id, token)).collect();
    found.sort_unstable();
    let examples = found.iter().take(EXAMPLES).map(|(_, token)| (*token).clone()).collect();
    (found.len() as u64, examples)
}

impl Tokenizer {
    fn of(side: Side<'_>) -> Option<Self> {
        let contents = &side.checkpoint.contents;
        if contents.formats.contains(&Format::Gguf) {
            return Self::of_gguf(&contents.metadata);
        }
        if !side.whole {
            return None;
        }
        let mut found = Self::default();
        let mut any = false;
        for folder in ["", "tokenizer/"] {
            let read = |name: &str| read(side, &format!("{folder}{name}"));
            if let Some(parsed) = read("tokenizer.json").and_then(|text| serde_json::from_slice::<File>(&text).ok()) {
                found.take(parsed);
                any = true;
            } else if let Some(text) = read("vocab.txt") {
                let text = String::from_utf8_lossy(&text);
                found.tokens = text.lines().zip(0..).map(|(token, id)| (token.to_owned(), id)).collect();
                any = true;
            } else if let Some(vocab) = read("vocab.json").and_then(|text| serde_json::from_slice::<Tokens>(&text).ok())
            {
                found.tokens = vocab.0;
                found.merges = read("merges.txt").map(|text| hash(&text));
                any = true;
            }
            if let Some(config) = read("tokenizer_config.json")
                && let Ok(Value::Object(config)) = serde_json::from_slice(&config)
            {
                for key in SPECIAL {
                    if let Some(token) = config.get(*key) {
                        found.special.insert((*key).to_owned(), text_of(token));
                    }
                }
                found.chat_template = config.get("chat_template").map(|template| match template {
                    Value::String(template) => template.clone(),
                    other => other.to_string(),
                });
                any = true;
            }
            if let Some(template) = read("chat_template.jinja") {
                found.chat_template = Some(String::from_utf8_lossy(&template).into_owned());
            }
            if any {
                break;
            }
        }
        if !found.tokens.is_empty() {
            found.size = Some(found.tokens.len() as u64);
        }
        any.then_some(found)
    }

    fn of_gguf(metadata: &Map<String, Value>) -> Option<Self> {
        let tokens = metadata.get("tokenizer.ggml.tokens")?;
        let mut found = Self::default();
        if let Some(list) = tokens.as_array() {
            found.size = Some(list.len() as u64);
            let texts = list.iter().zip(0..).filter_map(|(token, id)| Some((token.as_str()?.to_owned(), id)));
            found.tokens = texts.collect();
        } else {
            found.size = tokens.get("count").and_then(Value::as_u64);
        }
        let template = metadata.get("tokenizer.chat_template").and_then(Value::as_str);
        found.chat_template = template.map(str::to_owned);
        Some(found)
    }

    fn take(&mut self, file: File) {
        self.tokens = file.model.vocab.0;
        for token in file.added_tokens {
            self.tokens.entry(token.content).or_insert(token.id);
        }
        self.merges = file.model.merges.map(|merges| merges.0);
    }
}

/// A special token is a text, or an object around it.
fn text_of(token: &Value) -> Value {
    token.get("content").unwrap_or(token).clone()
}

fn read(side: Side<'_>, path: &str) -> Option<Vec<u8>> {
    if !side.folder.has(path) {
        return None;
    }
    let section = side.folder.open(path).ok().filter(|section| section.len() <= MAX_BYTES)?;
    section.read("tokenizer", 0, section.len()).ok()
}

fn hash(value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// `tokenizer.json` of the tokenizers library, as far as it is compared.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    id: u64,
    content: String,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    vocab: Tokens,
    merges: Option<Merges>,
}

/// Tokens with their numbers, or a list of tokens with scores.
#[derive(Default)]
struct Tokens(HashMap<String, u64>);

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Tokens;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tokens")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tokens, A::Error> {
                let mut tokens = HashMap::new();
                while let Some((token, id)) = map.next_entry::<String, u64>()? {
                    tokens.insert(token, id);
                }
                Ok(Tokens(tokens))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tokens, A::Error> {
                let mut tokens = HashMap::new();
                while let Some((token, _)) = list.next_element::<(String, IgnoredAny)>()? {
                    let id = tokens.len() as u64;
                    tokens.insert(token, id);
                }
                Ok(Tokens(tokens))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

/// A hash over all merges in their order, whether they are texts or pairs.
struct Merges(u64);

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Merge {
            Text(String),
            Pair(String, String),
        }
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Merges;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("merges")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merges, A::Error> {
                let mut hasher = DefaultHasher::new();
                while let Some(merge) = list.next_element::<Merge>()? {
                    match merge {
                        Merge::Text(text) => text.hash(&mut hasher),
                        Merge::Pair(one, other) => format!("{one} {other}").hash(&mut hasher),
                    }
                }
                Ok(Merges(hasher.finish()))
            }
        }
        deserializer.deserialize_seq(Visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighthouse_format::Section;
    use weighthouse_format::checkpoint::Checkpoint;
    use weighthouse_format::source::MemoryFolder;

    fn with(files: &[(&str, &str)], run: impl FnOnce(Side<'_>)) {
        let sections = files.iter().map(|(path, text)| Section::of_bytes(*path, text.as_bytes())).collect();
        let (folder, checkpoint) = (MemoryFolder::new(sections), Checkpoint::default());
        run(Side::new(&folder, &checkpoint));
    }

    #[test]
    fn tokens_merges_and_templates_are_compared() {
        let one = r#"{"added_tokens": [{"id": 2, "content": "<s>"}], "model": {"vocab": {"a": 0, "b": 1}, "merges": ["a b"]}}"#;
        let other = r#"{"model": {"vocab": {"a": 1, "c": 0, "<s>": 2}, "merges": [["a", "b"]]}}"#;
        let config = r#"{"eos_token": {"content": "<s>"}, "chat_template": "x"}"#;
        with(&[("tokenizer.json", one), ("tokenizer_config.json", config)], |a| {
            with(&[("tokenizer.json", other), ("tokenizer_config.json", r#"{"eos_token": "b"}"#)], |b| {
                let found = changes(a, b).unwrap();
                assert_eq!((found.size_a, found.size_b, found.moved), (Some(3), Some(3), 1));
                assert_eq!(
                    (found.added_examples, found.removed_examples),
                    (vec!["c".to_owned()], vec!["b".to_owned()])
                );
                assert_eq!((found.merges_changed, found.chat_template_changed), (Some(false), Some(true)));
                assert_eq!(found.special.len(), 1);
                assert!(changes(a, a).unwrap().is_same());
            });
        });
        with(&[("vocab.txt", "a\nb\n")], |a| {
            with(&[("tokenizer.json", r#"{"model": {"vocab": [["a", -1.5], ["b", 0]]}}"#)], |b| {
                assert!(changes(a, b).unwrap().is_same());
            });
            with(&[("tokenizer.json", "[[[["), ("x", "")], |b| assert!(changes(b, b).is_none()));
        });
    }
}
