//! Entries of the metadata, one after the other.

use crate::error::FormatError;
use crate::gguf::families::settings::broken;
use crate::gguf::metadata::{Array, Entries, Value};

/// Entries under the prefix of an architecture. A key that is there already keeps its first value.
pub(super) struct Keys {
    prefix: &'static str,
    pub(super) entries: Entries,
}

impl Keys {
    pub(super) const fn new(prefix: &'static str) -> Self {
        Self { prefix, entries: Vec::new() }
    }

    /// An entry under its whole key.
    pub(super) fn whole(&mut self, key: impl Into<String>, value: Value) {
        let key = key.into();
        if !self.entries.iter().any(|(known, _)| *known == key) {
            self.entries.push((key, value));
        }
    }

    pub(super) fn put(&mut self, key: &str, value: Value) {
        self.whole(format!("{}.{key}", self.prefix), value);
    }

    /// A size; the loader reads 32 bits.
    pub(super) fn count(&mut self, key: &str, count: u64) -> Result<(), FormatError> {
        let count = u32::try_from(count).map_err(|_| broken(format!("{count} is too large for `{key}`")))?;
        self.put(key, Value::U32(count));
        Ok(())
    }

    pub(super) fn float(&mut self, key: &str, number: f64) {
        self.put(key, Value::F32(number as f32));
    }

    pub(super) fn flag(&mut self, key: &str, value: bool) {
        self.put(key, Value::Bool(value));
    }

    pub(super) fn text(&mut self, key: &str, text: &str) {
        self.put(key, Value::text(text));
    }

    /// Texts under a whole key; nothing for none, as the reference writer has it.
    pub(super) fn texts(&mut self, key: &str, texts: Vec<String>) {
        if !texts.is_empty() {
            self.whole(key, Value::Array(Array::Text(texts)));
        }
    }
}
