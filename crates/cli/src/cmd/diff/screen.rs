//! The first screen: the verdict, both sides, and what changed beside the weights.

use std::fmt::Write;

use serde_json::Value;
use weighthouse::diff::{Comparison, ConfigChange, SideFacts, TokenizerChange};

use crate::ui;
use crate::words::{count, digits, plain};

/// Keys of a configuration that are shown; the rest is counted.
const MOST: usize = 16;
/// Characters of a value.
const VALUE: usize = 48;

/// The verdict, and facts, one a line.
pub fn first(found: &Comparison, names: [Option<&str>; 3]) -> String {
    let mut out = format!("{}\n\n", plain(&found.verdict.sentence));
    let sides = [("A", Some(&found.a)), ("B", Some(&found.b)), ("C", found.with.as_ref())];
    for ((letter, side), name) in sides.into_iter().zip(names) {
        if let (Some(side), Some(name)) = (side, name) {
            let _ = writeln!(out, "  {letter}  {}: {}", plain(name), of_side(side));
        }
    }
    let _ = writeln!(out);
    let mut row = |label: &str, text: &str| {
        let _ = writeln!(out, "  {label:<14} {text}");
    };
    row("tensors", &tensors(found));
    let changes = &found.config.changes;
    if !changes.is_empty() {
        row("configuration", &plural(changes.len(), "difference"));
        list(&mut row, changes);
    } else if found.config.of == "config" {
        row("configuration", "the same");
    }
    if let Some(tokenizer) = &found.tokenizer {
        for (line, text) in tokens(tokenizer).into_iter().enumerate() {
            row(if line == 0 { "tokenizer" } else { "" }, &text);
        }
        list(&mut row, &tokenizer.special);
    }
    for remark in &found.remarks {
        row("remark", &plain(remark));
    }
    out
}

fn of_side(side: &SideFacts) -> String {
    let formats: Vec<&str> = side.formats.iter().map(|format| format.as_str()).collect();
    let dtypes: Vec<&str> = side.dtypes.iter().take(4).map(|dtype| dtype.as_str()).collect();
    let model = side.class.as_deref().or(side.family.as_deref()).map(|name| format!("{}, ", plain(name)));
    format!(
        "{}{}, {} parameters in {} tensors ({}), {}",
        model.unwrap_or_default(),
        if formats.is_empty() { "no weights".to_owned() } else { formats.join(" ") },
        count(side.parameters),
        digits(side.tensors),
        dtypes.join(", "),
        ui::size(side.size_bytes),
    )
}

fn tensors(found: &Comparison) -> String {
    let totals = &found.totals;
    let parts = [
        (totals.equal, "equal"),
        (totals.encoded, "rounded or quantised"),
        (totals.changed, "changed"),
        (totals.added, "added"),
        (totals.removed, "removed"),
        (totals.tied, "tied"),
        (totals.unread, "not read"),
        (totals.renamed, "renamed"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{} {what}", digits(*number)))
        .collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(" · ") }
}

fn list(row: &mut impl FnMut(&str, &str), changes: &[ConfigChange]) {
    let width = changes.iter().take(MOST).map(|change| plain(&change.key).chars().count()).max().unwrap_or(0).min(40);
    for change in changes.iter().take(MOST) {
        let key = plain(&change.key);
        row("", &format!("  {key:<width$}  {} → {}", value(change.a.as_ref()), value(change.b.as_ref())));
    }
    if changes.len() > MOST {
        row("", &format!("  and {} more; see them all with --json", changes.len() - MOST));
    }
}

fn value(value: Option<&Value>) -> String {
    let Some(value) = value else { return "–".to_owned() };
    let text = plain(&value.to_string());
    if text.chars().count() <= VALUE { text } else { text.chars().take(VALUE - 1).chain(['…']).collect() }
}

fn tokens(change: &TokenizerChange) -> Vec<String> {
    let size = |size: Option<u64>| size.map_or("none".to_owned(), |size| format!("{} tokens", digits(size)));
    let mut lines = Vec::new();
    let mut first = if change.size_a == change.size_b {
        let same = if change.is_same() && change.compared { "the same, " } else { "" };
        format!("{same}{}", size(change.size_a))
    } else {
        format!("{} → {}", size(change.size_a), size(change.size_b))
    };
    for (is, text) in [
        (change.merges_changed == Some(true), "other merges"),
        (change.chat_template_changed == Some(true), "another chat template"),
        (change.moved > 0, "tokens with other numbers"),
    ] {
        if is {
            let _ = write!(first, ", {text}");
        }
    }
    lines.push(first);
    for (number, examples, verb) in
        [(change.added, &change.added_examples, "added"), (change.removed, &change.removed_examples, "removed")]
    {
        if number > 0 {
            let shown: Vec<String> = examples.iter().map(|token| format!("`{}`", plain(token))).collect();
            let more = if number > examples.len() as u64 { ", …" } else { "" };
            lines.push(format!("  {} {verb}: {}{more}", digits(number), shown.join(" ")));
        }
    }
    lines
}

fn plural(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{} {noun}s", digits(number as u64)) }
}
