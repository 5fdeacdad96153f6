//! A comparison as it is shown.

use serde_json::Value;

use super::heat::{Heat, HeatCell, cell, tables};
use crate::web::format::{count, exact, size};
use crate::web::inside::{name, number, shape};
use crate::web::visit::Visit;

/// Tensors on one page.
const PAGE: usize = 200;
/// Lines of any other list.
const MAX_LINES: usize = 200;
/// Longest value of a configuration that is shown, in characters.
const MAX_VALUE: usize = 300;

pub(super) struct View {
    pub sentence: String,
    pub kind: String,
    pub equal: bool,
    pub remarks: Vec<String>,
    /// A property of the checkpoints, on both sides.
    pub about: Vec<(&'static str, String, String)>,
    pub totals: Vec<(&'static str, String)>,
    pub config_of: String,
    pub config: Vec<(String, String, String)>,
    pub tokenizer: Vec<(String, String)>,
    pub heat: Vec<Heat>,
    pub outside: Vec<(String, HeatCell)>,
    pub search: String,
    pub all: bool,
    pub all_url: String,
    pub rows: Vec<TensorRow>,
    pub first: usize,
    pub last: usize,
    pub total: usize,
    pub previous: Option<String>,
    pub next: Option<String>,
}

pub(super) struct TensorRow {
    pub name: String,
    /// Its other name on the first side.
    pub was: Option<String>,
    pub dtype: String,
    pub shape: String,
    pub state: String,
    pub detail: String,
    pub changed: String,
    pub relative: String,
    pub cosine: String,
    pub rank: String,
}

impl View {
    pub fn new(visit: &Visit, document: &Value, (search, all): (&str, bool), page: usize) -> Self {
        let tensors = document.get("tensors").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let wanted = search.to_lowercase();
        let found: Vec<&Value> = tensors
            .iter()
            .filter(|tensor| all || !matches!(text(tensor, "state"), "equal" | "tied"))
            .filter(|tensor| wanted.is_empty() || names(tensor).any(|name| name.to_lowercase().contains(&wanted)))
            .collect();
        let first = page.saturating_mul(PAGE);
        let rows: Vec<TensorRow> = found.iter().skip(first).take(PAGE).map(|tensor| row(tensor)).collect();
        let last = first.saturating_add(rows.len());
        let to_page = |page: usize| match page {
            0 => visit.with_query(&[("p", None)]),
            page => visit.with_query(&[("p", Some(&page.to_string()))]),
        };
        let verdict = document.get("verdict").unwrap_or(&Value::Null);
        let config = document.get("config").unwrap_or(&Value::Null);
        Self {
            sentence: name(text(verdict, "sentence")),
            kind: text(verdict, "kind").to_owned(),
            equal: verdict.get("equal").and_then(Value::as_bool).unwrap_or(false),
            remarks: list(document, "remarks").iter().take(MAX_LINES).filter_map(Value::as_str).map(name).collect(),
            about: about(document),
            totals: totals(document.get("totals").unwrap_or(&Value::Null)),
            config_of: text(config, "of").to_owned(),
            config: changes(list(config, "changes")),
            tokenizer: tokenizer(document.get("tokenizer").unwrap_or(&Value::Null)),
            heat: tables(document),
            outside: list(document, "outside")
                .iter()
                .take(MAX_LINES)
                .map(|outside| (name(text(outside, "module")), cell(outside)))
                .collect(),
            search: search.to_owned(),
            all,
            all_url: visit.with_query(&[("p", None), ("show", (!all).then_some("all"))]),
            first: first.saturating_add(1).min(found.len()),
            last,
            total: found.len(),
            previous: page.checked_sub(1).map(to_page),
            next: (last < found.len() && !rows.is_empty()).then(|| to_page(page + 1)),
            rows,
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn whole(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

/// A value in one line; empty when it is not there.
fn flat(value: Option<&Value>) -> String {
    let text = match value {
        None => return "–".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let shown: String = text.chars().take(MAX_VALUE).collect();
    let cut = shown.len() < text.len();
    let shown = shown.chars().flat_map(|c| if c == '\n' { "⏎".chars().collect::<Vec<_>>() } else { vec![c] });
    let shown = name(&shown.collect::<String>());
    if cut { format!("{shown}…") } else { shown }
}

fn changes(changes: &[Value]) -> Vec<(String, String, String)> {
    let change = |change: &Value| (name(text(change, "key")), flat(change.get("a")), flat(change.get("b")));
    changes.iter().take(MAX_LINES).map(change).collect()
}

fn about(document: &Value) -> Vec<(&'static str, String, String)> {
    let of = |side: &str| document.get(side).cloned().unwrap_or_default();
    let (a, b) = (of("a"), of("b"));
    let words = |side: &Value, key: &str| {
        let words: Vec<&str> = list(side, key).iter().filter_map(Value::as_str).take(12).collect();
        name(&words.join(", "))
    };
    let or_dash = |text: String| if text.is_empty() || text == "(no name)" { "–".to_owned() } else { text };
    let class = |side: &Value| {
        let class = text(side, "class");
        or_dash(name(if class.is_empty() { text(side, "family") } else { class }))
    };
    let mut lines = vec![
        ("Formats", or_dash(words(&a, "formats")), or_dash(words(&b, "formats"))),
        ("Architecture", class(&a), class(&b)),
        ("Parameters", count(whole(&a, "parameters")), count(whole(&b, "parameters"))),
        ("Types", or_dash(words(&a, "dtypes")), or_dash(words(&b, "dtypes"))),
        ("Tensors", exact(whole(&a, "tensors")), exact(whole(&b, "tensors"))),
        ("Files", size(whole(&a, "size_bytes")), size(whole(&b, "size_bytes"))),
    ];
    lines.retain(|(_, one, other)| one != "–" || other != "–");
    lines
}

fn totals(totals: &Value) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let kinds = [
        ("equal", "Equal"),
        ("encoded", "Re-encoded"),
        ("changed", "Changed"),
        ("added", "Only in B"),
        ("removed", "Only in A"),
        ("tied", "Tied"),
        ("renamed", "Renamed"),
        ("unread", "Not comparable"),
    ];
    for (key, label) in kinds {
        let number = whole(totals, key);
        if number > 0 {
            lines.push((label, format!("{} tensor{}", exact(number), if number == 1 { "" } else { "s" })));
        }
    }
    let (elements, changed) = (whole(totals, "elements"), whole(totals, "changed_elements"));
    if elements > 0 {
        lines.push((
            "Elements changed",
            format!("{} of {} ({})", exact(changed), exact(elements), share(changed, elements)),
        ));
    }
    let (bytes, changed) = (whole(totals, "bytes"), whole(totals, "changed_bytes"));
    if bytes > 0 {
        lines.push(("Bytes changed", format!("{} of {} ({})", size(changed), size(bytes), share(changed, bytes))));
    }
    lines
}

fn share(part: u64, whole: u64) -> String {
    let percent = 100.0 * part as f64 / whole.max(1) as f64;
    match percent {
        percent if part > 0 && percent < 0.1 => "under 0.1 %".to_owned(),
        percent if part < whole && percent > 99.9 => "over 99.9 %".to_owned(),
        percent => format!("{percent:.1} %"),
    }
}

fn tokenizer(tokenizer: &Value) -> Vec<(String, String)> {
    if tokenizer.is_null() {
        return Vec::new();
    }
    if tokenizer.get("same").and_then(Value::as_bool) == Some(true) {
        return vec![("Tokenizer".to_owned(), "the same on both sides".to_owned())];
    }
    let mut lines = Vec::new();
    let sizes = [
        flat(tokenizer.get("size_a").filter(|v| !v.is_null())),
        flat(tokenizer.get("size_b").filter(|v| !v.is_null())),
    ];
    lines.push(("Tokens".to_owned(), sizes.join(" → ")));
    for (key, label) in [("added", "Only in B"), ("removed", "Only in A")] {
        let number = whole(tokenizer, key);
        if number > 0 {
            let examples: Vec<String> = list(tokenizer, &format!("{key}_examples"))
                .iter()
                .filter_map(Value::as_str)
                .take(12)
                .map(|token| format!("“{}”", name(token)))
                .collect();
            lines.push((label.to_owned(), format!("{}: {}", exact(number), examples.join(", "))));
        }
    }
    if whole(tokenizer, "moved") > 0 {
        lines.push(("Under another number".to_owned(), exact(whole(tokenizer, "moved"))));
    }
    for (key, label) in [("merges_changed", "Merges"), ("chat_template_changed", "Template of chats")] {
        if tokenizer.get(key).and_then(Value::as_bool) == Some(true) {
            lines.push((label.to_owned(), "changed".to_owned()));
        }
    }
    for (key, a, b) in changes(list(tokenizer, "special")) {
        lines.push((key, format!("{a} → {b}")));
    }
    lines
}

fn names(tensor: &Value) -> impl Iterator<Item = &str> {
    ["a", "b"].into_iter().filter_map(move |side| tensor.get(side)?.get("name")?.as_str())
}

fn row(tensor: &Value) -> TensorRow {
    let of = |side: &str| tensor.get(side).filter(|side| !side.is_null());
    let (a, b) = (of("a"), of("b"));
    let both = |read: &dyn Fn(&Value) -> String| match (a.map(read), b.map(read)) {
        (Some(one), Some(other)) if one != other => format!("{one} → {other}"),
        (_, Some(only)) | (Some(only), None) => only,
        (None, None) => String::new(),
    };
    let extents = |side: &Value| {
        let list: Vec<u64> = list(side, "shape").iter().filter_map(Value::as_u64).collect();
        shape(&list)
    };
    let own = b.or(a).map(|side| text(side, "name")).unwrap_or_default();
    let was = a.map(|side| text(side, "name")).filter(|was| b.is_some() && *was != own);
    let (elements, changed) = (whole(tensor, "elements"), whole(tensor, "changed"));
    let real = |key: &str| tensor.get(key).and_then(Value::as_f64).map(number).unwrap_or_default();
    let rank = tensor.get("rank").map(|rank| match rank.get("low").and_then(Value::as_u64) {
        Some(low) => exact(low),
        None => number(rank.get("effective").and_then(Value::as_f64).unwrap_or(0.0).round()),
    });
    TensorRow {
        name: name(own),
        was: was.map(name),
        dtype: both(&|side| text(side, "dtype").to_owned()),
        shape: both(&extents),
        state: text(tensor, "state").to_owned(),
        detail: detail(tensor),
        changed: if elements > 0 && tensor.get("relative").is_some() {
            share(changed, elements)
        } else {
            String::new()
        },
        relative: real("relative"),
        cosine: real("cosine"),
        rank: rank.unwrap_or_default(),
    }
}

/// What more there is to say of a state.
fn detail(tensor: &Value) -> String {
    if let Some(quantised) = tensor.get("quantised") {
        let proof = quantised.get("proof").unwrap_or(&Value::Null);
        let sure = proof.get("recomputed").and_then(Value::as_bool) == Some(true);
        return format!("{}{}", text(quantised, "dtype"), if sure { ", recomputed" } else { "" });
    }
    if let Some(cast) = tensor.get("cast") {
        return text(cast, "dtype").to_owned();
    }
    for key in ["tied", "error"] {
        let found = text(tensor, key);
        if !found.is_empty() {
            return name(found);
        }
    }
    match tensor.get("arrangement") {
        Some(arrangement) if arrangement.get("rows").is_some() => format!("first {} rows", whole(arrangement, "rows")),
        Some(_) => "axes in another order".to_owned(),
        None => String::new(),
    }
}
