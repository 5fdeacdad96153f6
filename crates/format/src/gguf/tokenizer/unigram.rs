//! Unigram models: words with scores, and a compiled table that normalises text.

use serde_json::Value as Json;

use crate::error::FormatError;
use crate::gguf::metadata::{Array, Value};
use crate::gguf::tokenizer::json::{Tokenizer, Vocab, kind};
use crate::gguf::tokenizer::vocabulary::{Slots, Vocabulary, added, flag, key, sentencepiece_kind, space_prefix};
use crate::gguf::tokenizer::{Ask, broken};

/// The vocabulary of a Unigram model in a `tokenizer.json`.
pub(super) fn of_json(
    tokenizer: &Tokenizer,
    ask: &Ask<'_>,
    notes: &mut Vec<String>,
) -> Result<Vocabulary, FormatError> {
    let Vocab::Scores(words) = &tokenizer.model.vocab else {
        return Err(broken("words of a Unigram model have numbers, not scores"));
    };
    let unknown = tokenizer.model.unk_id.and_then(|id| words.get(usize::try_from(id).ok()?));
    let unknown = unknown.map(|(text, _)| &**text);
    let bytes = tokenizer.model.byte_fallback == Some(true);
    let mut slots = Slots::new(ask.rows);
    let mut scores = vec![-10_000.0; slots.len()];
    for (id, (text, score)) in words.iter().enumerate() {
        if !score.is_finite() {
            return Err(broken(format!("the score of token {id} is no number")));
        }
        let kind = sentencepiece_kind(text, unknown);
        // Without fallback, what looks like a byte is a word.
        let kind = if kind == super::vocabulary::BYTE && !bytes { super::vocabulary::NORMAL } else { kind };
        slots.put(id as u64, text, kind)?;
        if let Some(slot) = scores.get_mut(id) {
            *slot = *score as f32;
        }
    }
    added(tokenizer, &mut slots, unknown, notes);
    let steps = Tokenizer::steps(&tokenizer.normalizer);
    let mut extra = vec![
        flag("add_space_prefix", space_prefix(tokenizer, ask)?),
        flag("remove_extra_whitespaces", steps.iter().any(|step| squeezes(step))),
    ];
    let table = steps.iter().find_map(|step| step.get("precompiled_charsmap")?.as_str());
    if let Some(table) = table.filter(|table| !table.is_empty()) {
        let bytes = base64(table).ok_or_else(|| broken("`precompiled_charsmap` is not base64"))?;
        extra.push((key("precompiled_charsmap"), Value::Array(Array::U8(bytes))));
    }
    let pre = ask.pre.unwrap_or("default").to_owned();
    Ok(Vocabulary { model: "t5", pre, slots, scores: Some(scores), merges: Vec::new(), extra })
}

/// Whether a step makes one space of several.
fn squeezes(step: &Json) -> bool {
    let pattern = step.get("pattern").and_then(|pattern| pattern.get("Regex")).and_then(Json::as_str);
    kind(step) == "Replace" && pattern.is_some_and(|pattern| [" {2,}", " +", r"\s+"].contains(&pattern))
}

/// Bytes of base64, padded or not.
fn base64(text: &str) -> Option<Vec<u8>> {
    crate::base64::decode(text.trim_end_matches('='), |_| false)
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_read_with_and_without_padding() {
        assert_eq!(base64("aGVsbG8=").unwrap(), b"hello");
        assert_eq!(base64("aGVsbG8").unwrap(), b"hello");
        assert_eq!(base64("+/+/").unwrap(), [0xfb, 0xff, 0xbf]);
        assert_eq!(base64("").unwrap(), b"");
        assert_eq!(base64("a b"), None);
    }
}
