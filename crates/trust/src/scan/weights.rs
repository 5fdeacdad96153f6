//! What values of weights show: advisory findings with their numbers, never more than caution.

use std::collections::BTreeMap;

use weighthouse_format::Tensor;
use weighthouse_format::checkpoint::Checkpoint;
use weighthouse_format::stats::Read;

use super::report::Finding;
use super::rules;
use super::verdict::{Severity, Verdict};

/// Most findings of one kind.
const MOST: usize = 20;

/// Findings about tensors whose values were read, in the order of [`Checkpoint::tensors`].
///
/// `tied` is what the configuration says of the head and the embeddings.
#[must_use]
pub fn judge(checkpoint: &Checkpoint, reads: &[Result<Read, String>], tied: Option<bool>) -> Vec<Finding> {
    let mut found = same(checkpoint, reads, tied);
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
    /// Number of rows.
    pub rows: u64,
    /// Rows of zeros.
    pub empty: u64,
    /// Number of columns.
    pub columns: u64,
    /// Columns of zeros.
    pub empty_columns: u64,
    /// Median of the norms of rows.
    pub median: f64,
    /// Rows whose norms stand out: number, norm, and how many robust standard deviations above the median; the first few.
    pub outliers: Vec<(u64, f64, f64)>,
}

impl Rows {
    /// Finds what stands out of the norms of rows: more than `limit` robust standard deviations (1.4826 times the median
    /// distance from the median).
    pub fn stand_out(&mut self, norms: &[f64], limit: f64) {
        let middle = |values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(0.0)
        };
        self.median = middle(&mut norms.to_vec());
        let mut distances: Vec<f64> = norms.iter().map(|norm| (norm - self.median).abs()).collect();
        let spread = 1.4826 * middle(&mut distances);
        if spread <= 0.0 {
            return;
        }
        let mut found: Vec<(u64, f64, f64)> = norms
            .iter()
            .enumerate()
            .map(|(row, &norm)| (row as u64, norm, (norm - self.median) / spread))
            .filter(|(.., distance)| *distance > limit)
            .collect();
        found.sort_by(|one, other| other.2.total_cmp(&one.2));
        found.truncate(8);
        self.outliers = found;
    }
}

/// Findings about rows of matrices.
#[must_use]
pub fn judge_rows(all: &[Rows]) -> Vec<Finding> {
    let mut found = Vec::new();
    for rows in all {
        let name = super::pickle::plain(&rows.name);
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
            found.push(note(rules::WEIGHTS_ROWS, Verdict::Safe, &rows.file, &name, detail));
        }
    }
    found
}

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
        let module = super::pickle::plain(&spectrum.module);
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
            super::pickle::plain(&most.name),
            most.relative * 100.0
        );
        found.push(note(rules::WEIGHTS_BASE, Verdict::Safe, &most.file, "", detail));
    }
    // An edit of a fact changes one matrix, or a few, in one direction.
    let few = deltas.len() as u64 * 10 <= compared && deltas.len() <= 8;
    for delta in sorted.into_iter().take(MOST) {
        let name = super::pickle::plain(&delta.name);
        let rank = match (delta.low, delta.effective) {
            (Some(low), _) => format!(", in {low} directions"),
            (None, Some(effective)) => format!(", effective rank {effective:.1}"),
            (None, None) => String::new(),
        };
        let edit = few && delta.low.is_some_and(|low| low <= 2);
        let (rule, verdict) =
            if edit { (rules::WEIGHTS_EDIT, Verdict::Caution) } else { (rules::WEIGHTS_BASE, Verdict::Safe) };
        let detail = format!(
            "tensor `{name}` differs from the base by a norm of {:.4} ({:.3} %){rank}",
            delta.norm,
            delta.relative * 100.0
        );
        found.push(note(rule, verdict, &delta.file, &name, detail));
    }
    for rows in rows.iter().filter(|rows| !rows.outliers.is_empty()).take(MOST) {
        let name = super::pickle::plain(&rows.name);
        let list: Vec<String> = rows
            .outliers
            .iter()
            .map(|(row, norm, distance)| format!("{row} (by {norm:.3}, {distance:.0} deviations)"))
            .collect();
        let detail = format!("rows of `{name}` changed far more than the others: {}", list.join(", "));
        found.push(note(rules::WEIGHTS_EDIT, Verdict::Caution, &rows.file, &name, detail));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_stand_out_are_found() {
        let mut norms: Vec<f64> = (0..200).map(|row| 1.0 + f64::from(row % 10) / 100.0).collect();
        norms[17] = 9.0;
        let mut rows = Rows { name: "w".into(), rows: 200, ..Rows::default() };
        rows.stand_out(&norms, 12.0);
        assert_eq!(rows.outliers.len(), 1);
        assert_eq!(rows.outliers[0].0, 17);
        assert!(judge_rows(&[rows])[0].detail.contains("row 17"));
        let mut same = Rows::default();
        same.stand_out(&[1.0; 50], 6.0);
        same.stand_out(&[], 6.0);
        assert!(same.outliers.is_empty() && judge_rows(&[same]).is_empty());
    }

    #[test]
    fn a_single_change_of_one_direction_is_an_edit_and_training_is_none() {
        let delta = |low| Delta { name: "mlp".into(), relative: 0.1, norm: 2.0, low, ..Delta::default() };
        let edit = judge_base(100, &[delta(Some(1))], &[]);
        assert!(edit.iter().any(|finding| finding.verdict == Verdict::Caution), "{edit:?}");
        let lora = judge_base(100, &vec![delta(Some(1)); 30], &[]);
        assert!(lora.iter().all(|finding| finding.verdict == Verdict::Safe));
        let trained = judge_base(100, &[delta(None)], &[]);
        assert!(trained.iter().all(|finding| finding.verdict == Verdict::Safe));
        assert!(judge_base(100, &[], &[]).is_empty());
    }
}
