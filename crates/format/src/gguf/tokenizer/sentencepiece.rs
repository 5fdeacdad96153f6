//! SentencePiece's own files: a protocol buffer of pieces with scores and kinds.
//!
//! | field | of the model |
//! |---|---|
//! | 1 | pieces: text (1), score (2), kind (3) |
//! | 2 | training: model type (3: Unigram 1, BPE 2), numbers of `<unk>` (40), `<s>` (41), `</s>` (42), `<pad>` (43) |
//! | 3 | normalisation: compiled table (2), space before the first word (3), extra spaces removed (4) |

use crate::error::FormatError;
use crate::gguf::metadata::{Array, Value};
use crate::gguf::tokenizer::vocabulary::{ADDED_SCORE, NORMAL, Slots, Vocabulary, added_kind, flag, key};
use crate::gguf::tokenizer::{Ask, TOKENS, broken, unsupported};
use crate::limits::Limits;
use crate::protobuf::{self, Message};
use crate::source::Section;

const WHAT: &str = "SentencePiece model";

/// Longest piece in bytes.
const PIECE_BYTES: u64 = 1 << 16;

/// What is used of a model.
struct Model {
    pieces: Vec<(String, f32, i32)>,
    unigram: bool,
    table: Vec<u8>,
    space_prefix: bool,
    squeezes: bool,
}

/// The vocabulary of `tokenizer.model` or `spiece.model`, if there is one.
pub(super) fn read(ask: &Ask<'_>, notes: &mut Vec<String>) -> Result<Option<Vocabulary>, FormatError> {
    let found = ["tokenizer.model", "spiece.model"].into_iter().find_map(|name| Some((name, ask.files.bytes(name)?)));
    let Some((name, bytes)) = found else { return Ok(None) };
    let model = model(&Section::of_bytes(name, bytes)).map_err(|error| error.in_file(name))?;
    let mut slots = Slots::new(ask.rows);
    let mut scores = vec![-10_000.0; slots.len()];
    for (id, (text, score, kind)) in model.pieces.iter().enumerate() {
        slots.put(id as u64, text, *kind)?;
        if let Some(slot) = scores.get_mut(id) {
            *slot = *score;
        }
    }
    for (text, id) in ask.files.json("added_tokens.json")?.unwrap_or_default() {
        let id = id.as_u64().ok_or_else(|| broken("an id is no number").in_file("added_tokens.json"))?;
        let kind = added_kind(&text, false, None);
        match usize::try_from(id).ok().and_then(|id| scores.get_mut(id)) {
            Some(score) => *score = ADDED_SCORE,
            None => notes.push("added tokens without a row in the embedding are left out".to_owned()),
        }
        slots.add(id, &text, kind);
    }
    let mut extra = vec![flag("add_space_prefix", model.space_prefix)];
    if model.unigram {
        extra.push(flag("remove_extra_whitespaces", model.squeezes));
        if !model.table.is_empty() {
            extra.push((key("precompiled_charsmap"), Value::Array(Array::U8(model.table))));
        }
    }
    let pre = ask.pre.unwrap_or("default").to_owned();
    let kind = if model.unigram { "t5" } else { "llama" };
    Ok(Some(Vocabulary { model: kind, pre, slots, scores: Some(scores), merges: Vec::new(), extra }))
}

fn model(section: &Section) -> Result<Model, FormatError> {
    let mut out = Model { pieces: Vec::new(), unigram: true, table: Vec::new(), space_prefix: true, squeezes: true };
    for field in Message::new(section.clone()).fields(WHAT)? {
        let field = field?;
        let Some(inner) = field.value.message() else { continue };
        match field.number {
            1 => {
                Limits::at_most("number of pieces", out.pieces.len() as u64 + 1, TOKENS)?;
                out.pieces.push(piece(inner)?);
            }
            2 => {
                for field in inner.fields(WHAT)? {
                    let field = field?;
                    if field.number == 3 {
                        out.unigram = match field.value.number() {
                            Some(1) => true,
                            Some(2) => false,
                            _ => return Err(unsupported("a SentencePiece model that is neither Unigram nor BPE")),
                        };
                    }
                }
            }
            3 => {
                for field in inner.fields(WHAT)? {
                    let field = field?;
                    match (field.number, &field.value) {
                        (2, protobuf::Value::Bytes(table)) => out.table = table.bytes(WHAT, 16 << 20)?,
                        (3, value) => out.space_prefix = value.number() != Some(0),
                        (4, value) => out.squeezes = value.number() != Some(0),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if out.pieces.is_empty() {
        return Err(FormatError::Empty { what: "list of pieces" });
    }
    Ok(out)
}

fn piece(message: &Message) -> Result<(String, f32, i32), FormatError> {
    let (mut text, mut score, mut kind) = (String::new(), 0.0, NORMAL);
    for field in message.fields(WHAT)? {
        let field = field?;
        match (field.number, &field.value) {
            (1, protobuf::Value::Bytes(bytes)) => text = bytes.text(WHAT, PIECE_BYTES)?,
            (2, protobuf::Value::Fixed32(bits)) => score = f32::from_bits(*bits),
            (3, value) => {
                let number = value.number().and_then(|number| i32::try_from(number).ok());
                kind = number.filter(|kind| (1..=6).contains(kind)).ok_or_else(|| broken("a piece of unknown kind"))?;
            }
            _ => {}
        }
    }
    if !score.is_finite() {
        return Err(broken("the score of a piece is no number"));
    }
    Ok((text, score, kind))
}
