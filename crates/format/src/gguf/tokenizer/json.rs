//! `tokenizer.json`, and the older pairs of files that say the same.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use crate::error::FormatError;
use crate::gguf::families::Files;
use crate::gguf::tokenizer::{TOKENS, broken};

/// Most merges.
const MERGES: usize = 1 << 22;

/// What is used of a `tokenizer.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Tokenizer {
    #[serde(default)]
    pub(super) added_tokens: Vec<Added>,
    #[serde(default)]
    pub(super) normalizer: Json,
    #[serde(default)]
    pub(super) pre_tokenizer: Json,
    #[serde(default)]
    pub(super) post_processor: Json,
    #[serde(default)]
    pub(super) decoder: Json,
    pub(super) model: Model,
}

/// A token that was added to those of the model.
#[derive(Debug, Deserialize)]
pub(super) struct Added {
    pub(super) id: u64,
    pub(super) content: String,
    #[serde(default)]
    pub(super) special: bool,
}

/// The model: words and how they are put together.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Model {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) vocab: Vocab,
    #[serde(default)]
    pub(super) merges: Merges,
    pub(super) byte_fallback: Option<bool>,
    pub(super) ignore_merges: Option<bool>,
    pub(super) unk_token: Option<String>,
    pub(super) unk_id: Option<u64>,
    pub(super) continuing_subword_prefix: Option<String>,
    pub(super) end_of_word_suffix: Option<String>,
}

/// Words with their numbers, or with their scores in the order of their numbers.
#[derive(Debug)]
pub(super) enum Vocab {
    Ids(Vec<(Box<str>, u64)>),
    Scores(Vec<(Box<str>, f64)>),
}

impl Default for Vocab {
    fn default() -> Self {
        Self::Ids(Vec::new())
    }
}

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Words)
    }
}

/// Reads words, and gives up when there are too many.
struct Words;

impl<'de> Visitor<'de> for Words {
    type Value = Vocab;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("words with their numbers or scores")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab, A::Error> {
        let mut words = Vec::new();
        while let Some(entry) = map.next_entry()? {
            check::<A::Error>(words.len(), TOKENS as usize, "tokens")?;
            words.push(entry);
        }
        Ok(Vocab::Ids(words))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vocab, A::Error> {
        let mut words = Vec::new();
        while let Some(entry) = list.next_element()? {
            check::<A::Error>(words.len(), TOKENS as usize, "tokens")?;
            words.push(entry);
        }
        Ok(Vocab::Scores(words))
    }
}

/// Pairs that are merged, each with a space between, soonest first. A space of a token itself is `Ġ`.
#[derive(Debug, Default)]
pub(super) struct Merges(pub(super) Vec<Box<str>>);

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Pairs)
    }
}

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Merges;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pairs that are merged")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merges, A::Error> {
        let mut pairs = Vec::new();
        while let Some(Pair(pair)) = list.next_element()? {
            check::<A::Error>(pairs.len(), MERGES, "merges")?;
            pairs.push(pair);
        }
        Ok(Merges(pairs))
    }
}

/// `"a b"` or `["a", "b"]`.
struct Pair(Box<str>);

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PairVisitor)
    }
}

struct PairVisitor;

impl<'de> Visitor<'de> for PairVisitor {
    type Value = Pair;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pair of tokens")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Pair, E> {
        if text.split(' ').count() != 2 {
            return Err(E::custom("a merge that is not two tokens"));
        }
        Ok(Pair(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pair, A::Error> {
        let mut token = || -> Result<String, A::Error> {
            let text: Option<String> = list.next_element()?;
            Ok(text.ok_or_else(|| A::Error::custom("a merge that is not two tokens"))?.replace(' ', "Ġ"))
        };
        let pair = format!("{} {}", token()?, token()?);
        match list.next_element::<serde::de::IgnoredAny>()? {
            None => Ok(Pair(pair.into())),
            Some(_) => Err(A::Error::custom("a merge that is not two tokens")),
        }
    }
}

fn check<E: Error>(count: usize, limit: usize, what: &str) -> Result<(), E> {
    if count < limit { Ok(()) } else { Err(E::custom(format!("more than {limit} {what}"))) }
}

impl Tokenizer {
    /// Reads the tokenizer of a folder, unless it is SentencePiece's.
    pub(super) fn read(files: &Files) -> Result<Option<Self>, FormatError> {
        if let Some(bytes) = files.bytes("tokenizer.json") {
            let what = "tokenizer.json";
            return serde_json::from_slice(bytes).map(Some).map_err(|source| FormatError::Json { what, source });
        }
        if files.has("vocab.json") && files.has("merges.txt") {
            return Self::gpt2(files).map(Some);
        }
        let Some(text) = files.text("vocab.txt")? else { return Ok(None) };
        let mut words = Vec::new();
        for (number, word) in (0u64..).zip(text.lines()) {
            crate::limits::Limits::at_most("number of tokens", number + 1, TOKENS)?;
            words.push((word.into(), number));
        }
        let is_mark = |word: &str| ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].contains(&word);
        let marks = words.iter().filter(|(word, _): &&(Box<str>, u64)| is_mark(word));
        let added = marks.map(|(word, id)| Added { id: *id, content: word.to_string(), special: true }).collect();
        let unk_token = Some("[UNK]".to_owned());
        let model =
            Model { kind: Some("WordPiece".to_owned()), vocab: Vocab::Ids(words), unk_token, ..Model::default() };
        Ok(Some(Self::plain(added, Json::Null, model)))
    }

    /// GPT-2's two files, with its splitting.
    fn gpt2(files: &Files) -> Result<Self, FormatError> {
        let bytes = files.bytes("vocab.json").unwrap_or_default();
        let vocab = serde_json::from_slice(bytes).map_err(|source| FormatError::Json { what: "vocab.json", source })?;
        let mut merges = Vec::new();
        for line in files.text("merges.txt")?.unwrap_or_default().lines() {
            if line.is_empty() || (merges.is_empty() && line.starts_with("#version")) {
                continue;
            }
            if line.split(' ').count() != 2 {
                return Err(broken("a line is not two tokens").in_file("merges.txt"));
            }
            merges.push(line.into());
            crate::limits::Limits::at_most("number of merges", merges.len() as u64, MERGES as u64)?;
        }
        let mut added = Vec::new();
        for (content, id) in files.json("added_tokens.json")?.unwrap_or_default() {
            let id = id.as_u64().ok_or_else(|| broken("an id is no number").in_file("added_tokens.json"))?;
            added.push(Added { id, content, special: true });
        }
        if let Vocab::Ids(words) = &vocab
            && let Some((word, id)) = words.iter().find(|(word, _)| &**word == "<|endoftext|>")
        {
            added.push(Added { id: *id, content: word.to_string(), special: true });
        }
        let model = Model { kind: Some("BPE".to_owned()), vocab, merges: Merges(merges), ..Model::default() };
        let split = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true});
        Ok(Self::plain(added, split, model))
    }

    fn plain(added_tokens: Vec<Added>, pre_tokenizer: Json, model: Model) -> Self {
        let nothing = Json::Null;
        Self {
            added_tokens,
            normalizer: nothing.clone(),
            pre_tokenizer,
            post_processor: nothing.clone(),
            decoder: nothing,
            model,
        }
    }

    /// Steps of the normalizer, splitting or decoder, those of sequences in their place.
    pub(super) fn steps(value: &Json) -> Vec<&Json> {
        let mut out = Vec::new();
        // Depth is what the JSON reader let through; the order is that of the file.
        let mut open = vec![value];
        while let Some(step) = open.pop() {
            let inner = ["normalizers", "pretokenizers", "decoders", "processors"];
            match inner.iter().find_map(|key| step.get(*key)?.as_array()) {
                Some(steps) => open.extend(steps.iter().rev()),
                None if step.is_object() => out.push(step),
                None => {}
            }
        }
        out
    }
}

/// The `type` of a step.
pub(super) fn kind(step: &Json) -> &str {
    step.get("type").and_then(Json::as_str).unwrap_or_default()
}
