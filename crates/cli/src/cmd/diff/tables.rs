//! What changed where: modules by layers, and tensors one a line.

use std::fmt::Write;

use regex_lite::Regex;
use weighthouse::diff::{Cell, Comparison, Proof, State, Table, TensorChange};

use crate::words::{count, digits, plain, real, shape};

/// Characters of a column of layers.
const COLUMN: usize = 8;
/// Characters of a module's name.
const NAME: usize = 32;
/// Lines of one table.
const MOST: usize = 40;

/// A table for each stack of layers, as wide as the terminal; layers that do not fit stand together.
pub fn layers(found: &Comparison, columns: usize) -> String {
    let mut out = String::new();
    for table in found.tables.iter().filter(|table| !table.cells.is_empty()) {
        stack(&mut out, table, columns);
    }
    let changed: Vec<_> = found.outside.iter().filter(|outside| !outside.cell.is_equal()).collect();
    let same = found.outside.len() - changed.len();
    if !found.outside.is_empty() {
        let _ = writeln!(out, "\n  outside of layers");
    }
    let width = changed.iter().take(MOST).map(|outside| plain(&outside.module).chars().count()).max().unwrap_or(0);
    let width = width.clamp(4, 60);
    for outside in changed.iter().take(MOST) {
        let name = if outside.module.is_empty() { "(top)".to_owned() } else { shortened(&plain(&outside.module), 60) };
        let elements = count(outside.cell.elements);
        let _ = writeln!(out, "    {name:<width$}  {:>COLUMN$}  {elements} elements", text(&[outside.cell]));
    }
    if changed.len() > MOST {
        let _ = writeln!(out, "    … and {} more; list tensors with --tensors .", changed.len() - MOST);
    }
    if same > 0 {
        let (verb, noun) = if same == 1 { ("is", "module") } else { ("are", "modules") };
        let _ = writeln!(out, "    {} {noun} {verb} the same", digits(same as u64));
    }
    if !out.is_empty() {
        let _ = writeln!(
            out,
            "\n  numbers: ‖B − A‖ / ‖A‖, the largest of layers that stand together; · the same, ≈ rounded or quantised,\n  \
             + only in B, − only in A, ! other shape or not read"
        );
    }
    out
}

fn stack(out: &mut String, table: &Table, columns: usize) {
    let names: Vec<String> = table
        .modules
        .iter()
        .map(|name| if name.is_empty() { "(layer)".to_owned() } else { shortened(&plain(name), NAME) })
        .collect();
    let width = names.iter().take(MOST).map(|name| name.chars().count()).max().unwrap_or(0).max(8);
    let room = (columns.saturating_sub(width + 6) / COLUMN).max(1);
    let together = table.layers.len().div_ceil(room).max(1);
    let groups: Vec<&[u64]> = table.layers.chunks(together).collect();
    let title = table.stack.trim_end_matches(['.', '/']);
    let _ = writeln!(out, "\n  {}", if title.is_empty() { "layers".to_owned() } else { plain(title) });
    let _ = write!(out, "    {:<width$}", "layer");
    for group in &groups {
        let name = match group {
            [first, .., last] if *last == u64::MAX => format!("{first}…"),
            [first, .., last] => format!("{first}–{last}"),
            [one] => one.to_string(),
            [] => String::new(),
        };
        let _ = write!(out, "{name:>COLUMN$}");
    }
    let _ = writeln!(out);
    for (column, name) in names.iter().enumerate().take(MOST) {
        let _ = write!(out, "    {name:<width$}");
        for rows in table.cells.chunks(together) {
            let cells: Vec<Cell> = rows.iter().filter_map(|row| row.get(column).copied().flatten()).collect();
            let _ = write!(out, "{:>COLUMN$}", text(&cells));
        }
        let _ = writeln!(out);
    }
    if names.len() > MOST {
        let _ = writeln!(out, "    … and {} more modules", names.len() - MOST);
    }
}

/// What became of modules that stand together.
fn text(cells: &[Cell]) -> String {
    let any = |of: fn(&Cell) -> bool| cells.iter().any(of);
    if cells.is_empty() {
        return String::new();
    }
    let mut text = if any(|cell| cell.changed > 0) {
        let largest = cells.iter().filter(|cell| cell.changed > 0).map(Cell::relative).fold(0.0, f64::max);
        relative(largest)
    } else if any(|cell| cell.encoded > 0) {
        "≈".to_owned()
    } else if any(|cell| cell.tensors > cell.added + cell.removed + cell.other) {
        "·".to_owned()
    } else {
        String::new()
    };
    for (is, sign) in
        [(any(|cell| cell.added > 0), '+'), (any(|cell| cell.removed > 0), '−'), (any(|cell| cell.other > 0), '!')]
    {
        if is {
            text.push(sign);
        }
    }
    text
}

/// A relative change in at most six characters.
fn relative(number: f64) -> String {
    match number {
        _ if !number.is_finite() => "∞".to_owned(),
        ..0.0005 => format!("{number:.0e}"),
        ..9.995 => format!("{number:.3}"),
        ..9999.0 => format!("{number:.0}"),
        _ => format!("{number:.0e}"),
    }
}

fn shortened(name: &str, most: usize) -> String {
    let len = name.chars().count();
    if len <= most { name.to_owned() } else { ['…'].into_iter().chain(name.chars().skip(len - most + 1)).collect() }
}

/// The tensors whose names match, on either side.
pub fn tensors(found: &Comparison, filter: &Regex) -> String {
    let matches =
        |tensor: &&TensorChange| [&tensor.a, &tensor.b].into_iter().flatten().any(|facts| filter.is_match(&facts.name));
    let chosen: Vec<&TensorChange> = found.tensors.iter().filter(matches).collect();
    let mut out = String::new();
    if chosen.is_empty() {
        let _ = writeln!(out, "\n  no tensor matches");
        return out;
    }
    let names = chosen.iter().map(|tensor| plain(tensor.name()).chars().count()).max().unwrap_or(0).min(70);
    let kinds = chosen.iter().map(|tensor| kind(tensor).chars().count()).max().unwrap_or(0).min(40);
    let head = ["changed", "relative", "cosine", "largest", "rank"].map(|name| format!("{name:>10}")).join(" ");
    let _ = writeln!(out, "\n  {:<10} {:<names$}  {:<kinds$} {head}", "state", "tensor", "type and shape");
    for tensor in chosen {
        let name = plain(tensor.name());
        let line =
            format!("  {:<10} {name:<names$}  {:<kinds$} {}", tensor.state.as_str(), kind(tensor), numbers(tensor));
        let _ = writeln!(out, "{}", line.trim_end());
        if let Some(note) = note(tensor) {
            let _ = writeln!(out, "  {:<10}   {note}", "");
        }
    }
    out
}

fn kind(tensor: &TensorChange) -> String {
    let one = |facts: &weighthouse::diff::TensorFacts| format!("{} {}", facts.dtype, shape(&facts.shape));
    match (&tensor.a, &tensor.b) {
        (Some(a), Some(b)) if a.dtype == b.dtype && a.shape == b.shape => one(b),
        (Some(a), Some(b)) if a.shape == b.shape => format!("{} → {}", a.dtype, one(b)),
        (Some(a), Some(b)) => format!("{} → {}", one(a), one(b)),
        (Some(only), None) | (None, Some(only)) => one(only),
        (None, None) => String::new(),
    }
}

fn numbers(tensor: &TensorChange) -> String {
    let Some(numbers) = tensor.numbers.as_ref().filter(|numbers| numbers.changed > 0) else { return String::new() };
    let share = numbers.changed as f64 / numbers.elements.max(1) as f64 * 100.0;
    let rank = tensor.rank.map_or(String::new(), |rank| match rank.low {
        Some(low) => low.to_string(),
        None if rank.exact => format!("{:.0} of {}", rank.effective, rank.of),
        None => "full".to_owned(),
    });
    let cosine = numbers.cosine.map_or("–".to_owned(), |cosine| format!("{cosine:.6}"));
    let texts = [format!("{share:.2} %"), relative(numbers.relative), cosine, real(numbers.largest), rank];
    texts.map(|text| format!("{text:>10}")).join(" ")
}

/// What does not fit in the columns.
fn note(tensor: &TensorChange) -> Option<String> {
    let mut notes = Vec::new();
    if tensor.is_renamed()
        && let Some(a) = &tensor.a
    {
        notes.push(format!("was {}", plain(&a.name)));
    }
    if let Some(word) = tensor.arrangement.as_str() {
        notes.push(word.to_owned());
    }
    match &tensor.state {
        State::Cast { rounding, of } => notes.push(format!("{} is rounded to {rounding}", of.as_str().to_uppercase())),
        State::Quantised { proof, .. } => notes.push(match proof {
            Proof::Recomputed { through: Some(way) } => {
                format!("quantising again by way of {way} gives the same bytes")
            }
            Proof::Recomputed { through: None } => "quantising again gives the same bytes".to_owned(),
            Proof::Nearly { same, blocks } => {
                format!("quantising again gives {} of {} blocks", digits(*same), digits(*blocks))
            }
            _ => "within the error of the type".to_owned(),
        }),
        State::Tied(twin) => notes.push(format!("the same as {}", plain(twin))),
        State::Unread(reason) => notes.push(plain(reason)),
        State::Shifted(shift) => notes.push(format!("{shift} was added to every element")),
        _ => {}
    }
    if let Some(blend) = &tensor.blend {
        notes.push(format!("{} of C on a line, {} left", real(blend.linear), real(blend.linear_rest)));
        if let (Some(share), Some(rest)) = (blend.spherical, blend.spherical_rest) {
            notes.push(format!("{} on an arc, {} left", real(share), real(rest)));
        }
    }
    (!notes.is_empty()).then(|| notes.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_says_the_largest_change_and_what_is_odd() {
        let same = Cell { tensors: 1, ..Cell::default() };
        let changed = Cell { tensors: 1, changed: 5, squares: 1.0, squares_a: 4.0, ..Cell::default() };
        let added = Cell { tensors: 1, added: 1, ..Cell::default() };
        let rounded = Cell { tensors: 1, encoded: 1, ..Cell::default() };
        assert_eq!(text(&[same, changed, added]), "0.500+");
        assert_eq!(
            (text(&[same]), text(&[added]), text(&[same, rounded]), text(&[])),
            ("·".into(), "+".into(), "≈".into(), "".into())
        );
        for number in [0.0, 1e-300, 4.4e-5, 0.01, 1.0, 123.0, 1e7, f64::INFINITY] {
            assert!(relative(number).chars().count() < COLUMN, "{number}");
        }
        assert_eq!(shortened("a.long.name", 5), "…name");
    }
}
