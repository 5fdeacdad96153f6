//! Models of transformers as GGUF files, and back, family by family.
//!
//! ```text
//!   tensors ─► names.rs (which module?) ─► a recipe for each rule of table.rs ─┐
//!   config.json ─► settings.rs ─► hyper.rs, rope.rs (what the loader asks) ────┼─► plan.rs ─► write.rs
//!   files beside ─► tokenizer/, general.rs ────────────────────────────────────┘
//! ```
//!
//! Nothing of a model is guessed: a tensor that has no place is refused by name, a size that is missing too, and an
//! architecture that is not here before anything is done.

mod config;
mod expect;
mod experts;
mod files;
mod general;
mod heads;
mod hyper;
mod keys;
mod names;
mod plan;
mod restore;
mod rope;
mod settings;
mod table;
#[cfg(test)]
mod tests;

pub use expect::{Differences, differences};
pub use files::{Files, NAMES};
pub use plan::{Plan, Source, Wanted, plan_hf};
pub use restore::{Restored, Stored, restore_hf};

/// `model_type`s that become GGUF files.
#[must_use]
pub fn model_types() -> Vec<&'static str> {
    table::FAMILIES.iter().flat_map(|family| family.model_types).copied().collect()
}
