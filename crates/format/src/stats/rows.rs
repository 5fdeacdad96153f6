//! Rows and columns of a matrix: which are empty, and which rows are far longer than the others.

use crate::dtype::Dtype;
use crate::number::Numbers;
use crate::tensor::Tensor;

/// Most columns of a matrix whose rows are looked at.
const MAX_COLUMNS: u64 = 1 << 22;
/// Most rows that are looked at.
const MAX_ROWS: u64 = 1 << 21;
/// Fewest of either.
const FEWEST: u64 = 8;
/// Rows that stand out of which so many are told.
const MOST: usize = 8;

/// The rows of a matrix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
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
            let half = values.len() / 2;
            if half >= values.len() {
                return 0.0;
            }
            *values.select_nth_unstable_by(half, f64::total_cmp).1
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
        found.truncate(MOST);
        self.outliers = found;
    }
}

/// Rows and columns of a matrix of numbers; `None` for what is none, and for what is too small or too large to tell.
#[must_use]
pub fn extents(tensor: &Tensor) -> Option<(u64, u64)> {
    let &[rows, columns] = tensor.shape.as_slice() else { return None };
    let one = tensor.dtype.block_elements() == 1
        && !matches!(tensor.dtype, Dtype::C32 | Dtype::C64 | Dtype::C128 | Dtype::Text | Dtype::F128);
    (one && (FEWEST..=MAX_ROWS).contains(&rows) && (FEWEST..=MAX_COLUMNS).contains(&columns)).then_some((rows, columns))
}

/// Reads the rows of one matrix, in order.
pub(super) struct RowsReader {
    columns: usize,
    /// Columns of the row that were read.
    at: usize,
    squares: f64,
    norms: Vec<f64>,
    full: Vec<bool>,
}

impl RowsReader {
    pub(super) fn new(tensor: &Tensor) -> Option<Self> {
        let columns = usize::try_from(extents(tensor)?.1).ok()?;
        Some(Self { columns, at: 0, squares: 0.0, norms: Vec::new(), full: vec![false; columns] })
    }

    pub(super) fn feed(&mut self, found: &Numbers) {
        match found {
            Numbers::Single(values) => self.take(values),
            Numbers::Double(values) => self.take(values),
        }
    }

    fn take<T: Copy + Into<f64> + PartialEq + Default>(&mut self, mut values: &[T]) {
        while !values.is_empty() {
            let (part, rest) = values.split_at(values.len().min(self.columns - self.at));
            values = rest;
            let mut sums = [0f64; 8];
            let (eights, tail) = part.as_chunks::<8>();
            for eight in eights {
                for (sum, &value) in sums.iter_mut().zip(eight) {
                    let value: f64 = value.into();
                    *sum += value * value;
                }
            }
            for (sum, &value) in sums.iter_mut().zip(tail) {
                let value: f64 = value.into();
                *sum += value * value;
            }
            self.squares += sums.iter().sum::<f64>();
            for (full, &value) in self.full.iter_mut().skip(self.at).zip(part) {
                *full |= value != T::default();
            }
            self.at += part.len();
            if self.at == self.columns {
                self.norms.push(self.squares.sqrt());
                (self.at, self.squares) = (0, 0.0);
            }
        }
    }

    pub(super) fn finish(self, limit: f64) -> Rows {
        let mut found = Rows {
            rows: self.norms.len() as u64,
            columns: self.columns as u64,
            empty: self.norms.iter().filter(|norm| **norm == 0.0).count() as u64,
            empty_columns: self.full.iter().filter(|full| !**full).count() as u64,
            ..Rows::default()
        };
        found.stand_out(&self.norms, limit);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Stored;

    #[test]
    fn rows_that_stand_out_are_found() {
        let mut norms: Vec<f64> = (0..200).map(|row| 1.0 + f64::from(row % 10) / 100.0).collect();
        norms[17] = 9.0;
        let mut rows = Rows::default();
        rows.stand_out(&norms, 12.0);
        assert_eq!((rows.outliers.len(), rows.outliers[0].0), (1, 17));
        let mut same = Rows::default();
        same.stand_out(&[1.0; 50], 6.0);
        same.stand_out(&[], 6.0);
        assert!(same.outliers.is_empty());
    }

    #[test]
    fn rows_and_columns_of_zeros_are_counted_however_the_matrix_is_cut() {
        let (rows, columns) = (10usize, 9usize);
        let values: Vec<f32> =
            (0..rows * columns).map(|at| if at / columns == 3 || at % columns == 8 { 0.0 } else { 1.0 }).collect();
        let tensor = Tensor::plain("w", Dtype::F32, vec![10, 9], Stored::Fill([0u8].as_slice().into()));
        for step in [1, 7, 9, 90] {
            let mut reader = RowsReader::new(&tensor).unwrap();
            values.chunks(step).for_each(|part| reader.feed(&Numbers::Single(part.to_vec())));
            let found = reader.finish(12.0);
            assert_eq!((found.rows, found.empty, found.columns, found.empty_columns), (10, 1, 9, 1), "{step}");
            assert!((found.median - 8f64.sqrt()).abs() < 1e-12);
        }
        let pairs = Tensor { dtype: Dtype::C64, ..tensor.clone() };
        assert!(extents(&pairs).is_none(), "a complex number is two");
        assert!(extents(&Tensor { shape: vec![1 << 40, 8], ..tensor }).is_none());
    }
}
