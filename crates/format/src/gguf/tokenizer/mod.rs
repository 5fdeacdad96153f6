//! Tokenizers: files of transformers and SentencePiece as `tokenizer.ggml.*`, and back.
//!
//! | file | model | `tokenizer.ggml.model` |
//! |---|---|---|
//! | `tokenizer.json`, or `vocab.json` and `merges.txt` | byte-level BPE | `gpt2`, with merges and a name for the splitting |
//! | `tokenizer.json`, `tokenizer.model` | BPE with byte fallback | `llama`, with scores: the sooner merged, the higher |
//! | `tokenizer.json`, `tokenizer.model`, `spiece.model` | Unigram | `t5`, with scores |
//! | `tokenizer.json`, `vocab.txt` | WordPiece | `bert`: `##x` becomes `x`, other words begin with `▁` |
//!
//! Every row of the embedding has one token: those of no word are `[PAD7]`, and unused.
//!
//! # Source
//! The vocabularies that llama.cpp's loader takes, and what its converter makes of files.

mod json;
mod pre;
mod restore;
mod sentencepiece;
mod special;
mod template;
#[cfg(test)]
mod tests;
mod unigram;
mod vocabulary;

use serde_json::{Map, Value as Json};

use crate::error::FormatError;
use crate::gguf::families::Files;
use crate::gguf::metadata::{Array, Entries, Value};

pub(super) use restore::restore;

use json::Tokenizer;
use vocabulary::Vocabulary;

/// Most tokens; the largest vocabularies have a quarter of a million.
pub(super) const TOKENS: u64 = 1 << 20;

const WHAT: &str = "tokenizer";

/// What is asked: which tokenizer, for which model.
pub(super) struct Ask<'a> {
    pub(super) files: &'a Files,
    /// The model's `config.json`.
    pub(super) config: &'a Map<String, Json>,
    /// Rows of the embedding.
    pub(super) rows: u64,
    /// Whether the model is an encoder, whose texts stand between two marks.
    pub(super) bert: bool,
    /// `tokenizer.ggml.pre`, if a person says it.
    pub(super) pre: Option<&'a str>,
}

/// The entries of a model's tokenizer. A model without one gets `no_vocab`, and a note.
///
/// # Errors
/// [`FormatError::Json`] and [`FormatError::Broken`] for files that are not what they should be, [`FormatError::TooLarge`]
/// for too many tokens, [`FormatError::Unsupported`] for models and splittings that llama.cpp does not have.
pub(super) fn entries(ask: &Ask<'_>, notes: &mut Vec<String>) -> Result<Entries, FormatError> {
    let tokenizer = Tokenizer::read(ask.files)?;
    let vocabulary = match &tokenizer {
        Some(tokenizer) => Vocabulary::of_json(tokenizer, ask, notes)?,
        None => match sentencepiece::read(ask, notes)? {
            Some(vocabulary) => vocabulary,
            None => {
                notes.push("there is no tokenizer: programs can load the model, and not give it text".to_owned());
                return Ok(vec![("tokenizer.ggml.model".to_owned(), Value::text("no_vocab"))]);
            }
        },
    };
    let specials = special::entries(ask, tokenizer.as_ref(), &vocabulary, notes)?;
    let mut out = vocabulary.into_entries();
    out.extend(specials);
    out.extend(template::entries(ask.files, notes)?);
    Ok(out)
}

fn broken(detail: impl Into<String>) -> FormatError {
    FormatError::Broken { what: WHAT, at: 0, detail: detail.into() }
}

fn unsupported(detail: impl Into<String>) -> FormatError {
    FormatError::Unsupported { what: "this tokenizer in GGUF", detail: detail.into() }
}

/// A token in few characters, for messages.
fn short(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

fn texts(texts: Vec<String>) -> Value {
    Value::Array(Array::Text(texts))
}
