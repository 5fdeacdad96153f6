//! `general.*`: what a person wants to know of a model, from its card.

use serde_json::Value as Json;

use crate::error::FormatError;
use crate::gguf::families::files::Files;
use crate::gguf::families::keys::Keys;
use crate::gguf::metadata::Value;
use crate::output::OutputTensor;
use crate::yaml;

/// Most tags, languages, base models or data sets that are taken from a card.
const LISTED: usize = 64;

/// Longest text that is taken from a card, in bytes.
const TEXT_BYTES: usize = 1024;

/// Writes name, size, licence and ancestry. A card that cannot be read is a note, not an error: it is no part of the model.
pub(super) fn keys(
    keys: &mut Keys,
    name: Option<&str>,
    files: &Files,
    tensors: &[OutputTensor],
    experts: u64,
    notes: &mut Vec<String>,
) -> Result<(), FormatError> {
    let card = match card(files) {
        Ok(card) => card,
        Err(error) => {
            notes.push(format!("the card gives no licence and no ancestry: {error}"));
            None
        }
    };
    let text = |key: &str| card.as_ref().and_then(|card| card.get(key)).and_then(short);
    if let Some(name) = name.map(str::to_owned).or_else(|| text("model_name")).filter(|name| !name.is_empty()) {
        keys.whole("general.name", Value::Text(name));
    }
    keys.whole("general.size_label", Value::Text(size_label(tensors, experts)));
    for (key, word) in [
        ("general.license", "license"),
        ("general.license.name", "license_name"),
        ("general.license.link", "license_link"),
    ] {
        // A card may give several licences.
        let value = card.as_ref().and_then(|card| card.get(word));
        let joined = value.map(|value| list(value).join(",")).filter(|text| !text.is_empty());
        if let Some(text) = joined {
            keys.whole(key, Value::Text(text));
        }
    }
    for (word, kind) in [("base_model", "base_model"), ("datasets", "dataset")] {
        let ids = card.as_ref().and_then(|card| card.get(word)).map(list).unwrap_or_default();
        ancestors(keys, kind, &ids);
    }
    let listed = |words: [&str; 2]| {
        let card = card.as_ref();
        words.iter().filter_map(|word| card?.get(*word)).flat_map(list).collect::<Vec<String>>()
    };
    keys.texts("general.tags", listed(["tags", "pipeline_tag"]));
    keys.texts("general.languages", listed(["languages", "language"]));
    Ok(())
}

/// Repositories that this one comes from: names as they stand in the card, so that they lead back to it.
fn ancestors(keys: &mut Keys, kind: &str, ids: &[String]) {
    if ids.is_empty() {
        return;
    }
    keys.whole(format!("general.{kind}.count"), Value::U32(ids.len() as u32));
    let place = if kind == "dataset" { "datasets/" } else { "" };
    for (number, id) in ids.iter().enumerate() {
        let mut put = |key: &str, text: &str| {
            keys.whole(format!("general.{kind}.{number}.{key}"), Value::text(text));
        };
        match id.split_once('/') {
            Some((organization, name)) if is_part(organization) && is_part(name) => {
                put("name", name);
                put("organization", organization);
                put("repo_url", &format!("https://huggingface.co/{place}{id}"));
            }
            _ => put("name", id),
        }
    }
}

fn is_part(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The head of the card.
fn card(files: &Files) -> Result<Option<Json>, FormatError> {
    let Some(text) = files.text("README.md")? else { return Ok(None) };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let body = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n"));
    let Some((head, _)) = body.and_then(|body| body.split_once("\n---")) else { return Ok(None) };
    yaml::read("card", head).map(Some)
}

/// A text of the card, if it is of reasonable length.
fn short(value: &Json) -> Option<String> {
    value.as_str().filter(|text| text.len() <= TEXT_BYTES).map(str::to_owned)
}

/// One text or several.
fn list(value: &Json) -> Vec<String> {
    match value {
        Json::Array(values) => values.iter().take(LISTED).filter_map(short).collect(),
        value => short(value).into_iter().collect(),
    }
}

/// Number of parameters in few characters, such as `135M` or `8x7B`.
fn size_label(tensors: &[OutputTensor], experts: u64) -> String {
    let mut total = 0u64;
    for tensor in tensors {
        let elements = tensor.elements();
        let stacked = experts > 0 && tensor.name.contains("_exps.");
        total = total.saturating_add(if stacked { elements / experts } else { elements });
    }
    let scaled = [(1e12, "T"), (1e9, "B"), (1e6, "M")].into_iter().find(|(unit, _)| total as f64 > *unit);
    let (unit, suffix) = scaled.unwrap_or((1e3, "K"));
    let number = total as f64 / unit;
    let decimals = match number.round_ties_even() as u64 {
        0 => 2,
        1..=9 => 1,
        _ => 0,
    };
    let size = format!("{number:.decimals$}{suffix}");
    if experts > 0 { format!("{experts}x{size}") } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::metadata::find;

    fn of(card: &str) -> (Keys, Vec<String>) {
        let mut files = Files::default();
        files.insert("README.md", card);
        let (mut out, mut notes) = (Keys::new("llama"), Vec::new());
        keys(&mut out, None, &files, &[], 0, &mut notes).unwrap();
        (out, notes)
    }

    #[test]
    fn a_card_gives_licence_and_ancestry() {
        let card = "---\nlicense: apache-2.0\nbase_model: [a/b, c]\ndatasets: d/e\ntags: [x]\nlanguage: de\n---\n# M\n";
        let (keys, notes) = of(card);
        let text = |key: &str| find(&keys.entries, key).and_then(Value::as_text);
        assert_eq!(text("general.license"), Some("apache-2.0"));
        assert_eq!(find(&keys.entries, "general.base_model.count"), Some(&Value::U32(2)));
        assert_eq!(
            (text("general.base_model.0.name"), text("general.base_model.0.organization")),
            (Some("b"), Some("a"))
        );
        assert_eq!((text("general.base_model.1.name"), text("general.base_model.1.repo_url")), (Some("c"), None));
        assert_eq!(text("general.dataset.0.repo_url"), Some("https://huggingface.co/datasets/d/e"));
        assert_eq!(find(&keys.entries, "general.languages").and_then(Value::as_texts), Some(&["de".to_owned()][..]));
        assert!(notes.is_empty());
    }

    #[test]
    fn a_hostile_card_costs_a_note() {
        let (keys, notes) = of(&format!("---\nlicense: [{}\n---\n", "[".repeat(100_000)));
        assert!(find(&keys.entries, "general.license").is_none());
        assert_eq!(notes.len(), 1);
        let (keys, _) = of(&format!("---\nlicense: {}\nbase_model: https://x/../y z\n---\n", "x".repeat(5000)));
        assert!(find(&keys.entries, "general.license").is_none());
        assert!(find(&keys.entries, "general.base_model.0.repo_url").is_none());
    }
}
