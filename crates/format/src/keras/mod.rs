//! Keras checkpoints: `.h5`, `.weights.h5`, `.keras`.

use serde_json::Value as Json;

use crate::contents::Contents;

pub(crate) fn scan(_config: &Json, _file: &str, _contents: &mut Contents) {}
