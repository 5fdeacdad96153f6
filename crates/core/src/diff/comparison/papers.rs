//! What changed beside the weights: configuration and tokenizer.

use serde_json::Value;

/// Differences of two configurations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigChanges {
    /// What was compared: `config` when both sides have one of the same kind, `sizes` when only those have the same words.
    pub of: &'static str,
    /// One entry for each key.
    pub changes: Vec<ConfigChange>,
}

/// A key of a configuration whose value differs.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigChange {
    /// Keys from the outside in, with `.` between them.
    pub key: String,
    /// Value on the first side; `None` when it is not there.
    pub a: Option<Value>,
    /// Value on the second side.
    pub b: Option<Value>,
}

/// Differences of two tokenizers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenizerChange {
    /// Tokens on the first side; `None` when it has no tokenizer, or does not say.
    pub size_a: Option<u64>,
    /// Tokens on the second side.
    pub size_b: Option<u64>,
    /// Tokens that are only on the second side.
    pub added: u64,
    /// Some of them.
    pub added_examples: Vec<String>,
    /// Tokens that are only on the first side.
    pub removed: u64,
    /// Some of them.
    pub removed_examples: Vec<String>,
    /// Tokens with another number.
    pub moved: u64,
    /// Whether both sides list their tokens, so that they could be compared.
    pub compared: bool,
    /// Whether the merges differ; `None` when a side lists none.
    pub merges_changed: Option<bool>,
    /// Special tokens that differ.
    pub special: Vec<ConfigChange>,
    /// Whether the templates of chats differ; `None` when neither side has one.
    pub chat_template_changed: Option<bool>,
}

impl TokenizerChange {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.size_a == self.size_b
            && self.added + self.removed + self.moved == 0
            && self.merges_changed != Some(true)
            && self.special.is_empty()
            && self.chat_template_changed != Some(true)
    }
}
