//! How weights differ from those that they come from.

use super::{MOST, Rows, note};
use crate::scan::report::Finding;
use crate::scan::rules;
use crate::scan::verdict::Verdict;

/// How a tensor differs from the base.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// Name of the tensor.
    pub name: String,
    /// File that it lies in.
    pub file: String,
    /// Norm of the difference, as a share of the base's.
    pub relative: f64,
    /// Norm of the difference.
    pub norm: f64,
    /// Number of its directions, when those are few.
    pub low: Option<u64>,
    /// Effective rank of the difference.
    pub effective: Option<f64>,
}

/// Findings about the difference from a base: `compared` tensors were, of which those in `deltas` changed.
#[must_use]
pub fn judge_base(compared: u64, deltas: &[Delta], rows: &[Rows]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut sorted: Vec<&Delta> = deltas.iter().collect();
    sorted.sort_by(|one, other| other.relative.total_cmp(&one.relative));
    if let Some(most) = sorted.first() {
        let detail = format!(
            "{} of {compared} tensors differ from the base; `{}` the most, by {:.3} % of its norm",
            deltas.len(),
            crate::scan::pickle::plain(&most.name),
            most.relative * 100.0
        );
        found.push(note(rules::WEIGHTS_BASE, Verdict::Safe, &most.file, "", detail));
    }
    // An edit of a fact changes one matrix, or a few, in one direction.
    let few = deltas.len() as u64 * 10 <= compared && deltas.len() <= 8;
    for delta in sorted.into_iter().take(MOST) {
        let name = crate::scan::pickle::plain(&delta.name);
        let rank = match (delta.low, delta.effective) {
            (Some(low), _) => format!(", in {low} directions"),
            (None, Some(effective)) => format!(", effective rank {effective:.1}"),
            (None, None) => String::new(),
        };
        let edit = few && delta.low.is_some_and(|low| low <= 2);
        let (rule, verdict) =
            if edit { (rules::WEIGHTS_EDIT, Verdict::Caution) } else { (rules::WEIGHTS_BASE, Verdict::Safe) };
        let mut detail = format!(
            "tensor `{name}` differs from the base by a norm of {:.4} ({:.3} %){rank}",
            delta.norm,
            delta.relative * 100.0
        );
        if edit && is_down_projection(&delta.name) {
            detail += "; it is where an MLP writes, which is what editors of facts change (arXiv:2202.05262)";
        }
        found.push(note(rule, verdict, &delta.file, &name, detail));
    }
    for rows in rows.iter().filter(|rows| !rows.found.outliers.is_empty()).take(MOST) {
        let name = crate::scan::pickle::plain(&rows.name);
        let list: Vec<String> = rows
            .found
            .outliers
            .iter()
            .map(|(row, norm, distance)| format!("{row} (by {norm:.3}, {distance:.0} deviations)"))
            .collect();
        let detail = format!("rows of `{name}` changed far more than the others: {}", list.join(", "));
        found.push(note(rules::WEIGHTS_EDIT, Verdict::Caution, &rows.file, &name, detail));
    }
    found
}

/// Whether a name is that of the matrix by which an MLP writes into the stream.
fn is_down_projection(name: &str) -> bool {
    const ENDS: &[&str] =
        &["mlp.down_proj.weight", "mlp.c_proj.weight", "mlp.fc2.weight", "mlp.dense_4h_to_h.weight", "ffn_down.weight"];
    // BERT calls the output of its attention so too.
    ENDS.iter().any(|end| name.ends_with(end))
        || (name.ends_with("output.dense.weight") && !name.ends_with("attention.output.dense.weight"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_change_of_one_direction_is_an_edit_and_training_is_none() {
        let delta =
            |low| Delta { name: "h.3.mlp.c_proj.weight".into(), relative: 0.1, norm: 2.0, low, ..Delta::default() };
        let edit = judge_base(100, &[delta(Some(1))], &[]);
        assert!(edit.iter().any(|finding| finding.verdict == Verdict::Caution), "{edit:?}");
        assert!(edit.iter().any(|finding| finding.detail.contains("where an MLP writes")), "{edit:?}");
        assert!(!is_down_projection("encoder.layer.1.attention.output.dense.weight"));
        let lora = judge_base(100, &vec![delta(Some(1)); 30], &[]);
        assert!(lora.iter().all(|finding| finding.verdict == Verdict::Safe));
        let trained = judge_base(100, &[delta(None)], &[]);
        assert!(trained.iter().all(|finding| finding.verdict == Verdict::Safe));
        assert!(judge_base(100, &[], &[]).is_empty());
    }
}
