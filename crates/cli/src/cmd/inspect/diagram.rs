//! The architecture as a column of blocks, repeated layers drawn once.

use std::fmt::Write;

use weighthouse::inspect::{Inspection, Module, tree};

use super::words::{count, plain};

/// Characters of the widest bar.
const BAR: usize = 28;
/// Blocks in a column; more are folded into one line.
const MAX_BLOCKS: usize = 24;

/// Blocks from first to last, with bars as long as their share of the parameters.
pub fn draw(found: &Inspection) -> String {
    let root = tree(&found.checkpoint.contents.tensors);
    let blocks = blocks(&root);
    let mut out = String::new();
    if blocks.is_empty() {
        return out;
    }
    let largest = blocks.iter().map(|block| block.elements).max().unwrap_or(1).max(1);
    let label = |block: &Block| {
        let times = if block.repeats > 1 { format!("  × {}", block.repeats) } else { String::new() };
        format!("{}{times}", plain(&block.name))
    };
    let width =
        blocks.iter().take(MAX_BLOCKS).map(|block| label(block).chars().count()).max().unwrap_or(0).clamp(24, 60);
    let _ = writeln!(out);
    for (number, block) in blocks.iter().take(MAX_BLOCKS).enumerate() {
        if number > 0 {
            let _ = writeln!(out, "  {:>half$}", "│", half = width / 2 + 2);
        }
        let _ = writeln!(out, "  ┌{}┐", "─".repeat(width + 2));
        let bar = (block.elements as f64 / largest as f64 * BAR as f64).round() as usize;
        let _ = writeln!(out, "  │ {:<width$} │ {} {}", label(block), "█".repeat(bar.max(1)), count(block.elements));
        for part in &block.parts {
            let _ = writeln!(out, "  │   {:<inner$} │", plain(part), inner = width - 2);
        }
        let _ = writeln!(out, "  └{}┘", "─".repeat(width + 2));
    }
    if blocks.len() > MAX_BLOCKS {
        let _ = writeln!(out, "  … and {} more blocks", blocks.len() - MAX_BLOCKS);
    }
    out
}

/// One box of the diagram.
struct Block {
    name: String,
    repeats: u64,
    elements: u64,
    parts: Vec<String>,
}

/// The outer modules; a module that only holds others is opened, so that layers are seen.
fn blocks(root: &Module) -> Vec<Block> {
    let mut found = Vec::new();
    let mut pending: Vec<(&Module, String)> = root.children.iter().rev().map(|child| (child, String::new())).collect();
    while let Some((module, prefix)) = pending.pop() {
        let name = format!("{prefix}{}", module.name);
        let is_stack = module.children.iter().any(|child| child.repeats > 1 || child.children.len() > 1);
        let opens = module.repeats == 1 && module.dtype.is_none() && is_stack && prefix.matches('.').count() < 3;
        // Half of the model or more in one module says too little.
        let large = module.elements.saturating_mul(5) >= root.elements;
        if opens && (large || module.children.iter().any(|child| child.repeats > 1)) {
            pending.extend(module.children.iter().rev().map(|child| (child, format!("{name}."))));
            continue;
        }
        let parts = if module.repeats > 1 {
            module
                .children
                .iter()
                .take(8)
                .map(|child| {
                    format!("{}  {}", child.name, count(child.elements / module.repeats.max(1) / child.repeats.max(1)))
                })
                .collect()
        } else {
            Vec::new()
        };
        found.push(Block { name, repeats: module.repeats, elements: module.elements, parts });
    }
    found
}
