//! Templates of conversations.

use serde_json::Value as Json;

use crate::error::FormatError;
use crate::gguf::families::Files;
use crate::gguf::metadata::{Entries, Value};
use crate::gguf::tokenizer::texts;

/// Longest template in bytes, and most of them.
const BYTES: usize = 1 << 20;
const COUNT: usize = 32;

/// The templates of a model: the first one, and others with names.
pub(super) fn entries(files: &Files, notes: &mut Vec<String>) -> Result<Entries, FormatError> {
    let mut default = files.text("chat_template.jinja")?.map(str::to_owned);
    let mut named: Vec<(String, String)> = Vec::new();
    for file in ["tokenizer_config.json", "chat_template.json"] {
        let said = files.json(file)?;
        match said.as_ref().and_then(|said| said.get("chat_template")) {
            Some(Json::String(text)) if default.is_none() => default = Some(text.clone()),
            Some(Json::Array(list)) => {
                for entry in list.iter().take(COUNT) {
                    let text = |key: &str| entry.get(key).and_then(Json::as_str).map(str::to_owned);
                    match (text("name"), text("template")) {
                        (Some(name), Some(template)) if name == "default" => {
                            default.get_or_insert(template);
                        }
                        (Some(name), Some(template)) => named.push((name, template)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    let mut names = Vec::new();
    for (name, template) in named {
        let usable = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let fits = !name.is_empty() && name.len() <= 64 && name.bytes().all(usable) && template.len() <= BYTES;
        if !fits || names.contains(&name) {
            notes.push(
                "a template of conversations has a name or a length that GGUF cannot hold, and is left out".to_owned(),
            );
            continue;
        }
        out.push((format!("tokenizer.chat_template.{name}"), Value::Text(template)));
        names.push(name);
    }
    if !names.is_empty() {
        out.insert(0, ("tokenizer.chat_templates".to_owned(), texts(names)));
    }
    match default {
        Some(template) if template.len() > BYTES => {
            notes.push(format!("the template of conversations has {} bytes, and is left out", template.len()));
        }
        Some(template) if !template.is_empty() => {
            out.push(("tokenizer.chat_template".to_owned(), Value::Text(template)))
        }
        _ => {}
    }
    Ok(out)
}
