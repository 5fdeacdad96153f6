//! The same tensor over repeated layers, or over experts.

use weighthouse_format::Tensor;

use super::{Inside, Part};

/// Tensors of one series.
const MAX_SERIES: usize = 512;
/// Series of one tensor: layers, and experts in a layer.
const MAX_AXES: usize = 3;

/// Tensors whose names differ in one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The name with `*` for the number.
    pub pattern: String,
    /// Number in the name, and number of the tensor; by the former.
    pub members: Vec<(u64, usize)>,
}

impl Inside {
    /// The series that a tensor belongs to, one for each number in its name that others have too.
    #[must_use]
    pub fn series(&self, part: Part, tensor: &Tensor) -> Vec<Series> {
        let tensors = self.tensors(part);
        let modules = self.modules(part);
        let mut found = Vec::new();
        for (begin, end) in numbers(&tensor.name) {
            if found.len() == MAX_AXES {
                break;
            }
            let (Some(before), Some(after)) = (tensor.name.get(..begin), tensor.name.get(end..)) else { continue };
            let module = before.trim_end_matches(['.', '/']);
            let range = modules.range(tensors, module);
            let mut members: Vec<(u64, usize)> = modules
                .sorted()
                .skip(range.start)
                .take(range.len())
                .filter_map(|number| {
                    let name = &tensors.get(number)?.name;
                    let middle = name.strip_prefix(before)?.strip_suffix(after)?;
                    let plain = !middle.is_empty() && middle.len() < 10 && middle.bytes().all(|b| b.is_ascii_digit());
                    Some((if plain { middle.parse().ok()? } else { return None }, number))
                })
                .take(MAX_SERIES)
                .collect();
            members.sort_unstable();
            members.dedup_by_key(|(layer, _)| *layer);
            if members.len() > 1 {
                found.push(Series { pattern: format!("{before}*{after}"), members });
            }
        }
        found
    }
}

/// Where the parts of a name that are numbers begin and end.
fn numbers(name: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    for part in name.split(['.', '/']) {
        if !part.is_empty() && part.len() < 10 && part.bytes().all(|byte| byte.is_ascii_digit()) {
            found.push((at, at + part.len()));
        }
        at += part.len() + 1;
    }
    found
}
