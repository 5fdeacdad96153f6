//! The values of weights: what `--weights` and `--base` look at. Everything said of them is advice, with its numbers.

use std::collections::BTreeMap;

use weighthouse_format::checkpoint::{self, Checkpoint};
use weighthouse_format::data::Elements;
use weighthouse_format::gguf::families;
use weighthouse_format::number::numbers;
use weighthouse_format::spectrum::singular_values;
use weighthouse_format::stats::{self, Wanted, extents};
use weighthouse_format::{Folder, FormatError, Limits, Tensor};
use weighthouse_trust::scan::weights::{self, Delta, Rows, Spectrum};
use weighthouse_trust::scan::{FileScan, Report};

use crate::Error;
use crate::diff::{self, Side, State};

/// Robust standard deviations above which a row's norm is told.
const FAR: f64 = 12.0;
/// And above which the change of a row is.
const CHANGED: f64 = 6.0;
/// Bytes of rows that are read at once.
const BAND_BYTES: u64 = 8 << 20;
/// Highest rank of an adapter whose spectrum is computed.
const MAX_RANK: usize = 512;
/// Most elements of a matrix of an adapter.
const MAX_ADAPTER: u64 = 1 << 26;
/// Rows of an adapter's product that are looked at for their kurtosis.
const SAMPLE: usize = 64;

/// Adds what the values of weights show to the files that they lie in.
pub(super) fn add(folder: &dyn Folder, file: Option<&str>, scans: &mut [FileScan]) {
    let limits = Limits::default();
    // What is no checkpoint has no weights.
    let Ok(checkpoint) = read(folder, file, &limits) else { return };
    let tensors: Vec<&Tensor> = checkpoint.contents.tensors.iter().collect();
    let wanted = Wanted { stats: true, sha256: true, bits: true, rows: Some(FAR) };
    let reads: Vec<_> = stats::read_all(folder, &tensors, wanted, &limits, &|_| {})
        .into_iter()
        .map(|read| read.map_err(|error| error.to_string()))
        .collect();
    let config = config(folder);
    let tied = config.as_ref().and_then(|config| config.get("tie_word_embeddings")?.as_bool());
    let mut findings = weights::judge(&checkpoint, &reads, tied);
    findings.extend(config.and_then(|config| architecture(&config, &checkpoint, file)).unwrap_or_default());
    let rows = tensors.iter().zip(&reads).filter_map(|(tensor, read)| {
        let found = read.as_ref().ok()?.rows.clone()?;
        Some(Rows { name: tensor.name.clone(), file: file_of(tensor), found })
    });
    findings.extend(weights::judge_rows(&rows.collect::<Vec<_>>()));
    findings.extend(weights::judge_adapters(&adapters(folder, &tensors, &limits)));
    for finding in findings {
        let at = scans.iter().position(|scan| scan.path == finding.file).unwrap_or(0);
        if let Some(scan) = scans.get_mut(at) {
            scan.verdict = scan.verdict.max(finding.verdict);
            scan.findings.push(finding);
        }
    }
}

/// Adds to a report how its weights differ from those of a base.
///
/// # Errors
/// When either cannot be read as a checkpoint.
pub fn add_base(
    report: &mut Report,
    (folder, file): (&dyn Folder, Option<&str>),
    (base, base_file): (&dyn Folder, Option<&str>),
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<(), Error> {
    let limits = Limits::default();
    let (before, after) = (diff::open(base, base_file)?, diff::open(folder, file)?);
    let (mut a, mut b) = (Side::new(base, &before), Side::new(folder, &after));
    (a.whole, b.whole) = (base_file.is_none(), file.is_none());
    let comparison = diff::compare(a, b, None, progress);
    let place = |name: &str| {
        let tensor = after.contents.tensors.iter().find(|tensor| tensor.name == name);
        tensor.map(file_of).unwrap_or_default()
    };
    let (mut deltas, mut rows, mut compared) = (Vec::new(), Vec::new(), 0);
    for change in &comparison.tensors {
        let Some(numbers) = change.numbers.filter(|_| !change.buffer) else { continue };
        compared += 1;
        if change.state != State::Changed {
            continue;
        }
        let name = change.name().to_owned();
        let file = place(&name);
        if let Some(found) = changed_rows((base, &before), (folder, &after), &name, &limits) {
            rows.push(Rows { file: file.clone(), ..found });
        }
        deltas.push(Delta {
            file,
            name,
            relative: numbers.relative,
            norm: numbers.squares.sqrt(),
            low: change.rank.and_then(|rank| rank.low),
            effective: change.rank.map(|rank| rank.effective),
        });
    }
    report.add(weights::judge_base(compared, &deltas, &rows));
    Ok(())
}

fn file_of(tensor: &Tensor) -> String {
    tensor.place().map_or("", |(file, _)| file).to_owned()
}

fn read(folder: &dyn Folder, file: Option<&str>, limits: &Limits) -> Result<Checkpoint, FormatError> {
    match file {
        Some(path) => checkpoint::read_file(folder, path, limits),
        None => checkpoint::read(folder, limits),
    }
}

/// The `config.json` of a folder.
fn config(folder: &dyn Folder) -> Option<serde_json::Map<String, serde_json::Value>> {
    let section = folder.open("config.json").ok().filter(|section| section.len() <= 1 << 20)?;
    let bytes = section.read("config.json", 0, section.len()).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Findings about the tensors that the configuration asks for.
fn architecture(
    config: &serde_json::Map<String, serde_json::Value>,
    checkpoint: &Checkpoint,
    file: Option<&str>,
) -> Option<Vec<weighthouse_trust::scan::Finding>> {
    let tensors = &checkpoint.contents.tensors;
    // One shard is not all of a model.
    let whole = file.is_none_or(|file| !file.contains("-of-"));
    let differences = families::differences(config, tensors, whole)?;
    let place = tensors.first().map(file_of).unwrap_or_default();
    Some(weights::judge_architecture(&differences, &place))
}

/// Rows of embeddings that changed far more than the others.
fn changed_rows(
    (base, before): (&dyn Folder, &Checkpoint),
    (folder, after): (&dyn Folder, &Checkpoint),
    name: &str,
    limits: &Limits,
) -> Option<Rows> {
    if !name.contains("embed") && !name.ends_with("wte.weight") && !name.ends_with("token_embd.weight") {
        return None;
    }
    let of = |checkpoint: &Checkpoint| checkpoint.contents.tensors.iter().position(|tensor| tensor.name == name);
    let one = before.contents.tensors.get(of(before)?)?;
    let other = after.contents.tensors.get(of(after)?)?;
    let (rows, columns) = extents(other).filter(|found| extents(one) == Some(*found))?;
    // Row by row of both: one whole matrix of embeddings would be gigabytes.
    let wide = usize::try_from(columns).ok()?;
    let (mut first, mut second) = (Elements::new(base, one, limits).ok()?, Elements::new(folder, other, limits).ok()?);
    let step = (BAND_BYTES / (columns * 8)).max(1);
    let (mut at, mut norms) = (0, Vec::new());
    while at < rows {
        let len = step.min(rows - at);
        let read = |elements: &mut Elements<'_>, tensor: &Tensor| {
            let mut bytes = vec![0; usize::try_from(len * columns * elements.unit_bytes()).ok()?];
            elements.read(at * columns, &mut bytes).ok()?;
            let found = numbers(tensor.dtype, &bytes).ok()?;
            Some((0..found.len()).map(|at| found.get(at).unwrap_or(0.0)).collect::<Vec<f64>>())
        };
        let (one, other) = (read(&mut first, one)?, read(&mut second, other)?);
        for (one, other) in one.chunks_exact(wide).zip(other.chunks_exact(wide)) {
            norms.push(one.iter().zip(other).map(|(x, y)| (y - x) * (y - x)).sum::<f64>().sqrt());
        }
        at += len;
    }
    let mut found = stats::Rows { rows, columns, ..stats::Rows::default() };
    found.stand_out(&norms, CHANGED);
    Some(Rows { name: name.to_owned(), file: String::new(), found })
}

/// The spectra of all adapters.
fn adapters(folder: &dyn Folder, tensors: &[&Tensor], limits: &Limits) -> Vec<Spectrum> {
    let mut pairs: BTreeMap<String, (Option<&Tensor>, Option<&Tensor>)> = BTreeMap::new();
    for tensor in tensors {
        for (down, up) in [("lora_A", "lora_B"), ("lora_down", "lora_up"), ("lora.down", "lora.up")] {
            if let Some((module, _)) = tensor.name.split_once(&format!(".{down}.")) {
                pairs.entry(module.to_owned()).or_default().0 = Some(tensor);
            } else if let Some((module, _)) = tensor.name.split_once(&format!(".{up}.")) {
                pairs.entry(module.to_owned()).or_default().1 = Some(tensor);
            }
        }
    }
    let found = pairs.into_iter().filter_map(|(module, pair)| {
        let (down, up) = (pair.0?, pair.1?);
        spectrum(folder, module, down, up, limits)
    });
    found.collect()
}

/// The spectrum of `up · down`, without the product: with `down = L·Q`, where `L·Lᵀ = down·downᵀ` and the rows of `Q` are
/// orthonormal, its singular values are those of `up · L`.
fn spectrum(folder: &dyn Folder, module: String, down: &Tensor, up: &Tensor, limits: &Limits) -> Option<Spectrum> {
    let (&[rank, columns], &[rows, other]) = (down.shape.as_slice(), up.shape.as_slice()) else { return None };
    let fits =
        rank == other && rank > 0 && rank <= MAX_RANK as u64 && rank.max(rows).checked_mul(columns.max(rank))? > 0;
    if !fits || rank.checked_mul(columns)? > MAX_ADAPTER || rank.checked_mul(rows)? > MAX_ADAPTER {
        return None;
    }
    let matrix = |tensor: &Tensor| {
        let bytes = Elements::new(folder, tensor, limits).ok()?.read_all().ok()?;
        let found = numbers(tensor.dtype, &bytes).ok()?;
        let values: Vec<f64> = (0..found.len()).map(|at| found.get(at).unwrap_or(f64::NAN)).collect();
        values.iter().all(|value| value.is_finite()).then_some(values)
    };
    let (down_values, up_values) = (matrix(down)?, matrix(up)?);
    let (rank_len, wide) = (usize::try_from(rank).ok()?, usize::try_from(columns).ok()?);
    let factor = cholesky(&down_values, rank_len, wide);
    let product: Vec<f32> = up_values
        .chunks_exact(rank_len)
        .flat_map(|row| {
            let factor = &factor;
            (0..rank_len).map(move |column| {
                row.iter()
                    .enumerate()
                    .map(|(at, x)| x * factor.get(at * rank_len + column).copied().unwrap_or(0.0))
                    .sum::<f64>() as f32
            })
        })
        .collect();
    let values = singular_values(&product, rank_len);
    let squares: f64 = values.iter().map(|value| value * value).sum();
    let leading = values.first().copied()?;
    if squares <= 0.0 {
        return None;
    }
    let shares = values.iter().map(|value| value * value / squares).filter(|share| *share > 0.0);
    let entropy: f64 = shares.map(|share| -share * share.ln()).sum();
    let most = (values.len() as f64).ln();
    Some(Spectrum {
        module,
        file: file_of(up),
        rank,
        leading,
        norm: squares.sqrt(),
        concentration: leading * leading / squares,
        entropy: if most > 0.0 { entropy / most } else { 0.0 },
        kurtosis: kurtosis(&up_values, &down_values, rank_len, wide),
    })
}

/// The lower triangle `L` with `L·Lᵀ = A·Aᵀ`, row-major; columns of directions that are not there are zeros.
fn cholesky(matrix: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    let row = |at: usize| matrix.get(at * columns..(at + 1) * columns).unwrap_or_default();
    let mut factor = vec![0f64; rows * rows];
    let largest = (0..rows).map(|at| row(at).iter().map(|x| x * x).sum::<f64>()).fold(0.0, f64::max);
    for i in 0..rows {
        for j in 0..=i {
            let product: f64 = row(i).iter().zip(row(j)).map(|(x, y)| x * y).sum();
            let line = |at: usize| factor.get(at * rows..at * rows + j).unwrap_or_default();
            let rest = product - line(i).iter().zip(line(j)).map(|(x, y)| x * y).sum::<f64>();
            let value = if i == j {
                if rest > 1e-12 * largest { rest.sqrt() } else { 0.0 }
            } else {
                let diagonal = factor.get(j * rows + j).copied().unwrap_or(0.0);
                if diagonal > 0.0 { rest / diagonal } else { 0.0 }
            };
            if let Some(place) = factor.get_mut(i * rows + j) {
                *place = value;
            }
        }
    }
    factor
}

/// Kurtosis of the elements of `up · down`, by rows at even distances.
fn kurtosis(up: &[f64], down: &[f64], rank: usize, columns: usize) -> f64 {
    let rows = up.len() / rank.max(1);
    let step = (rows / SAMPLE).max(1);
    let (mut count, mut sums) = (0f64, [0f64; 4]);
    for row in up.chunks_exact(rank).step_by(step).take(SAMPLE) {
        let mut product = vec![0f64; columns];
        for (x, line) in row.iter().zip(down.chunks_exact(columns)) {
            product.iter_mut().zip(line).for_each(|(sum, y)| *sum += x * y);
        }
        for value in product {
            count += 1.0;
            let mut power = value;
            for sum in &mut sums {
                *sum += power;
                power *= value;
            }
        }
    }
    let [m1, m2, m3, m4] = sums.map(|sum| sum / count.max(1.0));
    let variance = m2 - m1 * m1;
    if variance <= 0.0 {
        return 0.0;
    }
    (m4 - 4.0 * m1 * m3 + 6.0 * m1 * m1 * m2 - 3.0 * m1.powi(4)) / (variance * variance)
}

/// What findings of weights were said, for tests.
#[cfg(test)]
pub(super) fn rules(findings: &[weighthouse_trust::scan::Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.rule.as_ref()).collect()
}
