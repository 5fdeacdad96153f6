//! The spectra of adapters.

use super::{MOST, note};
use crate::scan::report::Finding;
use crate::scan::rules;
use crate::scan::verdict::Verdict;

/// Five numbers of the product of the two matrices of an adapter (arXiv 2602.15195).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spectrum {
    /// Name of the module.
    pub module: String,
    /// File that it lies in.
    pub file: String,
    /// Rank.
    pub rank: u64,
    /// Largest singular value.
    pub leading: f64,
    /// Frobenius norm.
    pub norm: f64,
    /// Share of the squares that the largest singular value has.
    pub concentration: f64,
    /// Entropy of the squares, from 0 (one direction) to 1 (all alike).
    pub entropy: f64,
    /// Kurtosis of the elements, by a sample of the rows; 3 for a bell curve.
    pub kurtosis: f64,
}

/// Findings about adapters: numbers, and nothing more, since only clean adapters of the same kind say what is odd.
#[must_use]
pub fn judge_adapters(all: &[Spectrum]) -> Vec<Finding> {
    let say = |spectrum: &Spectrum| {
        let module = crate::scan::pickle::plain(&spectrum.module);
        let detail = format!(
            "adapter of `{module}`, rank {}: leading singular value {:.4}, norm {:.4}, energy concentration {:.3}, \
             spectral entropy {:.3}, kurtosis {:.2}",
            spectrum.rank, spectrum.leading, spectrum.norm, spectrum.concentration, spectrum.entropy, spectrum.kurtosis
        );
        note(rules::WEIGHTS_ADAPTER, Verdict::Safe, &spectrum.file, &module, detail)
    };
    let mut sorted: Vec<&Spectrum> = all.iter().collect();
    sorted.sort_by(|one, other| other.concentration.total_cmp(&one.concentration));
    sorted.into_iter().take(MOST).map(say).collect()
}
