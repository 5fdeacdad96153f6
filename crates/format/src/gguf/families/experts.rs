//! Experts: one matrix each in transformers, one stack of them in GGUF.

use std::collections::BTreeMap;

use crate::arrange;
use crate::error::FormatError;
use crate::tensor::Tensor;

/// Matrices of experts, by block and module, until all are there.
#[derive(Default)]
pub(super) struct Stacks<'a> {
    found: BTreeMap<(u64, usize), BTreeMap<u64, &'a Tensor>>,
}

impl<'a> Stacks<'a> {
    /// Adds one matrix.
    pub(super) fn add(&mut self, block: u64, rule: usize, expert: u64, tensor: &'a Tensor) -> Result<(), FormatError> {
        match self.found.entry((block, rule)).or_default().insert(expert, tensor) {
            None => Ok(()),
            Some(_) => Err(FormatError::DuplicateKey { key: tensor.name.clone() }),
        }
    }

    /// The stacks, each with block and module; `experts` matrices in each.
    ///
    /// # Errors
    /// [`FormatError::Broken`] when one is missing or there are more; what stacking says.
    pub(super) fn stack(self, experts: u64) -> Result<Vec<(u64, usize, Tensor)>, FormatError> {
        let mut out = Vec::new();
        for ((block, rule), matrices) in self.found {
            let all = matrices.keys().copied().eq(0..experts);
            let matrices: Vec<&Tensor> = matrices.into_values().collect();
            let name = matrices.first().map_or("", |tensor| tensor.name.as_str());
            if !all {
                let detail = format!("`{name}` and its like are {}; there are {experts} experts", matrices.len());
                return Err(FormatError::Broken { what: "tensors of experts", at: 0, detail });
            }
            out.push((block, rule, arrange::stack(&matrices, name)?));
        }
        Ok(out)
    }
}
