//! The order of rows inside attention heads.
//!
//! transformers rotates element `j` of a head together with element `j + d/2`, ggml's first kind of rotation element `2j`
//! together with `2j + 1`. Llama's query and key rows change places accordingly; nothing else about the model does.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::FormatError;

/// Most rows that are put in another order; the largest models have 16,384.
const ROWS: u64 = 1 << 20;

/// Which way rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Way {
    ToGguf,
    ToHf,
}

/// Orders of rows that were asked for, shared between blocks.
#[derive(Default)]
pub(super) struct Orders {
    known: HashMap<(u64, u64, Way), Arc<[u64]>>,
}

impl Orders {
    /// The row of the source for each row that is written, of `rows` rows in `heads` heads.
    ///
    /// # Errors
    /// [`FormatError::Broken`], which names the tensor, when the heads do not divide the rows in halves.
    pub(super) fn of(&mut self, tensor: &str, rows: u64, heads: u64, way: Way) -> Result<Arc<[u64]>, FormatError> {
        if heads == 0 || rows > ROWS || !rows.is_multiple_of(heads.saturating_mul(2)) {
            let detail = format!("{rows} rows of `{tensor}` are not {heads} heads with two halves each");
            return Err(FormatError::Broken { what: "tensor", at: 0, detail });
        }
        if let Some(order) = self.known.get(&(rows, heads, way)) {
            return Ok(Arc::clone(order));
        }
        let (dim, half) = (rows / heads, rows / heads / 2);
        let order: Arc<[u64]> = (0..rows)
            .map(|row| {
                let (begin, at) = (row / dim.max(1) * dim, row % dim.max(1));
                match way {
                    Way::ToGguf => begin + at % 2 * half + at / 2,
                    Way::ToHf => begin + at % half.max(1) * 2 + at / half.max(1),
                }
            })
            .collect();
        self.known.insert((rows, heads, way), Arc::clone(&order));
        Ok(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_become_neighbours_and_part_again() {
        let mut orders = Orders::default();
        let there = orders.of("q", 12, 2, Way::ToGguf).unwrap();
        assert_eq!(&*there, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
        let back = orders.of("q", 12, 2, Way::ToHf).unwrap();
        let both: Vec<u64> = back.iter().map(|&row| there[row as usize]).collect();
        assert_eq!(both, (0..12).collect::<Vec<u64>>());
        assert!(Arc::ptr_eq(&there, &orders.of("q", 12, 2, Way::ToGguf).unwrap()));
    }

    #[test]
    fn heads_that_do_not_divide_the_rows_are_refused() {
        let mut orders = Orders::default();
        for (rows, heads) in [(12, 0), (12, 5), (12, 4), (1 << 40, 2), (12, u64::MAX)] {
            let error = orders.of("blk.0.attn_q", rows, heads, Way::ToGguf).unwrap_err().to_string();
            assert!(error.contains("`blk.0.attn_q`"), "{error}");
        }
    }
}
