//! What the README of a repository says: a block of YAML at its top, then Markdown.
//!
//! A card comes from strangers. The YAML is read under a budget of bytes, nodes, depth and alias replays, so that a
//! hostile one costs milliseconds and is answered with the line it fails on. Custom tags and duplicate keys are
//! refused; words such as `no` and `2024-01-01` stay text, as YAML 1.2 has it (the language tag of Norwegian is `no`).

mod split;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};
use serde_saphyr::options::NonFiniteFloatPolicy;

use self::split::Front;
use crate::Error;

/// Path of the card in a repository.
pub const CARD_PATH: &str = "README.md";
/// Longest block of YAML, in bytes; evaluation results of large benchmarks reach a few hundred KiB.
pub const MAX_YAML_BYTES: usize = 1 << 20;

/// What a card without metadata is told.
const MISSING: &str = "empty or missing yaml metadata in repo card";
/// What YAML beyond the budget is told.
const TOO_MUCH: &str = "the yaml metadata is longer, deeper or repeats itself more than a card may";
/// Fields that hold one text or a list of texts.
const TEXT_OR_LIST: &[&str] =
    &["base_model", "datasets", "language", "library_name", "license", "metrics", "pipeline_tag", "tags"];
/// Fields that hold a list, and whose entries are objects.
const LISTS: &[&str] = &["model-index", "dataset_info"];

/// A remark on a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What is wrong, and where it helps what to do.
    pub message: String,
    /// Line of the README, from 1.
    pub line: Option<u64>,
}

/// Remarks on a card. One with errors must not enter a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validation {
    /// What makes it unreadable.
    pub errors: Vec<Note>,
    /// What is allowed but not well.
    pub warnings: Vec<Note>,
}

/// A README taken apart. What cannot be read is missing, and [`Card::validation`] says why.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Card<'a> {
    /// The YAML as JSON.
    pub data: Map<String, Value>,
    /// The Markdown after it.
    pub body: &'a str,
    /// Remarks on the YAML.
    pub validation: Validation,
}

impl<'a> Card<'a> {
    /// Takes a README apart. Never fails, and takes time in proportion to the text.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        let Front { yaml, body, first_line } = split::front(text);
        let mut card = Self { body, ..Self::default() };
        let Some(yaml) = yaml else {
            card.warn(MISSING, None);
            return card;
        };
        match read(yaml, first_line) {
            Ok(Value::Object(data)) if !data.is_empty() => card.data = data,
            Ok(Value::Object(_) | Value::Null) => card.warn(MISSING, None),
            Ok(other) => {
                let message = format!("the yaml metadata must be an object of fields, not {}", kind_of(&other));
                card.validation.errors.push(Note { message, line: Some(first_line) });
            }
            Err(note) => card.validation.errors.push(note),
        }
        card.check_fields(yaml, first_line);
        card
    }

    /// Texts of a field that holds one or a list of them; numbers count as texts.
    #[must_use]
    pub fn texts(&self, field: &str) -> Vec<String> {
        texts(self.data.get(field))
    }

    fn check_fields(&mut self, yaml: &str, first_line: u64) {
        let line_of = |field| split::line_of(yaml, field).map(|line| line + first_line);
        for &field in LISTS {
            let wrong = match self.data.get(field) {
                None | Some(Value::Null) => continue,
                Some(Value::Object(_)) if field == "dataset_info" => continue,
                Some(Value::Array(list)) => list.iter().any(|item| !item.is_object()).then_some("a list of objects"),
                Some(_) => Some("a list"),
            };
            if let Some(wanted) = wrong {
                let message = format!("\"{field}\" must be {wanted}");
                self.validation.errors.push(Note { message, line: line_of(field) });
            }
        }
        for &field in TEXT_OR_LIST {
            let text = |value: &Value| matches!(value, Value::String(_) | Value::Number(_));
            let good = match self.data.get(field) {
                None | Some(Value::Null) => true,
                Some(Value::Array(list)) => list.iter().all(text),
                Some(value) => text(value),
            };
            if !good {
                self.warn(&format!("\"{field}\" should be a text or a list of texts"), line_of(field));
            }
        }
    }

    fn warn(&mut self, message: &str, line: Option<u64>) {
        self.validation.warnings.push(Note { message: message.to_owned(), line });
    }
}

/// Remarks on the text of a README, as `validate-yaml` gives them.
#[must_use]
pub fn validate(text: &str) -> Validation {
    Card::parse(text).validation
}

/// Refuses a README whose metadata cannot be read.
///
/// # Errors
/// [`Error::Malformed`] with all errors: a summary, a blank line, one line each.
pub fn check(readme: &[u8]) -> Result<(), Error> {
    let errors = validate(&String::from_utf8_lossy(readme)).errors;
    if errors.is_empty() {
        return Ok(());
    }
    let mut text = format!("Invalid metadata in {CARD_PATH}\n");
    for Note { message, line } in errors {
        text += &match line {
            Some(line) => format!("\n- line {line}: {message}"),
            None => format!("\n- {message}"),
        };
    }
    Err(Error::Malformed(text))
}

pub(crate) fn texts(value: Option<&Value>) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(text).collect(),
        Some(value) => text(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// Reads YAML whose first line is the line after `fence_line` of the README.
fn read(yaml: &str, fence_line: u64) -> Result<Value, Note> {
    if yaml.len() > MAX_YAML_BYTES {
        let message = format!("the yaml metadata is longer than {MAX_YAML_BYTES} bytes");
        return Err(Note { message, line: Some(fence_line) });
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 200_000,
            max_nodes: 100_000,
            max_depth: 32,
            flow_nesting_limit: 32,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_recorded_anchor_events: 100_000,
            max_recorded_anchor_bytes: 4 << 20,
            max_merge_keys: 100,
            // Alias replays count as well.
            max_total_scalar_bytes: 2 * MAX_YAML_BYTES,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 50_000,
            max_replay_stack_depth: 8,
        },
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Value>(yaml, options).map_err(|error| {
        let line = error.location().map(|at| at.line()).filter(|&line| line > 0);
        let message = error.without_snippet().to_string();
        // The first line says it; the position in it counts from the block, not from the README.
        let message = message.lines().next().unwrap_or("the yaml metadata cannot be read");
        let message = message.split(" at line ").next().unwrap_or(message);
        let message = match message {
            message if message.starts_with("budget breached") || message.starts_with("alias replay") => TOO_MUCH,
            message => message,
        };
        Note { message: message.chars().take(300).collect(), line: Some(fence_line + line.unwrap_or(1)) }
    })
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
