//! What values of weights show: advisory findings with their numbers, never more than caution.

use weighthouse_format::checkpoint::Checkpoint;
use weighthouse_format::stats::Read;

use super::report::Finding;
use super::rules;
use super::verdict::{Severity, Verdict};

/// Most findings of one kind.
const MOST: usize = 20;

/// Findings about tensors whose values were read, in the order of [`Checkpoint::tensors`].
#[must_use]
pub fn judge(checkpoint: &Checkpoint, reads: &[Result<Read, String>]) -> Vec<Finding> {
    let mut found = Vec::new();
    let (mut not_finite, mut constant) = (0, 0);
    for (tensor, read) in checkpoint.contents.tensors.iter().zip(reads) {
        let file = tensor.place().map_or("", |(file, _)| file).to_owned();
        let name = super::pickle::plain(&tensor.name);
        let mut note = |rule, verdict, detail: String| {
            let mut finding = Finding::of(rule, verdict, detail).within(name.clone());
            finding.file.clone_from(&file);
            found.push(finding);
        };
        let stats = match read {
            Ok(read) => read.stats,
            Err(error) => {
                note(rules::WEIGHTS_UNREAD, Verdict::Caution, format!("tensor `{name}` cannot be read: {error}"));
                continue;
            }
        };
        let Some(stats) = stats.filter(|stats| stats.count() > 1) else { continue };
        if stats.nan + stats.infinite > 0 {
            not_finite += 1;
            if not_finite <= MOST {
                let share = (stats.nan + stats.infinite) as f64 / stats.count() as f64 * 100.0;
                let detail = format!(
                    "tensor `{name}` has {} NaN and {} infinite of {} values ({share:.3} %)",
                    stats.nan,
                    stats.infinite,
                    stats.count()
                );
                note(rules::WEIGHTS_NOT_FINITE, Verdict::Caution, detail);
            }
        } else if stats.min == stats.max && tensor.shape.len() > 1 {
            constant += 1;
            if constant <= MOST {
                let detail = format!("all {} values of tensor `{name}` are {}", stats.count(), stats.min);
                note(rules::WEIGHTS_CONSTANT, Verdict::Safe, detail);
            }
        }
    }
    for (count, rule) in [(not_finite, rules::WEIGHTS_NOT_FINITE), (constant, rules::WEIGHTS_CONSTANT)] {
        if count > MOST {
            found.push(
                Finding::of(rule, Verdict::Safe, format!("{} more tensors of that kind", count - MOST))
                    .weighing(Severity::Info),
            );
        }
    }
    found
}
