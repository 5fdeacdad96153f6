//! A model's configuration, asked key by key.

use serde_json::{Map, Value};

use crate::error::FormatError;

/// What errors call it.
pub(super) const WHAT: &str = "config.json";

/// Most blocks of a model; the deepest have some hundreds.
const BLOCKS: u64 = 1 << 13;

/// A `config.json`; what its text part says goes before what the whole says.
#[derive(Clone, Copy)]
pub(super) struct Settings<'a> {
    text: Option<&'a Map<String, Value>>,
    whole: &'a Map<String, Value>,
}

/// Sizes that decide how tensors are laid out, checked against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) blocks: u64,
    pub(super) hidden: u64,
    pub(super) heads: u64,
    pub(super) kv_heads: u64,
    pub(super) head_dim: u64,
    /// 0 for none.
    pub(super) experts: u64,
}

impl<'a> Settings<'a> {
    pub(super) fn new(whole: &'a Map<String, Value>) -> Self {
        Self { text: whole.get("text_config").and_then(Value::as_object), whole }
    }

    /// The first of these keys that is there and not null.
    pub(super) fn find(&self, keys: &[&str]) -> Option<&'a Value> {
        let of =
            |map: &'a Map<String, Value>| keys.iter().find_map(|key| map.get(*key).filter(|value| !value.is_null()));
        self.text.and_then(of).or_else(|| of(self.whole))
    }

    /// A whole number of at most 32 bits.
    pub(super) fn count(&self, keys: &[&str]) -> Result<Option<u64>, FormatError> {
        let Some(value) = self.find(keys) else { return Ok(None) };
        match value.as_u64().filter(|&count| count <= u64::from(u32::MAX)) {
            Some(count) => Ok(Some(count)),
            None => Err(broken(format!("`{}` is `{}`, which is no size", first(keys), short(value)))),
        }
    }

    /// A whole number that must be there, and not be zero.
    pub(super) fn needed(&self, keys: &[&str]) -> Result<u64, FormatError> {
        match self.count(keys)? {
            Some(0) => Err(broken(format!("`{}` is `0`", first(keys)))),
            Some(count) => Ok(count),
            None => Err(missing(first(keys))),
        }
    }

    /// A finite number.
    pub(super) fn float(&self, keys: &[&str]) -> Result<Option<f64>, FormatError> {
        self.find(keys).map(|value| float(first(keys), value)).transpose()
    }

    pub(super) fn flag(&self, keys: &[&str]) -> Option<bool> {
        self.find(keys).and_then(Value::as_bool)
    }

    pub(super) fn text(&self, keys: &[&str]) -> Option<&'a str> {
        self.find(keys).and_then(Value::as_str)
    }

    /// The kind of model: that of the text part, where there is one.
    pub(super) fn model_type(&self) -> Option<&'a str> {
        self.text(&["model_type"])
    }

    /// Whether the head is the embedding; configurations that do not say have `default`.
    pub(super) fn tied(&self, default: bool) -> bool {
        // Models with parts say it of the whole or of the text.
        let of = |map: &Map<String, Value>| map.get("tie_word_embeddings").and_then(Value::as_bool);
        self.text.and_then(of).or_else(|| of(self.whole)).unwrap_or(default)
    }

    /// The sizes; `defaults` are those that the family's configurations may leave out.
    pub(super) fn sizes(&self, defaults: &[(&str, u64)]) -> Result<Sizes, FormatError> {
        let default = |key: &str| defaults.iter().find(|(name, _)| *name == key).map(|(_, size)| *size);
        let size = |keys: &[&str]| match (self.count(keys)?, default(first(keys))) {
            (None, Some(size)) => Ok(size),
            _ => self.needed(keys),
        };
        let blocks = size(&["num_hidden_layers", "n_layer", "n_layers"])?;
        if blocks > BLOCKS {
            return Err(FormatError::TooLarge { what: "number of blocks in config.json", size: blocks, limit: BLOCKS });
        }
        let hidden = size(&["hidden_size", "n_embd"])?;
        let heads = size(&["num_attention_heads", "n_head"])?;
        let kv_heads = match self.count(&["num_key_value_heads"])?.or(default("num_key_value_heads")) {
            Some(0) => return Err(broken("`num_key_value_heads` is `0`")),
            Some(kv_heads) => kv_heads,
            None => heads,
        };
        if !heads.is_multiple_of(kv_heads) {
            return Err(broken(format!(
                "`num_key_value_heads` {kv_heads} does not divide `num_attention_heads` {heads}"
            )));
        }
        let head_dim = match self.count(&["head_dim"])?.or(default("head_dim")) {
            Some(0) => return Err(broken("`head_dim` is `0`")),
            Some(head_dim) => head_dim,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => {
                return Err(broken(format!("`num_attention_heads` {heads} does not divide `hidden_size` {hidden}")));
            }
        };
        let experts = self.count(&["num_local_experts", "num_experts"])?.unwrap_or(0);
        Ok(Sizes { blocks, hidden, heads, kv_heads, head_dim, experts })
    }
}

/// A finite number.
pub(super) fn float(key: &str, value: &Value) -> Result<f64, FormatError> {
    let number = value.as_f64().filter(|number| number.is_finite() && (*number as f32).is_finite());
    number.ok_or_else(|| broken(format!("`{key}` is `{}`, which is no number", short(value))))
}

/// The first of several keys, which stands for all.
fn first<'a>(keys: &[&'a str]) -> &'a str {
    keys.first().copied().unwrap_or_default()
}

pub(super) fn missing(key: &str) -> FormatError {
    broken(format!("`{key}` is missing"))
}

pub(super) fn broken(detail: impl Into<String>) -> FormatError {
    FormatError::Broken { what: WHAT, at: 0, detail: detail.into() }
}

/// A value in few words.
fn short(value: &Value) -> String {
    let text = match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => other.to_string(),
    };
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sizes(config: Value) -> Result<Sizes, String> {
        let config = config.as_object().cloned().unwrap_or_default();
        Settings::new(&config).sizes(&[]).map_err(|error| error.to_string())
    }

    #[test]
    fn sizes_are_read_from_any_spelling_and_from_the_text_part() {
        let gpt2 = sizes(json!({"n_layer": 2, "n_embd": 64, "n_head": 4})).unwrap();
        assert_eq!(gpt2, Sizes { blocks: 2, hidden: 64, heads: 4, kv_heads: 4, head_dim: 16, experts: 0 });
        let text = json!({"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "head_dim": null});
        assert_eq!(sizes(json!({"hidden_size": 99, "text_config": text})).unwrap().head_dim, 4);
    }

    #[test]
    fn sizes_that_cannot_be_are_refused_by_name() {
        let with = |key: &str, value: Value| {
            let mut config = json!({
                "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
            });
            config[key] = value;
            sizes(config).unwrap_err()
        };
        assert_eq!(with("num_attention_heads", json!(0)), "config.json at byte 0: `num_attention_heads` is `0`");
        assert_eq!(with("num_key_value_heads", json!(0)), "config.json at byte 0: `num_key_value_heads` is `0`");
        assert!(with("num_key_value_heads", json!(3)).contains("3 does not divide"));
        assert!(with("num_attention_heads", json!(6)).contains("does not divide"));
        assert!(with("hidden_size", json!("many")).contains("`hidden_size` is `\"many\"`"));
        assert!(with("hidden_size", json!(-4)).contains("no size"));
        assert!(with("hidden_size", json!(1u64 << 40)).contains("no size"));
        assert!(with("num_hidden_layers", json!(4_000_000_000u64)).contains("the limit is 8192"));
        assert_eq!(with("hidden_size", json!(null)), "config.json at byte 0: `hidden_size` is missing");
    }
}
