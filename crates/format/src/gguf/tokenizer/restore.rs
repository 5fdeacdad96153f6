//! A `tokenizer.json` out of a GGUF file's vocabulary.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

use crate::error::FormatError;
use crate::gguf::metadata::{self, Array, Value};
use crate::gguf::tokenizer::vocabulary::{BYTE, CONTROL, NORMAL, SPACE, UNKNOWN, UNUSED, USER_DEFINED};
use crate::gguf::tokenizer::{TOKENS, broken, pre, short, special};
use crate::limits::Limits;

/// Most merges that are made up.
const MERGES: usize = 1 << 22;
/// Longest piece that is taken apart, in characters; SentencePiece's have 16.
const PIECE: usize = 256;

/// The vocabulary of a file.
struct Vocabulary<'a> {
    metadata: &'a [(String, Value)],
    tokens: &'a [String],
    kinds: Vec<i32>,
}

/// The files of the tokenizer. One that cannot be made is a note: the weights are worth having without it.
///
/// # Errors
/// [`FormatError::Broken`] for a vocabulary that contradicts itself, [`FormatError::TooLarge`].
pub(in crate::gguf) fn restore(
    metadata: &[(String, Value)],
    notes: &mut Vec<String>,
) -> Result<Vec<(String, Vec<u8>)>, FormatError> {
    let text = |key: &str| metadata::find(metadata, key).and_then(Value::as_text);
    let Some(model) = text("tokenizer.ggml.model") else { return Ok(Vec::new()) };
    let Some(vocabulary) = Vocabulary::of(metadata)? else { return Ok(Vec::new()) };
    let made = match (text("tokenizer.huggingface.json"), model) {
        (Some(whole), _) if serde_json::from_str::<Map<String, Json>>(whole).is_ok() => Some(whole.as_bytes().to_vec()),
        (_, "gpt2") => vocabulary.gpt2(text("tokenizer.ggml.pre").unwrap_or("default"), notes)?.map(bytes),
        (_, "llama") => Some(bytes(vocabulary.llama()?)),
        (_, "bert") => Some(bytes(vocabulary.bert())),
        (_, other) => {
            notes.push(format!("a tokenizer of the model `{}` is not made; take that of the original", short(other)));
            None
        }
    };
    let Some(made) = made else { return Ok(Vec::new()) };
    Ok(vec![
        ("tokenizer.json".to_owned(), made),
        ("tokenizer_config.json".to_owned(), bytes(vocabulary.settings(model))),
    ])
}

fn bytes(value: Json) -> Vec<u8> {
    let mut text = format!("{value:#}");
    text.push('\n');
    text.into_bytes()
}

/// How WordPiece itself spells a token.
fn word_piece(text: &str, kind: i32) -> String {
    match text.strip_prefix(SPACE) {
        _ if kind == CONTROL => text.to_owned(),
        Some(word) => word.to_owned(),
        None => format!("##{text}"),
    }
}

impl<'a> Vocabulary<'a> {
    fn of(metadata: &'a [(String, Value)]) -> Result<Option<Self>, FormatError> {
        let Some(tokens) = metadata::find(metadata, "tokenizer.ggml.tokens").and_then(Value::as_texts) else {
            return Ok(None);
        };
        Limits::at_most("number of tokens", tokens.len() as u64, TOKENS)?;
        let kinds = match metadata::find(metadata, "tokenizer.ggml.token_type") {
            Some(Value::Array(Array::I32(kinds))) => kinds.clone(),
            Some(Value::Array(Array::U32(kinds))) => kinds.iter().map(|&kind| kind as i32).collect(),
            _ => vec![NORMAL; tokens.len()],
        };
        if kinds.len() != tokens.len() {
            return Err(broken(format!("{} tokens have {} kinds", tokens.len(), kinds.len())));
        }
        Ok(Some(Self { metadata, tokens, kinds }))
    }

    /// Tokens with numbers and kinds, those of no word left out.
    fn used(&self) -> impl Iterator<Item = (u32, &'a str, i32)> {
        let all = (0u32..).zip(self.tokens).zip(&self.kinds);
        all.map(|((id, text), kind)| (id, text.as_str(), *kind)).filter(|(_, _, kind)| *kind != UNUSED)
    }

    fn flag(&self, key: &str) -> Option<bool> {
        metadata::find(self.metadata, &format!("tokenizer.ggml.{key}")).and_then(Value::as_bool)
    }

    /// The text of a special token.
    fn special(&self, key: &str) -> Option<(u32, &'a str)> {
        let id = metadata::find(self.metadata, &format!("tokenizer.ggml.{key}")).and_then(Value::as_u64)?;
        let text = self.tokens.get(usize::try_from(id).ok()?)?;
        Some((u32::try_from(id).ok()?, text.as_str()))
    }

    /// The words with their numbers, as `write` spells them.
    fn words(&self, write: impl Fn(&str, i32) -> String) -> Map<String, Json> {
        self.used().map(|(id, text, kind)| (write(text, kind), id.into())).collect()
    }

    /// The tokens that are looked for in the text itself, as `write` spells them.
    fn added(&self, write: impl Fn(&str, i32) -> String) -> Vec<Json> {
        let is_mark = |kind: i32| matches!(kind, CONTROL | UNKNOWN);
        let added = self.used().filter(|(_, _, kind)| is_mark(*kind) || *kind == USER_DEFINED);
        added
            .map(|(id, text, kind)| {
                json!({
                    "id": id, "content": write(text, kind), "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": is_mark(kind),
                })
            })
            .collect()
    }

    /// The marks that stand around a text.
    fn template(&self, begins: bool, ends: bool) -> Json {
        let first = self.special("bos_token_id").filter(|_| begins);
        let last = self.special("eos_token_id").filter(|_| ends);
        if first.is_none() && last.is_none() {
            return Json::Null;
        }
        let mark = |mark: Option<(u32, &str)>, part: u32| {
            mark.map(|(_, text)| json!({"SpecialToken": {"id": text, "type_id": part}}))
        };
        let sequence = |name: &str, part: u32| Some(json!({"Sequence": {"id": name, "type_id": part}}));
        let single: Vec<Json> = [mark(first, 0), sequence("A", 0), mark(last, 0)].into_iter().flatten().collect();
        // Encoders have one mark in front, decoders one in front of each part.
        let again = mark(first.filter(|_| last.is_none()), 1);
        let second = [again, sequence("B", 1), mark(last, 1)].into_iter().flatten();
        let pair: Vec<Json> = single.iter().cloned().chain(second).collect();
        let marks = [first, last].into_iter().flatten();
        let marks: Map<String, Json> =
            marks.map(|(id, text)| (text.to_owned(), json!({"id": text, "ids": [id], "tokens": [text]}))).collect();
        json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": marks})
    }

    fn whole(&self, normalizer: Json, split: Json, template: Json, decoder: Json, model: Json) -> Json {
        let bert = model.get("type").and_then(Json::as_str) == Some("WordPiece");
        let spell: fn(&str, i32) -> String = if bert { word_piece } else { |text, _| text.to_owned() };
        let added = self.added(spell);
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": normalizer, "pre_tokenizer": split, "post_processor": template, "decoder": decoder,
            "model": model,
        })
    }

    fn gpt2(&self, pre: &str, notes: &mut Vec<String>) -> Result<Option<Json>, FormatError> {
        let Some(steps) = pre::expression(pre) else {
            let pre = short(pre);
            notes.push(format!("how `{pre}` splits text is not known here; take the tokenizer of the original"));
            return Ok(None);
        };
        let merges = metadata::find(self.metadata, "tokenizer.ggml.merges").and_then(Value::as_texts);
        let merges: Option<Vec<Json>> = merges
            .unwrap_or_default()
            .iter()
            .map(|merge| merge.split_once(' ').map(|(left, right)| json!([left, right])))
            .collect();
        let merges = merges.ok_or_else(|| broken("a merge is not two tokens"))?;
        let steps: Vec<Json> = steps.iter().map(|step| pre::to_json(step)).collect();
        let split = match steps.as_slice() {
            [one] => one.clone(),
            steps => json!({"type": "Sequence", "pretokenizers": steps}),
        };
        let whole_words = matches!(pre, "llama-bpe" | "llama3" | "llama-v3" | "tekken");
        let model = json!({
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": whole_words,
            "vocab": self.words(|text, _| text.to_owned()), "merges": merges,
        });
        // The loader's own mind, where the file says nothing.
        let begins = self.flag("add_bos_token").unwrap_or(whole_words);
        let template = self.template(begins, self.flag("add_eos_token").unwrap_or(false));
        let decoder = json!({
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
        });
        Ok(Some(self.whole(Json::Null, split, template, decoder, model)))
    }

    fn llama(&self) -> Result<Json, FormatError> {
        let unknown = self.special("unknown_token_id").or_else(|| {
            let (id, text, _) = self.used().find(|(_, _, kind)| *kind == UNKNOWN)?;
            Some((id, text))
        });
        let merges = self.merges()?;
        let model = json!({
            "type": "BPE", "dropout": null, "unk_token": unknown.map(|(_, text)| text),
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
            "byte_fallback": self.kinds.contains(&BYTE), "ignore_merges": false,
            "vocab": self.words(|text, _| text.to_owned()), "merges": merges,
        });
        let prefix = self.flag("add_space_prefix").unwrap_or(true);
        let space = SPACE.to_string();
        let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": space});
        let prepend = json!({"type": "Prepend", "prepend": space});
        let steps = if prefix { vec![prepend, replace] } else { vec![replace] };
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": space}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if prefix {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        let template =
            self.template(self.flag("add_bos_token").unwrap_or(true), self.flag("add_eos_token").unwrap_or(false));
        let normalizer = json!({"type": "Sequence", "normalizers": steps});
        let decoder = json!({"type": "Sequence", "decoders": decoders});
        Ok(self.whole(normalizer, Json::Null, template, decoder, model))
    }

    /// Merges in the order of the scores: every way of putting a piece together from two.
    fn merges(&self) -> Result<Vec<Json>, FormatError> {
        let scores = match metadata::find(self.metadata, "tokenizer.ggml.scores") {
            Some(Value::Array(Array::F32(scores))) if scores.len() == self.tokens.len() => scores,
            _ => return Err(broken("the tokens have no scores")),
        };
        let pieces: HashMap<&str, u32> =
            self.used().filter(|(_, _, kind)| *kind == NORMAL).map(|(id, text, _)| (text, id)).collect();
        let mut found: Vec<(f32, u32, u32, u32)> = Vec::new();
        for (id, text, kind) in self.used() {
            if kind != NORMAL || text.chars().count() > PIECE {
                continue;
            }
            let score = scores.get(id as usize).copied().unwrap_or_default();
            for (at, _) in text.char_indices().skip(1) {
                let Some((left, right)) = text.split_at_checked(at) else { continue };
                if let (Some(&left), Some(&right)) = (pieces.get(left), pieces.get(right)) {
                    found.push((score, id, left, right));
                }
            }
            Limits::at_most("number of merges", found.len() as u64, MERGES as u64)?;
        }
        // The best piece first; its ways by the numbers of their parts.
        found.sort_by(|one, other| {
            other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)).then((one.2, one.3).cmp(&(other.2, other.3)))
        });
        let text = |id: u32| self.tokens.get(id as usize).map_or("", String::as_str);
        Ok(found.into_iter().map(|(_, _, left, right)| json!([text(left), text(right)])).collect())
    }

    fn bert(&self) -> Json {
        let words = self.words(word_piece);
        let unknown = self.special("unknown_token_id").map_or("[UNK]", |(_, text)| text);
        let model = json!({
            "type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": words,
        });
        let normalizer = json!({
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": true,
        });
        let decoder = json!({"type": "WordPiece", "prefix": "##", "cleanup": true});
        self.whole(normalizer, json!({"type": "BertPreTokenizer"}), self.template(true, true), decoder, model)
    }

    fn settings(&self, model: &str) -> Json {
        let mut out = Map::new();
        out.insert("tokenizer_class".to_owned(), "PreTrainedTokenizerFast".into());
        for (word, key) in special::TOKENS {
            // An encoder's first and last mark have names of their own.
            let word = match (model, *word) {
                ("bert", "bos") => "cls",
                ("bert", "eos") => "sep",
                (_, word) => word,
            };
            if let Some((_, text)) = self.special(key) {
                out.insert(format!("{word}_token"), text.into());
            }
        }
        if let Some(template) = metadata::find(self.metadata, "tokenizer.chat_template").and_then(Value::as_text) {
            out.insert("chat_template".to_owned(), template.into());
        }
        Json::Object(out)
    }
}
