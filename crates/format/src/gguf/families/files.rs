//! The small files beside the weights that a conversion reads.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::Folder;

/// Files that are asked for, where they are there.
pub const NAMES: &[&str] = &[
    "README.md",
    "1_Pooling/config.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
];

/// Files by their path below the model's folder.
#[derive(Clone, Debug, Default)]
pub struct Files {
    bytes: BTreeMap<String, Vec<u8>>,
}

impl Files {
    /// Reads those of [`NAMES`] that lie in `folder` under `prefix`, which is empty or ends with `/`.
    ///
    /// # Errors
    /// [`FormatError::TooLarge`] for a file above `limits.text_bytes`, with its name; what reading says.
    pub fn read(folder: &dyn Folder, prefix: &str, limits: &Limits) -> Result<Self, FormatError> {
        let mut files = Self::default();
        for name in NAMES {
            let path = format!("{prefix}{name}");
            if folder.has(&path) {
                let section = folder.open(&path)?;
                let read = Limits::at_most("a file beside the weights in bytes", section.len(), limits.text_bytes)
                    .and_then(|()| section.read("file beside the weights", 0, section.len()));
                files.insert(*name, read.map_err(|error| error.in_file(&path))?);
            }
        }
        Ok(files)
    }

    /// Adds a file.
    pub fn insert(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.bytes.insert(name.into(), bytes.into());
    }

    /// Whether a file is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.bytes.contains_key(name)
    }

    /// A file's bytes.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.bytes.get(name).map(Vec::as_slice)
    }

    /// A file's text.
    ///
    /// # Errors
    /// [`FormatError::Broken`] when it is not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&str>, FormatError> {
        let Some(bytes) = self.bytes(name) else { return Ok(None) };
        std::str::from_utf8(bytes).map(Some).map_err(|error| {
            let at = error.valid_up_to() as u64;
            FormatError::Broken { what: "text", at, detail: "it is not UTF-8".to_owned() }.in_file(name)
        })
    }

    /// A file's object.
    ///
    /// # Errors
    /// [`FormatError::Json`] when it is none.
    pub fn json(&self, name: &str) -> Result<Option<Map<String, Value>>, FormatError> {
        let Some(bytes) = self.bytes(name) else { return Ok(None) };
        let read = serde_json::from_slice(bytes);
        read.map(Some).map_err(|source| FormatError::Json { what: "file beside the weights", source }.in_file(name))
    }
}
