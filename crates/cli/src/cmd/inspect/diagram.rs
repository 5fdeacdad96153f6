//! The architecture as a column of blocks in the order that data take, repeated layers drawn once.

use std::fmt::Write;

use weighthouse::inspect::Inspection;
use weighthouse::inspect::diagram::{Block, diagram};
use weighthouse::inspect::modules::Modules;

use crate::words::{count, plain};

/// Characters of the widest bar.
const BAR: u64 = 24;
/// Characters of a label.
const WIDTH: usize = 40;

/// Draws boxes from input to answer, with bars as long as their share of the parameters.
pub fn draw(found: &Inspection) -> String {
    let tensors = &found.checkpoint.contents.tensors;
    let blocks = diagram(&Modules::new(tensors), tensors);
    let largest = blocks.iter().map(|block| block.elements).max().unwrap_or(1).max(1);
    let mut out = String::new();
    for (number, block) in blocks.iter().enumerate() {
        let _ = if number > 0 { writeln!(out, "  {:>half$}", "↓", half = WIDTH / 2 + 2) } else { writeln!(out) };
        let _ = writeln!(out, "  ┌{}┐", "─".repeat(WIDTH + 2));
        line(&mut out, block, 0, largest);
        let _ = writeln!(out, "  └{}┘", "─".repeat(WIDTH + 2));
    }
    out
}

fn line(out: &mut String, block: &Block, depth: usize, largest: u64) {
    let times = if block.alike > 1 { format!("  × {}", block.alike) } else { String::new() };
    let label: String = format!("{:indent$}{}{times}", "", plain(&block.label), indent = 2 * depth);
    let label: String = label.chars().take(WIDTH).collect();
    let bar = usize::try_from(block.elements.saturating_mul(BAR).div_ceil(largest)).unwrap_or(0).max(1);
    let _ = writeln!(out, "  │ {label:<WIDTH$} │ {:<24} {}", "█".repeat(bar.min(24)), count(block.elements));
    for inner in &block.inner {
        line(out, inner, depth + 1, largest);
    }
}
