//! Whether the second side is a mixture of the first and a third.

use serde_json::json;
use weighthouse_format::Dtype;

use super::super::{Kind, State, TensorChange};
use super::words::{digits, many, percent, real};
use super::{Evidence, Finding};

/// Share of the elements that have to fit.
const MOST: f64 = 0.9;

/// A line or an arc from the first checkpoint to the third, tensor by tensor.
pub(super) fn merge(evidence: &Evidence<'_>) -> Option<Finding> {
    if !evidence.third {
        return None;
    }
    let mut all = 0u64;
    let (mut lines, mut arcs, mut either) = (Fits::default(), Fits::default(), 0u64);
    for tensor in evidence.tensors.iter().filter(|tensor| matches!(tensor.state, State::Changed)) {
        let elements = tensor.elements();
        all = all.saturating_add(elements);
        let Some(blend) = &tensor.blend else { continue };
        let most = tolerance(tensor);
        let line = blend.linear_rest <= most;
        let arc = blend.spherical_rest.is_some_and(|rest| rest <= most);
        if line {
            lines.add(blend.linear, elements);
        }
        if arc {
            arcs.add(blend.spherical.unwrap_or(0.0), elements);
        }
        if line || arc {
            either = either.saturating_add(elements);
        }
    }
    if all == 0 || (either as f64) < MOST * all as f64 {
        return None;
    }
    // Where both fit, the simpler one; slerp is a line for tensors that are nearly parallel.
    let (name, fits) = if lines.elements as f64 >= MOST * all as f64 { ("linear", lines) } else { ("spherical", arcs) };
    let (low, middle, high) = fits.spread()?;
    let share = if high - low < 0.02 {
        format!("{} of it", percent(middle))
    } else {
        format!("between {} and {} of it, tensor by tensor", percent(low), percent(high))
    };
    let formula = if name == "linear" {
        format!("B = {}·A + {}·C", real(1.0 - middle), real(middle))
    } else {
        format!("B = slerp(A, C, t = {})", real(middle))
    };
    let fit = percent(either as f64 / all as f64);
    let sentence = format!(
        "{name} merge of A and C, {share}: {formula} fits {fit} of the elements of {}",
        many(fits.shares.len() as u64, "tensor")
    );
    let facts = json!({
        "method": name, "coefficient": middle, "lowest": low, "highest": high,
        "fits_share": either as f64 / all as f64, "tensors": digits(fits.shares.len() as u64),
    });
    Some(Finding::new(Kind::Merge, sentence, facts))
}

/// What a fit may leave of a tensor: what rounding makes, and a small part of what changed.
fn tolerance(tensor: &TensorChange) -> f64 {
    let bits = match tensor.b.as_ref().map(|b| b.dtype) {
        Some(Dtype::F32 | Dtype::F64) => 24,
        Some(Dtype::F16) => 11,
        Some(Dtype::BF16) => 8,
        _ => 4,
    };
    let rounding = 2.0 * 0.5f64.powi(bits) + 1e-6;
    let changed = tensor.numbers.map_or(0.0, |numbers| numbers.relative);
    rounding.max(0.02 * changed).min(0.3 * changed)
}

/// Shares of the tensors that fit.
#[derive(Default)]
struct Fits {
    elements: u64,
    shares: Vec<(f64, u64)>,
}

impl Fits {
    fn add(&mut self, share: f64, elements: u64) {
        self.elements = self.elements.saturating_add(elements);
        self.shares.push((share, elements));
    }

    /// The share at the lowest twentieth of the elements, in the middle, and at the highest.
    fn spread(&self) -> Option<(f64, f64, f64)> {
        let mut shares = self.shares.clone();
        shares.sort_by(|one, other| one.0.total_cmp(&other.0));
        let at = |part: f64| {
            let mut left = part * self.elements as f64;
            shares.iter().find(|(_, elements)| {
                left -= *elements as f64;
                left <= 0.0
            })
        };
        let last = shares.last()?.0;
        let share = |part| at(part).map_or(last, |(share, _)| *share);
        Some((share(0.05), share(0.5), share(0.95)))
    }
}
