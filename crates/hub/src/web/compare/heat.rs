//! Layers and their modules as a table whose colours say how much changed.

use serde_json::Value;

use crate::web::inside::{name, number};

/// Cells of one page.
const MAX_CELLS: usize = 20_000;
/// Columns of one table.
const MAX_MODULES: usize = 60;

/// A stack of layers.
pub(super) struct Heat {
    pub stack: String,
    pub modules: Vec<String>,
    pub rows: Vec<HeatRow>,
    /// Layers that are not shown.
    pub more: usize,
}

pub(super) struct HeatRow {
    pub layer: String,
    pub cells: Vec<HeatCell>,
}

/// What became of a module.
pub(super) struct HeatCell {
    /// How dark it is, 0 to 9.
    pub step: u8,
    pub text: String,
    pub title: String,
}

/// The tables of a document.
pub(super) fn tables(document: &Value) -> Vec<Heat> {
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut left = MAX_CELLS;
    let mut found = Vec::new();
    for table in list(document, "tables") {
        let modules: Vec<String> = list(&table, "modules")
            .iter()
            .take(MAX_MODULES)
            .map(|module| name(module.as_str().unwrap_or_default()))
            .collect();
        let (layers, cells) = (list(&table, "layers"), list(&table, "cells"));
        let shown = layers.len().min(left / modules.len().max(1));
        left -= shown * modules.len();
        let rows = layers.iter().zip(&cells).take(shown).map(|(layer, row)| HeatRow {
            // The last row of a very deep stack takes what does not fit.
            layer: layer
                .as_u64()
                .filter(|&layer| layer < u64::MAX)
                .map_or_else(|| "…".to_owned(), |layer| layer.to_string()),
            cells: row.as_array().into_iter().flatten().take(modules.len()).map(cell).collect(),
        });
        found.push(Heat {
            stack: name(table.get("stack").and_then(Value::as_str).unwrap_or_default().trim_end_matches(['.', '/'])),
            rows: rows.collect(),
            more: layers.len() - shown,
            modules,
        });
    }
    found
}

/// A cell, or what there is in its place where a layer lacks the module.
pub(super) fn cell(value: &Value) -> HeatCell {
    if value.is_null() {
        return HeatCell { step: 0, text: String::new(), title: "there is no such module".to_owned() };
    }
    let count = |key: &str| value.get(key).and_then(Value::as_u64).unwrap_or(0);
    let (elements, changed) = (count("elements"), count("changed"));
    let relative = value.get("relative").and_then(Value::as_f64);
    let mut words = Vec::new();
    for (key, word) in
        [("added", "only in B"), ("removed", "only in A"), ("encoded", "re-encoded"), ("other", "not comparable")]
    {
        if count(key) > 0 {
            words.push(format!("{} {word}", count(key)));
        }
    }
    let (step, text) = match relative {
        _ if count("added") == count("tensors") && count("added") > 0 => (9, "new".to_owned()),
        _ if count("removed") == count("tensors") && count("removed") > 0 => (9, "gone".to_owned()),
        Some(relative) if changed > 0 => (step(relative), number(relative)),
        None if changed > 0 => (9, "≠".to_owned()),
        _ if count("added") + count("removed") + count("other") > 0 => (9, "≠".to_owned()),
        _ if count("encoded") > 0 => (1, "≈".to_owned()),
        _ => (0, "=".to_owned()),
    };
    if changed > 0 {
        let share = 100.0 * changed as f64 / elements.max(1) as f64;
        words.insert(0, format!("{} % of {elements} elements changed", number((share * 10.0).round() / 10.0)));
    } else if words.is_empty() {
        words.push("equal".to_owned());
    }
    HeatCell { step, text, title: words.join(", ") }
}

/// From a hundred-thousandth to one, by the logarithm.
fn step(relative: f64) -> u8 {
    if relative <= 0.0 {
        return 1;
    }
    let step = (1.0 + (relative.log10() + 5.0) / 5.0 * 8.0).round().clamp(1.0, 9.0);
    step as u8
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_says_in_words_what_its_colour_says() {
        let of = |value: Value| {
            let cell = cell(&value);
            (cell.step, cell.text, cell.title)
        };
        let base = |changed: u64, relative: f64| json!({"tensors": 2, "elements": 1000, "changed": changed, "relative": relative});
        assert_eq!(of(base(0, 0.0)), (0, "=".to_owned(), "equal".to_owned()));
        assert_eq!(of(base(10, 0.01)), (6, "0.010000".to_owned(), "1 % of 1000 elements changed".to_owned()));
        assert_eq!(of(base(1000, 1.0)).0, 9);
        assert_eq!(of(json!({"tensors": 1, "elements": 1, "changed": 1, "relative": null})).1, "≠");
        assert_eq!(of(json!({"tensors": 2, "added": 2})), (9, "new".to_owned(), "2 only in B".to_owned()));
        assert_eq!(of(json!({"tensors": 2, "encoded": 2})).1, "≈");
        assert_eq!(of(Value::Null).1, "");
    }
}
