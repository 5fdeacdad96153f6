//! Tensors that are told by their values: samples of both sides, in every order that their axes may have.

use std::collections::{BTreeMap, HashMap};

use weighthouse_format::checkpoint::fold_layers;
use weighthouse_format::{Limits, Tensor};

use super::align::squeezed;
use super::sample::{self, Likeness};
use super::{Arrangement, Side};

/// Least correlation of samples that are taken for the same tensor, changed: far beyond chance for 256 pairs.
const ALIKE: f64 = 0.5;
/// Least correlation of a tensor and its copy.
const COPY: f64 = 0.999;
/// Pairs below which a correlation says little.
const FEW: usize = 32;
/// Tensors of one shape, on each side, that are compared with each other.
const MAX_GROUP: usize = 4096;
/// Comparisons of one group; of more only tensors in layers of the same number are compared.
const MAX_COMPARISONS: usize = 1 << 21;

/// An order of axes: a shape, and which axis of it comes when.
type Order = (Vec<u64>, Vec<usize>);

/// Samples of one side, each read once.
pub(super) struct Sampler<'a> {
    side: Side<'a>,
    limits: &'a Limits,
    kept: HashMap<(usize, Option<Order>), Option<Vec<f32>>>,
}

impl<'a> Sampler<'a> {
    pub(super) fn new(side: Side<'a>, limits: &'a Limits) -> Self {
        Self { side, limits, kept: HashMap::new() }
    }

    /// The sample of a tensor, whose elements lie as `arrangement` says, seen from a tensor of shape `from`; `None` when
    /// it cannot be read.
    fn of(&mut self, number: usize, from: &[u64], arrangement: &Arrangement) -> Option<&[f32]> {
        let key = match arrangement {
            Arrangement::Axes { shape, axes } => Some((shape.clone(), axes.clone())),
            _ => None,
        };
        let (side, limits) = (self.side, self.limits);
        let sample = self.kept.entry((number, key)).or_insert_with(|| {
            let tensor = side.tensors().get(number)?;
            let places: Vec<u64> = sample::places(from).into_iter().map(|place| arrangement.place(place)).collect();
            sample::read(side.folder, tensor, &places, limits).ok()
        });
        sample.as_deref()
    }
}

/// What is compared by its values.
pub(super) struct Content<'s, 'a> {
    pub a: Side<'a>,
    pub b: Side<'a>,
    pub samples_a: &'s mut Sampler<'a>,
    pub samples_b: &'s mut Sampler<'a>,
}

/// Two tensors that may be the same one.
struct Candidate {
    /// Ten thousandths of the correlation; none of tensors that are too small or too plain to have one.
    alike: i32,
    same_layer: bool,
    words: usize,
    a: usize,
    b: usize,
    arrangement: Arrangement,
}

impl Content<'_, '_> {
    /// Pairs of tensors without a partner, the most alike first served. With `heads`, rows may be in the order in which
    /// llama.cpp has those of attention heads.
    pub(super) fn matches(
        &mut self,
        free_a: &[usize],
        free_b: &[usize],
        heads: bool,
        remarks: &mut Vec<String>,
    ) -> Vec<(usize, usize, Arrangement)> {
        let groups_b = groups(self.b, free_b);
        let mut found = Vec::new();
        for (key, of_a) in groups(self.a, free_a) {
            let Some(of_b) = groups_b.get(&key) else { continue };
            if of_a.len().max(of_b.len()) > MAX_GROUP {
                remarks.push(format!("{} tensors of one shape are too many to tell them by their values", of_a.len()));
                continue;
            }
            found.extend(self.group(&of_a, of_b, heads));
        }
        found
    }

    fn group(&mut self, of_a: &[usize], of_b: &[usize], heads: bool) -> Vec<(usize, usize, Arrangement)> {
        let many = of_a.len().saturating_mul(of_b.len()) > MAX_COMPARISONS;
        let mut candidates = Vec::new();
        for &a in of_a {
            for &b in of_b {
                let (Some(one), Some(other)) = (self.a.tensors().get(a), self.b.tensors().get(b)) else { continue };
                let layers = (layer(&one.name), layer(&other.name));
                if many && layers.0 != layers.1 {
                    continue;
                }
                let ways =
                    if heads { of_heads(&one.shape, &other.shape) } else { arrangements(&one.shape, &other.shape) };
                for arrangement in ways {
                    let Some(likeness) = likeness(a, one, b, &arrangement, self.samples_a, self.samples_b) else {
                        continue;
                    };
                    let alike = match likeness.correlation {
                        Some(correlation) if likeness.pairs >= FEW && correlation >= ALIKE => {
                            (correlation * 1e4).round() as i32
                        }
                        // A few numbers, or the same one everywhere: worth only what the names are.
                        _ if likeness.same && !heads && arrangement == Arrangement::Same => 0,
                        _ => continue,
                    };
                    candidates.push(Candidate {
                        alike,
                        same_layer: layers.0 == layers.1,
                        words: words(&one.name, &other.name),
                        a,
                        b,
                        arrangement,
                    });
                }
            }
        }
        candidates
            .sort_by_key(|found| (-found.alike, !found.same_layer, std::cmp::Reverse(found.words), found.a, found.b));
        let (mut used_a, mut used_b) = (std::collections::HashSet::new(), std::collections::HashSet::new());
        let mut chosen = Vec::new();
        for found in candidates {
            if !used_a.contains(&found.a) && !used_b.contains(&found.b) {
                used_a.insert(found.a);
                used_b.insert(found.b);
                chosen.push((found.a, found.b, found.arrangement));
            }
        }
        chosen
    }

    /// Tensors of one side that are copies of what the other side has a partner for already; `of_a` are those without a
    /// partner if `first`, else `of_b`.
    pub(super) fn copies(&mut self, of_a: &[usize], of_b: &[usize], first: bool) -> Vec<(usize, usize, Arrangement)> {
        let (groups_a, groups_b) = (groups(self.a, of_a), groups(self.b, of_b));
        let mut copies = Vec::new();
        for (key, of_a) in &groups_a {
            let Some(of_b) = groups_b.get(key).filter(|_| key.0 >= FEW as u64) else { continue };
            let (free, used) = if first { (of_a, of_b) } else { (of_b, of_a) };
            if free.len().saturating_mul(used.len()) > MAX_COMPARISONS {
                continue;
            }
            for &free in free {
                let copy = used.iter().find_map(|&used| {
                    let (a, b) = if first { (free, used) } else { (used, free) };
                    let one = self.a.tensors().get(a)?;
                    let found = likeness(a, one, b, &Arrangement::Same, self.samples_a, self.samples_b)?;
                    let alike = found.correlation? >= COPY && found.pairs >= FEW;
                    alike.then_some((a, b, Arrangement::Same))
                });
                copies.extend(copy);
            }
        }
        copies
    }

    /// In which order the axes of two tensors of one name lie, by their values.
    pub(super) fn best(
        a: usize,
        one: &Tensor,
        b: usize,
        other: &Tensor,
        samples_a: &mut Sampler<'_>,
        samples_b: &mut Sampler<'_>,
    ) -> Arrangement {
        let mut best = (ALIKE, Arrangement::Same);
        for arrangement in arrangements(&one.shape, &other.shape) {
            let found = likeness(a, one, b, &arrangement, samples_a, samples_b);
            let correlation = found.and_then(|found| found.correlation).unwrap_or(0.0);
            if correlation > best.0 {
                best = (correlation, arrangement);
            }
        }
        best.1
    }

    /// Correlation of two tensors of one shape; 0 when there is none.
    pub(super) fn correlation(a: usize, b: usize, samples_a: &mut Sampler<'_>, samples_b: &mut Sampler<'_>) -> f64 {
        let Some(one) = samples_a.side.tensors().get(a) else { return 0.0 };
        let found = likeness(a, one, b, &Arrangement::Same, samples_a, samples_b);
        found.and_then(|found| found.correlation).unwrap_or(0.0)
    }
}

/// Numbers of the tensors that have a partner.
pub(super) fn used<T>(partners: &[Option<T>]) -> Vec<usize> {
    partners.iter().enumerate().filter(|(_, partner)| partner.is_some()).map(|(at, _)| at).collect()
}

fn likeness(
    a: usize,
    one: &Tensor,
    b: usize,
    arrangement: &Arrangement,
    samples_a: &mut Sampler<'_>,
    samples_b: &mut Sampler<'_>,
) -> Option<Likeness> {
    // Both are sampled in the shape without axes of one, so that shapes that differ only in those are sampled alike.
    let from = squeezed(&one.shape);
    let sample_a = samples_a.of(a, &from, &Arrangement::Same)?;
    Some(Likeness::of(sample_a, samples_b.of(b, &from, arrangement)?))
}

/// Tensors by their number of elements and their extents in ascending order.
fn groups(side: Side<'_>, numbers: &[usize]) -> BTreeMap<(u64, Vec<u64>), Vec<usize>> {
    let mut groups: BTreeMap<(u64, Vec<u64>), Vec<usize>> = BTreeMap::new();
    for &number in numbers {
        let Some(tensor) = side.tensors().get(number).filter(|tensor| tensor.elements() > 0) else { continue };
        let mut extents = squeezed(&tensor.shape);
        extents.sort_unstable();
        groups.entry((tensor.elements(), extents)).or_default().push(number);
    }
    groups
}

/// Orders of axes in which a tensor of shape `a` becomes one of shape `b`.
fn arrangements(a: &[u64], b: &[u64]) -> Vec<Arrangement> {
    let (a, b) = (squeezed(a), squeezed(b));
    let mut ways = Vec::new();
    if a == b {
        ways.push(Arrangement::Same);
    }
    if a.len() == b.len() && (2..=4).contains(&a.len()) {
        let fits = |axes: &Vec<usize>| axes.iter().filter_map(|&axis| a.get(axis)).eq(b.iter());
        let moved = permutations(a.len()).into_iter().filter(|axes| !axes.iter().copied().eq(0..a.len()));
        ways.extend(moved.filter(fits).map(|axes| Arrangement::Axes { shape: a.clone(), axes }));
    }
    if ways.is_empty() {
        ways.push(Arrangement::Same);
    }
    ways
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for next in 0..count {
        all = all
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                (0..=order.len()).map(move |at| {
                    let mut order = order.clone();
                    order.insert(at, next);
                    order
                })
            })
            .collect();
    }
    all
}

/// Orders of rows in which llama.cpp and transformers have the two halves of each attention head.
fn of_heads(a: &[u64], b: &[u64]) -> Vec<Arrangement> {
    let Some((&rows, rest)) = a.split_first().filter(|_| a == b && a.len() <= 2) else { return Vec::new() };
    let heads = (1..=rows / 4).take(1024).filter(|heads| rows.is_multiple_of(2 * heads));
    let shapes = heads.flat_map(|heads| {
        let half = rows / heads / 2;
        [vec![heads, 2, half], vec![heads, half, 2]]
    });
    let mut ways = Vec::new();
    for mut shape in shapes {
        shape.extend(rest);
        let axes = [0, 2, 1, 3].into_iter().take(shape.len()).collect();
        let way = Arrangement::Axes { shape, axes };
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    ways
}

fn layer(name: &str) -> Option<u64> {
    fold_layers(name).map(|(_, layer)| layer)
}

/// Words that two names share.
fn words(a: &str, b: &str) -> usize {
    let split = |name: &str| {
        let words = name.split(|character: char| !character.is_ascii_alphanumeric());
        words.map(str::to_ascii_lowercase).collect::<std::collections::BTreeSet<String>>()
    };
    split(a).intersection(&split(b)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_of_axes_are_those_that_fit() {
        assert_eq!(arrangements(&[3, 4], &[4, 3]), [Arrangement::transposed(&[3, 4])]);
        assert_eq!(arrangements(&[4, 4], &[4, 4]).len(), 2);
        assert_eq!(arrangements(&[8, 4, 1, 1], &[8, 4]), [Arrangement::Same]);
        // Kernels of convolutions: height, width, in, out to out, in, height, width.
        let kernel = Arrangement::Axes { shape: vec![3, 5, 16, 32], axes: vec![3, 2, 0, 1] };
        assert_eq!(arrangements(&[3, 5, 16, 32], &[32, 16, 3, 5]), [kernel]);
        assert_eq!(permutations(4).len(), 24);
        let heads = Arrangement::Axes { shape: vec![2, 2, 2, 6], axes: vec![0, 2, 1, 3] };
        assert!(of_heads(&[8, 6], &[8, 6]).contains(&heads) && of_heads(&[7, 6], &[7, 6]).is_empty());
    }
}
