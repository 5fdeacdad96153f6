//! What values of weights show: advisory findings with their numbers, never more than caution.

mod adapters;
mod architecture;
mod base;
mod bits;

use std::collections::BTreeMap;

use weighthouse_format::Tensor;
use weighthouse_format::checkpoint::Checkpoint;
use weighthouse_format::stats::{self, Read};

use super::report::Finding;
use super::rules;
use super::verdict::{Severity, Verdict};

pub use adapters::{Spectrum, judge_adapters};
pub use architecture::judge_architecture;
pub use base::{Delta, judge_base};

/// Most findings of one kind.
const MOST: usize = 20;

/// Findings about tensors whose values were read, in the order of [`Checkpoint::tensors`].
///
/// `tied` is what the configuration says of the head and the embeddings.
#[must_use]
pub fn judge(checkpoint: &Checkpoint, reads: &[Result<Read, String>], tied: Option<bool>) -> Vec<Finding> {
    let mut found = same(checkpoint, reads, tied);
    found.extend(bits::judge(checkpoint, reads));
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
                let zeros = if stats.min == 0.0 { "zero".to_owned() } else { stats.min.to_string() };
                let detail = format!("all {} values of tensor `{name}` are {zeros}", stats.count());
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

/// Ends of the names of embeddings, and of heads that may be the same.
const EMBEDDINGS: &[&str] =
    &["embed_tokens.weight", "wte.weight", "word_embeddings.weight", "tok_embeddings.weight", "token_embd.weight"];
const HEADS: &[&str] = &["lm_head.weight", "embed_out.weight", "output.weight"];

fn note(rule: &'static rules::Rule, verdict: Verdict, file: &str, name: &str, detail: String) -> Finding {
    let mut finding = Finding::of(rule, verdict, detail).within(name.to_owned());
    file.clone_into(&mut finding.file);
    finding
}

fn file_of(tensor: &Tensor) -> &str {
    tensor.place().map_or("", |(file, _)| file)
}

/// Tensors that are the same and need not be, and those that should be the same and are not.
fn same(checkpoint: &Checkpoint, reads: &[Result<Read, String>], tied: Option<bool>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut by_hash: BTreeMap<([u8; 32], &[u64]), Vec<&Tensor>> = BTreeMap::new();
    let (mut embedding, mut head) = (None, None);
    for (tensor, read) in checkpoint.contents.tensors.iter().zip(reads) {
        let Ok(Read { sha256: Some(hash), stats: Some(stats), .. }) = read else { continue };
        let ends =
            |list: &[&str]| list.iter().any(|end| tensor.name == *end || tensor.name.ends_with(&format!(".{end}")));
        if ends(EMBEDDINGS) {
            embedding = embedding.or(Some((tensor, *hash)));
        } else if ends(HEADS) {
            head = head.or(Some((tensor, *hash)));
        }
        // Norms and biases begin alike, and may stay so.
        if tensor.shape.len() > 1 && stats.min < stats.max {
            by_hash.entry((*hash, tensor.shape.as_slice())).or_default().push(tensor);
        }
    }
    if let (Some((embedding, one)), Some((head, other))) = (embedding, head)
        && tied == Some(true)
        && one != other
        && embedding.shape == head.shape
    {
        let (name, other) = (super::pickle::plain(&head.name), super::pickle::plain(&embedding.name));
        let detail =
            format!("tensor `{name}` is another one than `{other}`, and the configuration says that both are one");
        found.push(note(rules::WEIGHTS_UNTIED, Verdict::Caution, file_of(head), &name, detail));
    }
    for tensors in by_hash.values().filter(|tensors| tensors.len() > 1).take(MOST) {
        let names: Vec<String> =
            tensors.iter().take(4).map(|tensor| format!("`{}`", super::pickle::plain(&tensor.name))).collect();
        let Some(first) = tensors.first() else { continue };
        // One list of bytes under two names is what tied weights are.
        if tensors.iter().all(|tensor| tensor.place() == first.place()) {
            continue;
        }
        let detail = format!("{} tensors are the same: {}", tensors.len(), names.join(", "));
        found.push(note(
            rules::WEIGHTS_DUPLICATE,
            Verdict::Safe,
            file_of(first),
            &super::pickle::plain(&first.name),
            detail,
        ));
    }
    found
}

/// The rows of a matrix, or of what it differs by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Name of the tensor.
    pub name: String,
    /// File that it lies in.
    pub file: String,
    /// What was found.
    pub found: stats::Rows,
}

/// Findings about rows of matrices.
#[must_use]
pub fn judge_rows(all: &[Rows]) -> Vec<Finding> {
    let mut found = Vec::new();
    for Rows { name, file, found: rows } in all {
        let name = super::pickle::plain(name);
        let mut said = Vec::new();
        if rows.empty > 0 && rows.empty < rows.rows {
            said.push(format!("{} of {} rows are zeros", rows.empty, rows.rows));
        }
        if rows.empty_columns > 0 && rows.empty_columns < rows.columns {
            said.push(format!("{} of {} columns are zeros", rows.empty_columns, rows.columns));
        }
        if let Some((row, norm, distance)) = rows.outliers.first() {
            said.push(format!(
                "row {row} has the norm {norm:.4} where the median is {:.4}, {distance:.0} robust standard deviations above it",
                rows.median
            ));
        }
        if !said.is_empty() && found.len() < MOST {
            let detail = format!("tensor `{name}`: {}", said.join("; "));
            found.push(note(rules::WEIGHTS_ROWS, Verdict::Safe, file, &name, detail));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_stand_out_are_told() {
        let mut found = stats::Rows { rows: 200, ..stats::Rows::default() };
        found.outliers = vec![(17, 9.0, 80.0)];
        let rows = Rows { name: "w".into(), file: String::new(), found };
        assert!(judge_rows(&[rows])[0].detail.contains("row 17"));
        assert!(judge_rows(&[Rows::default()]).is_empty());
    }
}
