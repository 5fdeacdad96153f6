//! What an advisory asks of the configurations of a revision.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::version::{Range, Version};

/// Deepest place that a key may name.
const MAX_PARTS: usize = 16;
/// Most values that a list may offer.
const MAX_VALUES: usize = 100;
/// Longest text, in bytes.
const MAX_TEXT: usize = 512;

/// A question about one value of one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Condition {
    /// Path of the JSON file; a name without a slash is found in every folder.
    #[serde(default = "config_json")]
    pub file: String,
    /// Place in it: keys with dots between them, such as `text_config.model_type`. `*` stands for any key or item.
    pub key: String,
    /// What is asked.
    #[serde(flatten)]
    pub test: Test,
}

fn config_json() -> String {
    "config.json".to_owned()
}

/// What is asked of a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Test {
    /// Whether it is there, and not null.
    Exists(bool),
    /// Whether it is this.
    Equals(Value),
    /// Whether it is one of these.
    In(Vec<Value>),
    /// Whether it is a text with this in it.
    Contains(String),
    /// Whether it is a version in this range.
    Version(String),
}

impl Condition {
    /// Says what is wrong with it, before it is believed.
    pub(super) fn check(&self) -> Result<(), String> {
        let plain = |text: &str| text.len() <= MAX_TEXT && !text.is_empty() && !text.contains(char::is_control);
        if !plain(&self.file) || !self.file.ends_with(".json") {
            return Err("`file` names no JSON file".to_owned());
        }
        if !plain(&self.key) || self.key.split('.').count() > MAX_PARTS || self.key.split('.').any(str::is_empty) {
            return Err("`key` is no place in a document".to_owned());
        }
        let scalar = |value: &Value| match value {
            Value::String(text) => text.len() <= MAX_TEXT,
            value => !value.is_object() && !value.is_array(),
        };
        match &self.test {
            Test::Exists(_) => Ok(()),
            Test::Equals(value) if scalar(value) => Ok(()),
            Test::In(values) if values.len() <= MAX_VALUES && values.iter().all(scalar) => Ok(()),
            Test::Contains(text) if plain(text) => Ok(()),
            Test::Version(text) => text.parse::<Range>().map(drop),
            _ => Err("a value to compare with is no plain value, or too long".to_owned()),
        }
    }

    /// Whether a file of a revision is one that this asks about.
    #[must_use]
    pub fn concerns(&self, path: &str) -> bool {
        match self.file.contains('/') {
            true => path == self.file,
            false => path.rsplit('/').next() == Some(self.file.as_str()),
        }
    }

    /// Whether a document answers with yes, and with which value.
    #[must_use]
    pub fn holds(&self, document: &Value) -> Option<String> {
        let found = at(document, &self.key);
        match &self.test {
            Test::Exists(false) => found.is_empty().then(|| "nothing".to_owned()),
            Test::Exists(true) => found.first().map(|value| shown(value)),
            Test::Equals(wanted) => found.iter().find(|value| **value == wanted).map(|value| shown(value)),
            Test::In(wanted) => found.iter().find(|value| wanted.contains(value)).map(|value| shown(value)),
            Test::Contains(wanted) => found
                .iter()
                .find(|value| value.as_str().is_some_and(|text| text.contains(wanted.as_str())))
                .map(|value| shown(value)),
            Test::Version(range) => {
                let range: Range = range.parse().ok()?;
                let held = |value: &&&Value| {
                    value
                        .as_str()
                        .and_then(|text| text.parse::<Version>().ok())
                        .is_some_and(|version| range.has(&version))
                };
                found.iter().find(held).map(|value| shown(value))
            }
        }
    }
}

/// Most values that a key with `*` leads to.
const MAX_FOUND: usize = 10_000;

/// The values at a place, without nulls.
fn at<'a>(document: &'a Value, key: &str) -> Vec<&'a Value> {
    let mut found = vec![document];
    for part in key.split('.') {
        let mut next: Vec<&Value> = Vec::new();
        for value in found {
            match value {
                Value::Object(map) if part == "*" => next.extend(map.values().take(MAX_FOUND)),
                Value::Object(map) => next.extend(map.get(part)),
                Value::Array(list) if part == "*" => next.extend(list.iter().take(MAX_FOUND)),
                Value::Array(list) => next.extend(part.parse::<usize>().ok().and_then(|number| list.get(number))),
                _ => {}
            }
            if next.len() >= MAX_FOUND {
                break;
            }
        }
        next.truncate(MAX_FOUND);
        found = next;
    }
    found.retain(|value| !value.is_null());
    found
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        value => value.to_string(),
    };
    let cut: String = text.chars().take(80).collect();
    cut.escape_debug().to_string()
}
