//! Singular values of small matrices.
//!
//! They are the roots of the eigenvalues of the Gram matrix, which Householder reflections make tridiagonal and
//! implicitly shifted QR steps diagonal (Golub and Van Loan, *Matrix Computations*, 4th ed., sections 8.3.1 and 8.3.3).
//! The squares cost half of the digits: values below about `1e-8` of the largest are noise.

/// Singular values of a matrix, largest first.
///
/// # Shapes and units
/// - `rows`: rows of the same length, row-major in one slice, `columns` numbers each; an incomplete last row is left out
/// - returns as many values as the shorter side has
///
/// Takes `O(rows · columns · min + min³)`. A matrix with numbers that are not finite gives none.
#[must_use]
pub fn singular_values(matrix: &[f32], columns: usize) -> Vec<f64> {
    let Some(rows) = matrix.len().checked_div(columns).filter(|&rows| rows > 0) else { return Vec::new() };
    let mut gram = if rows < columns { of_rows(matrix, columns) } else { of_columns(matrix, columns) };
    if gram.values.iter().any(|value| !value.is_finite()) {
        return Vec::new();
    }
    let (mut diagonal, mut beside) = gram.tridiagonal();
    diagonalise(&mut diagonal, &mut beside);
    let mut values: Vec<f64> = diagonal.into_iter().map(|value| value.max(0.0).sqrt()).collect();
    values.sort_by(|one, other| other.total_cmp(one));
    values
}

/// A symmetric matrix, all of it, row-major.
struct Symmetric {
    size: usize,
    values: Vec<f64>,
}

/// `M·Mᵀ`.
fn of_rows(matrix: &[f32], columns: usize) -> Symmetric {
    let rows: Vec<&[f32]> = matrix.chunks_exact(columns).collect();
    let mut gram = Symmetric::new(rows.len());
    for (at, row) in rows.iter().enumerate() {
        for (other, with) in rows.iter().enumerate().take(at + 1) {
            let product = row.iter().zip(*with).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
            gram.set(at, other, product);
        }
    }
    gram
}

/// `Mᵀ·M`.
fn of_columns(matrix: &[f32], columns: usize) -> Symmetric {
    let mut gram = Symmetric::new(columns);
    let mut wide = vec![0f64; columns];
    for row in matrix.chunks_exact(columns) {
        wide.iter_mut().zip(row).for_each(|(wide, &x)| *wide = f64::from(x));
        for (sums, &x) in gram.values.chunks_exact_mut(columns).zip(&wide) {
            if x != 0.0 {
                sums.iter_mut().zip(&wide).for_each(|(sum, y)| *sum += x * y);
            }
        }
    }
    gram
}

impl Symmetric {
    fn new(size: usize) -> Self {
        Self { size, values: vec![0.0; size * size] }
    }

    fn set(&mut self, row: usize, column: usize, value: f64) {
        for at in [row * self.size + column, column * self.size + row] {
            if let Some(place) = self.values.get_mut(at) {
                *place = value;
            }
        }
    }

    /// Diagonal and the diagonal beside it of a tridiagonal matrix with the same eigenvalues.
    fn tridiagonal(&mut self) -> (Vec<f64>, Vec<f64>) {
        let size = self.size;
        let (mut diagonal, mut beside) = (Vec::with_capacity(size), Vec::with_capacity(size));
        let mut product = vec![0f64; size];
        for step in 0..size {
            let row: Vec<f64> = self.values.get(step * size + step..(step + 1) * size).unwrap_or_default().to_vec();
            diagonal.push(row.first().copied().unwrap_or(0.0));
            let mut mirror = row.get(1..).unwrap_or_default().to_vec();
            let Some(&first) = mirror.first() else { break };
            let norm = mirror.iter().map(|x| x * x).sum::<f64>().sqrt();
            let target = if first > 0.0 { -norm } else { norm };
            beside.push(target);
            if let Some(first) = mirror.first_mut() {
                *first -= target;
            }
            let length = mirror.iter().map(|x| x * x).sum::<f64>().sqrt();
            if length == 0.0 {
                continue;
            }
            mirror.iter_mut().for_each(|x| *x /= length);
            // With `p = A·v`, `w = p − (v·p)·v`: the reflected matrix is `A − 2·v·wᵀ − 2·w·vᵀ`.
            let inner = |row: usize| (step + 1 + row) * size + step + 1..(step + 2 + row) * size;
            let len = mirror.len();
            for (row, product) in product.iter_mut().enumerate().take(len) {
                let values = self.values.get(inner(row)).unwrap_or_default();
                *product = values.iter().zip(&mirror).map(|(a, v)| a * v).sum();
            }
            let along: f64 = product.iter().zip(&mirror).map(|(p, v)| p * v).sum();
            product.iter_mut().zip(&mirror).for_each(|(p, v)| *p -= along * v);
            for (row, (&v, &w)) in mirror.iter().zip(&product).enumerate() {
                let values = self.values.get_mut(inner(row)).unwrap_or_default();
                for ((a, &other_v), &other_w) in values.iter_mut().zip(&mirror).zip(&product) {
                    *a -= 2.0 * (v * other_w + w * other_v);
                }
            }
        }
        (diagonal, beside)
    }
}

/// Eigenvalues of a symmetric tridiagonal matrix, in place of its diagonal.
fn diagonalise(diagonal: &mut [f64], beside: &mut [f64]) {
    // Two or three steps a value are usual; thirty never happen but to what is no number.
    let mut steps = 30 * diagonal.len();
    let mut end = diagonal.len();
    while end > 1 && steps > 0 {
        let small = |at: usize| {
            let near = diagonal.get(at).map_or(0.0, |x| x.abs()) + diagonal.get(at + 1).map_or(0.0, |x| x.abs());
            beside.get(at).is_none_or(|x| x.abs() <= f64::EPSILON * near || x.abs() < f64::MIN_POSITIVE)
        };
        if small(end - 2) {
            end -= 1;
            continue;
        }
        let begin = (0..end - 2).rev().find(|&at| small(at)).map_or(0, |at| at + 1);
        if let (Some(diagonal), Some(beside)) = (diagonal.get_mut(begin..end), beside.get_mut(begin..end - 1)) {
            step(diagonal, beside);
        }
        steps -= 1;
    }
}

/// One QR step with Wilkinson's shift.
fn step(diagonal: &mut [f64], beside: &mut [f64]) {
    let size = diagonal.len();
    let half = (diagonal[size - 2] - diagonal[size - 1]) / 2.0;
    let last = beside[size - 2];
    let root = half.hypot(last);
    let shift = diagonal[size - 1] - last * last / (half + if half >= 0.0 { root } else { -root });
    let (mut x, mut z) = (diagonal[0] - shift, beside[0]);
    for at in 0..size - 1 {
        let length = x.hypot(z);
        let (c, s) = if length == 0.0 { (1.0, 0.0) } else { (x / length, z / length) };
        if at > 0 {
            beside[at - 1] = length;
        }
        let (upper, lower, off) = (diagonal[at], diagonal[at + 1], beside[at]);
        diagonal[at] = c * c * upper + 2.0 * c * s * off + s * s * lower;
        diagonal[at + 1] = s * s * upper - 2.0 * c * s * off + c * c * lower;
        beside[at] = c * s * (lower - upper) + (c * c - s * s) * off;
        if at + 2 < size {
            x = beside[at];
            z = s * beside[at + 1];
            beside[at + 1] *= c;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(len: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn known_matrices_have_their_known_values() {
        let close = |found: Vec<f64>, wanted: &[f64]| {
            assert_eq!(found.len(), wanted.len(), "{found:?}");
            for (found, wanted) in found.iter().zip(wanted) {
                assert!((found - wanted).abs() < 1e-6, "{found} {wanted}");
            }
        };
        close(singular_values(&[3.0, 0.0, 0.0, -4.0], 2), &[4.0, 3.0]);
        // NumPy: svd([[1, 2, 3], [4, 5, 6]]).
        close(singular_values(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3), &[9.508_032_0, 0.772_869_6]);
        close(singular_values(&[0.0; 9], 3), &[0.0; 3]);
        close(singular_values(&[2.0], 1), &[2.0]);
        assert!(singular_values(&[f32::NAN, 1.0], 1).is_empty() && singular_values(&[], 0).is_empty());
    }

    #[test]
    fn a_product_of_thin_matrices_has_their_rank() {
        for (rows, columns, rank) in [(96, 96, 8), (40, 120, 3), (130, 50, 20)] {
            let (left, right) = (noise(rows * rank, 1), noise(rank * columns, 2));
            let matrix: Vec<f32> = (0..rows * columns)
                .map(|at| (0..rank).map(|k| left[at / columns * rank + k] * right[k * columns + at % columns]).sum())
                .collect();
            let values = singular_values(&matrix, columns);
            assert!(values[rank - 1] > 1e3 * values[rank], "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn the_squares_of_the_values_sum_up_to_those_of_the_elements(rows in 1usize..40, columns in 1usize..40, seed: u64) {
            let matrix = noise(rows * columns, seed);
            let values = singular_values(&matrix, columns);
            prop_assert_eq!(values.len(), rows.min(columns));
            let (of_values, of_elements): (f64, f64) =
                (values.iter().map(|x| x * x).sum(), matrix.iter().map(|&x| f64::from(x).powi(2)).sum());
            prop_assert!((of_values - of_elements).abs() <= 1e-9 * of_elements.max(1.0), "{} {}", of_values, of_elements);
        }
    }
}
