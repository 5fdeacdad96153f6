//! The tokens of a vocabulary, each in the row of its number.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::error::FormatError;
use crate::gguf::metadata::{Array, Entries, Value};
use crate::gguf::tokenizer::json::{Tokenizer, Vocab, kind};
use crate::gguf::tokenizer::{Ask, broken, pre, short, texts, unigram, unsupported};

/// Kinds of tokens.
pub(super) const NORMAL: i32 = 1;
pub(super) const UNKNOWN: i32 = 2;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
pub(super) const UNUSED: i32 = 5;
pub(super) const BYTE: i32 = 6;

/// Score of rows that belong to no token, and of tokens that were added: they are never merged to.
const UNUSED_SCORE: f32 = -10_000.0;
pub(super) const ADDED_SCORE: f32 = -1_000.0;

/// What `▁` stands for.
pub(super) const SPACE: char = '\u{2581}';

/// A vocabulary in the words of GGUF.
pub(super) struct Vocabulary {
    /// Value of `tokenizer.ggml.model`.
    pub(super) model: &'static str,
    pub(super) pre: String,
    pub(super) slots: Slots,
    pub(super) scores: Option<Vec<f32>>,
    pub(super) merges: Vec<String>,
    /// Further entries.
    pub(super) extra: Entries,
}

/// Rows with their tokens.
pub(super) struct Slots {
    rows: Vec<Option<(String, i32)>>,
    /// Numbers by the text that the tokenizer's files have.
    ids: HashMap<Box<str>, u32>,
}

impl Slots {
    /// Empty rows.
    pub(super) fn new(rows: u64) -> Self {
        let rows = usize::try_from(rows.min(super::TOKENS)).unwrap_or(0);
        Self { rows: vec![None; rows], ids: HashMap::new() }
    }

    /// Puts a word of the model in its row.
    pub(super) fn put(&mut self, id: u64, text: &str, kind: i32) -> Result<(), FormatError> {
        let rows = self.rows.len();
        let slot = usize::try_from(id).ok().and_then(|id| self.rows.get_mut(id));
        let Some(slot) = slot else {
            let text = short(text);
            return Err(broken(format!("token `{text}` has the number {id}; the embedding has {rows} rows")));
        };
        if let Some((first, _)) = slot {
            let detail = format!("tokens `{}` and `{}` both have the number {id}", short(first), short(text));
            return Err(broken(detail));
        }
        *slot = Some((text.to_owned(), kind));
        if self.ids.insert(text.into(), u32::try_from(id).unwrap_or(u32::MAX)).is_some() {
            return Err(broken(format!("token `{}` appears twice", short(text))));
        }
        Ok(())
    }

    /// Puts a token that was added in its row, whatever the model has there; whether there is such a row.
    pub(super) fn add(&mut self, id: u64, text: &str, kind: i32) -> bool {
        let slot = usize::try_from(id).ok().and_then(|id| self.rows.get_mut(id));
        let Some(slot) = slot else { return false };
        *slot = Some((text.to_owned(), kind));
        self.ids.insert(text.into(), u32::try_from(id).unwrap_or(u32::MAX));
        true
    }

    /// The number of a text.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn kind(&self, id: u32) -> i32 {
        self.rows.get(id as usize).and_then(Option::as_ref).map_or(UNUSED, |(_, kind)| *kind)
    }

    /// Texts as `write` spells them, and kinds; rows without a token get a name of their own.
    fn into_lists(self, write: impl Fn(String, i32) -> String) -> (Vec<String>, Vec<i32>) {
        let named = self.rows.into_iter().enumerate();
        named
            .map(|(row, slot)| {
                let (text, kind) = slot.unwrap_or_else(|| (format!("[PAD{row}]"), UNUSED));
                (write(text, kind), kind)
            })
            .unzip()
    }
}

impl Vocabulary {
    /// The vocabulary of a `tokenizer.json`.
    pub(super) fn of_json(tokenizer: &Tokenizer, ask: &Ask<'_>, notes: &mut Vec<String>) -> Result<Self, FormatError> {
        let model = &tokenizer.model;
        let bytes = |value: &Json| Tokenizer::steps(value).into_iter().any(|step| kind(step) == "ByteLevel");
        let named = model.kind.as_deref().unwrap_or(if model.merges.0.is_empty() { "" } else { "BPE" });
        match named {
            "BPE" if model.end_of_word_suffix.as_deref().is_some_and(|suffix| !suffix.is_empty()) => {
                Err(unsupported("BPE that marks the ends of words"))
            }
            "BPE" if bytes(&tokenizer.pre_tokenizer) || bytes(&tokenizer.decoder) => Self::gpt2(tokenizer, ask, notes),
            "BPE" if model.byte_fallback == Some(true) => Self::llama(tokenizer, ask, notes),
            "BPE" => Err(unsupported("BPE that neither is byte-level nor falls back to bytes")),
            "Unigram" => unigram::of_json(tokenizer, ask, notes),
            "WordPiece" => Self::word_piece(tokenizer, ask, notes),
            other => Err(unsupported(format!("model `{}`; possible are BPE, Unigram and WordPiece", short(other)))),
        }
    }

    fn gpt2(tokenizer: &Tokenizer, ask: &Ask<'_>, notes: &mut Vec<String>) -> Result<Self, FormatError> {
        let pre = match ask.pre {
            Some(pre) => pre.to_owned(),
            None => pre::name(tokenizer)?.to_owned(),
        };
        let mut slots = words(tokenizer, ask.rows, |_| NORMAL)?;
        added(tokenizer, &mut slots, None, notes);
        let merges = tokenizer.model.merges.0.iter().map(|merge| merge.to_string()).collect();
        Ok(Self { model: "gpt2", pre, slots, scores: None, merges, extra: Vec::new() })
    }

    fn llama(tokenizer: &Tokenizer, ask: &Ask<'_>, notes: &mut Vec<String>) -> Result<Self, FormatError> {
        let unknown = tokenizer.model.unk_token.as_deref();
        let mut slots = words(tokenizer, ask.rows, |text| sentencepiece_kind(text, unknown))?;
        added(tokenizer, &mut slots, unknown, notes);
        let scores = merge_scores(tokenizer, &slots)?;
        let extra = vec![flag("add_space_prefix", space_prefix(tokenizer, ask)?)];
        let pre = ask.pre.unwrap_or("default").to_owned();
        Ok(Self { model: "llama", pre, slots, scores: Some(scores), merges: Vec::new(), extra })
    }

    fn word_piece(tokenizer: &Tokenizer, ask: &Ask<'_>, notes: &mut Vec<String>) -> Result<Self, FormatError> {
        let mut slots = words(tokenizer, ask.rows, |_| NORMAL)?;
        added(tokenizer, &mut slots, None, notes);
        if tokenizer.model.continuing_subword_prefix.as_deref().is_some_and(|prefix| prefix != "##") {
            return Err(unsupported("WordPiece whose parts of words begin otherwise than with `##`"));
        }
        let steps = Tokenizer::steps(&tokenizer.normalizer);
        if steps.iter().any(|step| step.get("lowercase").and_then(Json::as_bool) == Some(false)) {
            notes.push("llama.cpp writes text in small letters for WordPiece; this tokenizer does not".to_owned());
        }
        let pre = ask.pre.unwrap_or("default").to_owned();
        Ok(Self { model: "bert", pre, slots, scores: None, merges: Vec::new(), extra: Vec::new() })
    }

    /// The entries, but for special tokens.
    pub(super) fn into_entries(self) -> Entries {
        let Self { model, pre, slots, scores, merges, extra } = self;
        let (tokens, kinds) = slots.into_lists(|text, kind| match (model, kind) {
            // Marks are written as they are, and words as if each began with a space.
            ("bert", CONTROL) => text,
            ("bert", _) => match text.strip_prefix("##") {
                Some(part) => part.to_owned(),
                None => format!("{SPACE}{text}"),
            },
            // Tokens that a person added are looked for in the text itself.
            ("llama" | "t5", USER_DEFINED) => text.replace(SPACE, " "),
            _ => text,
        });
        let mut entries =
            vec![(key("model"), Value::text(model)), (key("pre"), Value::Text(pre)), (key("tokens"), texts(tokens))];
        if let Some(scores) = scores {
            entries.push((key("scores"), Value::Array(Array::F32(scores))));
        }
        entries.push((key("token_type"), Value::Array(Array::I32(kinds))));
        if !merges.is_empty() {
            entries.push((key("merges"), texts(merges)));
        }
        entries.extend(extra);
        entries
    }
}

pub(super) fn key(key: &str) -> String {
    format!("tokenizer.ggml.{key}")
}

pub(super) fn flag(name: &str, value: bool) -> (String, Value) {
    (key(name), Value::Bool(value))
}

/// The words of the model in their rows.
fn words(tokenizer: &Tokenizer, rows: u64, kind: impl Fn(&str) -> i32) -> Result<Slots, FormatError> {
    let Vocab::Ids(words) = &tokenizer.model.vocab else {
        return Err(broken("words of this model have scores, not numbers"));
    };
    let mut slots = Slots::new(rows);
    for (text, id) in words {
        slots.put(*id, text, kind(text))?;
    }
    Ok(slots)
}

/// The tokens that were added.
pub(super) fn added(tokenizer: &Tokenizer, slots: &mut Slots, unknown: Option<&str>, notes: &mut Vec<String>) {
    let mut outside: Option<(&str, u64)> = None;
    for token in &tokenizer.added_tokens {
        let kind = added_kind(&token.content, token.special, unknown);
        if !slots.add(token.id, &token.content, kind) {
            let count = outside.map_or(0, |(_, count)| count);
            outside = Some((outside.map_or(token.content.as_str(), |(first, _)| first), count + 1));
        }
    }
    if let Some((first, count)) = outside {
        let first = short(first);
        notes.push(format!("{count} added tokens, `{first}` first, have no row in the embedding, and are left out"));
    }
}

/// The kind of an added token. Some models say of tokens that they are no marks, and use them as such.
pub(super) fn added_kind(text: &str, special: bool, unknown: Option<&str>) -> i32 {
    let between = |begin: &str, end: &str| text.starts_with(begin) && text.ends_with(end);
    let like_a_mark = ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(&text)
        || between("<|", "|>")
        || between("<\u{ff5c}", "\u{ff5c}>")
        || between("<unused", ">");
    match special || like_a_mark {
        true if unknown == Some(text) => UNKNOWN,
        true => CONTROL,
        false => USER_DEFINED,
    }
}

/// The kind of a piece by its text.
pub(super) fn sentencepiece_kind(text: &str, unknown: Option<&str>) -> i32 {
    let byte = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    let is_byte = byte.is_some_and(|hex| hex.len() == 2 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
    match is_byte {
        true => BYTE,
        false if unknown == Some(text) => UNKNOWN,
        false => NORMAL,
    }
}

/// Scores as SentencePiece gives them: the sooner a piece is merged, the higher; pieces that are never merged come last.
fn merge_scores(tokenizer: &Tokenizer, slots: &Slots) -> Result<Vec<f32>, FormatError> {
    let mut ranks: Vec<Option<u32>> = vec![None; slots.len()];
    let mut next = 0;
    for merge in &tokenizer.model.merges.0 {
        let text = merge.replacen(' ', "", 1);
        let Some(id) = slots.id(&text) else {
            return Err(broken(format!("a merge gives `{}`, which is no token", short(&text))));
        };
        if let Some(rank @ None) = ranks.get_mut(id as usize) {
            *rank = Some(next);
            next += 1;
        }
    }
    let scores = (0u32..).zip(ranks).map(|(id, rank)| match (slots.kind(id), rank) {
        (UNUSED, _) => UNUSED_SCORE,
        (USER_DEFINED, _) => ADDED_SCORE,
        (NORMAL, Some(rank)) => -(rank as f32),
        (NORMAL, None) => {
            let score = -(next as f32);
            next += 1;
            score
        }
        _ => 0.0,
    });
    Ok(scores.collect())
}

/// Whether text gets a space before its first word.
pub(super) fn space_prefix(tokenizer: &Tokenizer, ask: &Ask<'_>) -> Result<bool, FormatError> {
    let prepends = Tokenizer::steps(&tokenizer.normalizer).into_iter().any(|step| kind(step) == "Prepend");
    let meta = Tokenizer::steps(&tokenizer.pre_tokenizer).into_iter().find(|step| kind(step) == "Metaspace");
    let scheme = meta.map(|step| match step.get("prepend_scheme").and_then(Json::as_str) {
        Some(scheme) => scheme != "never",
        None => step.get("add_prefix_space").and_then(Json::as_bool).unwrap_or(true),
    });
    // Where the steps say nothing, the settings do.
    let config = ask.files.json("tokenizer_config.json")?;
    let asked = config.as_ref().and_then(|config| config.get("add_prefix_space")).and_then(Json::as_bool);
    Ok(prepends || scheme.or(asked).unwrap_or(false))
}
