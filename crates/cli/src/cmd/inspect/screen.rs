//! The first screen: what a person asks of a checkpoint, and the tree of its modules.

use std::fmt::Write;

use weighthouse::format::Tensor;
use weighthouse::format::checkpoint::Checkpoint;
use weighthouse::format::contents::Code;
use weighthouse::inspect::Inspection;
use weighthouse::inspect::modules::{Modules, Row, RowKind};

use crate::ui;
use crate::words::{count, digits, plain, shape};

/// Remarks that are shown; the rest is counted.
const MOST: usize = 12;
/// Lines of the tree.
const MAX_LINES: usize = 60;
/// Modules that hold less of the parameters are not opened.
const MIN_SHARE: f64 = 0.01;
/// Levels that are opened.
const MAX_DEPTH: usize = 6;

/// Facts, one a line.
pub fn first(found: &Inspection, target: &str) -> String {
    let checkpoint = &found.checkpoint;
    let contents = &checkpoint.contents;
    let architecture = &contents.architecture;
    let mut out = String::new();
    let model = match (&architecture.class, &architecture.family) {
        (Some(class), Some(family)) => format!("{} ({})", plain(class), plain(family)),
        (Some(one), None) | (None, Some(one)) => plain(one),
        (None, None) => "of no known architecture".to_owned(),
    };
    let _ = writeln!(out, "{}: {model}", plain(target));
    let mut row = |label: &str, text: &str| {
        let _ = writeln!(out, "  {label:<12} {text}");
    };
    let formats: Vec<&str> = contents.formats.iter().map(|format| format.as_str()).collect();
    row("format", &if formats.is_empty() { "no weights".to_owned() } else { formats.join(", ") });
    row("parameters", &parameters(checkpoint));
    row("on disk", &on_disk(checkpoint));
    let sizes: Vec<String> =
        architecture.sizes.iter().map(|(name, size)| format!("{} {}", name.replace('_', " "), digits(*size))).collect();
    if !sizes.is_empty() {
        row("sizes", &sizes.join(" · "));
    }
    row("quantised", found.quantisation().as_deref().map_or("no".to_owned(), plain).as_str());
    row("optimizer", &optimizer(checkpoint));
    row("license", &found.license().as_deref().map_or("not stated".to_owned(), plain));
    let base = found.base_models();
    if !base.is_empty() {
        row("base model", &plain(&base.join(", ")));
    }
    for other in &checkpoint.others {
        let files = other.files.len();
        let name = other.files.first().map(|file| plain(file)).unwrap_or_default();
        let more = if files > 1 { format!(" and {} more", files - 1) } else { String::new() };
        row("also has", &format!("{} ({}, {} elements)", name + &more, other.format, count(other.elements)));
    }
    row("runs code", &code(&contents.code));
    for code in contents.code.iter().take(MOST).skip(1) {
        row("", &line_of(code));
    }
    if contents.code.len() > MOST {
        row("", &format!("and {} more", contents.code.len() - MOST));
    }
    row("remarks", &if contents.warnings.is_empty() { "none".to_owned() } else { contents.warnings.len().to_string() });
    for warning in contents.warnings.iter().take(MOST) {
        let place = if warning.file.is_empty() { String::new() } else { format!("{}: ", plain(&warning.file)) };
        let _ = writeln!(out, "    {place}{}", plain(&warning.message));
    }
    if contents.warnings.len() > MOST {
        let _ = writeln!(out, "    and {} more; see them all with --json", contents.warnings.len() - MOST);
    }
    out
}

fn parameters(checkpoint: &Checkpoint) -> String {
    let found = checkpoint.parameters();
    let by: Vec<String> = found.by_dtype.iter().map(|(dtype, number)| format!("{dtype} {}", count(*number))).collect();
    let mut text = format!("{} in {} tensors", count(found.total), digits(checkpoint.contents.tensors.len() as u64));
    if !by.is_empty() {
        let _ = write!(text, " ({})", by.join(", "));
    }
    if found.buffers > 0 {
        let _ = write!(text, ", {} in buffers", count(found.buffers));
    }
    if found.shared > 0 {
        let _ = write!(text, ", {} shared", count(found.shared));
    }
    text
}

fn on_disk(checkpoint: &Checkpoint) -> String {
    let files = checkpoint.files.len();
    format!("{} in {files} {}", ui::size(checkpoint.size_bytes()), if files == 1 { "file" } else { "files" })
}

fn optimizer(checkpoint: &Checkpoint) -> String {
    let Some(optimizer) = &checkpoint.contents.optimizer else { return "none".to_owned() };
    let elements = optimizer.tensors.iter().fold(0u64, |sum, tensor| sum.saturating_add(tensor.elements()));
    let kind = optimizer.kind.as_deref().map_or("of unknown kind".to_owned(), plain);
    let step = optimizer.step.map_or(String::new(), |step| format!(" at step {}", digits(step)));
    format!("{kind}{step}, {} tensors with {} elements", digits(optimizer.tensors.len() as u64), count(elements))
}

fn code(code: &[Code]) -> String {
    code.first().map_or("no".to_owned(), |first| format!("may, when loaded the usual way: {}", line_of(first)))
}

fn line_of(code: &Code) -> String {
    format!("{} ({} in {})", plain(&code.name), code.way.as_str(), plain(&code.file))
}

/// The tree of modules, repeated layers folded, small ones closed.
pub fn modules(found: &Inspection) -> String {
    let tensors = &found.checkpoint.contents.tensors;
    let tree = Tree { modules: &Modules::new(tensors), tensors };
    let mut lines = Vec::new();
    let whole = tensors.iter().fold(0u64, |sum, tensor| sum.saturating_add(tensor.elements()));
    tree.open("", 0, whole, &mut lines);
    let mut out = String::new();
    let hidden = lines.len().saturating_sub(MAX_LINES);
    let width = lines.iter().take(MAX_LINES).map(|(name, _)| name.chars().count()).max().unwrap_or(0).min(60);
    if !lines.is_empty() {
        let _ = writeln!(out);
    }
    for (name, rest) in lines.into_iter().take(MAX_LINES) {
        let _ = writeln!(out, "  {name:<width$}  {rest}");
    }
    if hidden > 0 {
        let _ = writeln!(out, "  … and {hidden} more; list tensors with --tensors .");
    }
    out
}

struct Tree<'a> {
    modules: &'a Modules,
    tensors: &'a [Tensor],
}

impl Tree<'_> {
    /// Lines of what lies in a module.
    fn open(&self, module: &str, depth: usize, whole: u64, lines: &mut Vec<(String, String)>) {
        for row in self.modules.level(self.tensors, module, true) {
            if lines.len() > MAX_LINES * 4 {
                return;
            }
            lines.push((format!("{:indent$}{}", "", plain(&row.label), indent = 2 * depth), self.sizes(&row)));
            let share = row.elements as f64 / whole.max(1) as f64;
            if let RowKind::Module { name, .. } = &row.kind
                && share >= MIN_SHARE
                && depth < MAX_DEPTH
            {
                self.open(name, depth + 1, whole, lines);
            }
        }
    }

    fn sizes(&self, row: &Row) -> String {
        let number = if row.alike > 1 {
            format!("{} × {}", row.alike, count(row.elements / row.alike))
        } else {
            count(row.elements)
        };
        match row.kind {
            RowKind::Tensor(at) => self
                .tensors
                .get(at)
                .map_or(String::new(), |tensor| format!("{number:>14}  {} {}", tensor.dtype, shape(&tensor.shape))),
            RowKind::Module { .. } => format!("{number:>14}"),
        }
    }
}
