//! Which tensor of one side is which of the other: by name, by what names begin with, by the number of the layer, and at
//! last by values, whatever the names and formats.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use weighthouse_format::checkpoint::fold_layers;
use weighthouse_format::tensor::Piece;
use weighthouse_format::{Limits, Tensor};

use super::content::{self, Content, Sampler};
use super::{Arrangement, Found, Side};

/// Parts of a name that may be in front of it on one side only.
const MAX_PREFIX: usize = 4;
/// Names that end alike, below which values have to be alike, too.
const FEW: usize = 8;
/// Kinds of tensors by which layers are told from each other.
const KINDS: usize = 3;
/// Layers that are told from each other, on each side.
const MAX_LAYERS: usize = 512;

/// A tensor of each side, or of one.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub a: Option<usize>,
    pub b: Option<usize>,
    pub found: Found,
    pub arrangement: Arrangement,
    /// The other tensor of the same side that this one is a copy of.
    pub copy_of: Option<String>,
}

/// Who belongs to whom.
pub(super) struct Alignment<'a> {
    a: Side<'a>,
    b: Side<'a>,
    /// Partner of each tensor of the first side.
    of_a: Vec<Option<usize>>,
    /// Pair of each tensor of the second side.
    of_b: Vec<Option<(usize, Found, Arrangement)>>,
    copies: Vec<Pair>,
}

/// Aligns the weights of both sides.
pub(super) fn align<'a>(a: Side<'a>, b: Side<'a>, limits: &'a Limits, remarks: &mut Vec<String>) -> Vec<Pair> {
    let (count_a, count_b) = (a.tensors().len(), b.tensors().len());
    let mut alignment = Alignment { a, b, of_a: vec![None; count_a], of_b: vec![None; count_b], copies: Vec::new() };
    let (mut samples_a, mut samples_b) = (Sampler::new(a, limits), Sampler::new(b, limits));
    let layers = alignment.layers(&mut samples_a, &mut samples_b, remarks);
    alignment.by_name(&layers);
    alignment.by_prefix(&mut samples_a, &mut samples_b);
    alignment.fix_shapes(&mut samples_a, &mut samples_b);
    alignment.by_content(&mut samples_a, &mut samples_b, remarks);
    alignment.pairs()
}

impl<'a> Alignment<'a> {
    fn free_a(&self) -> Vec<usize> {
        self.of_a.iter().enumerate().filter(|(_, pair)| pair.is_none()).map(|(at, _)| at).collect()
    }

    fn free_b(&self) -> Vec<usize> {
        self.of_b.iter().enumerate().filter(|(_, pair)| pair.is_none()).map(|(at, _)| at).collect()
    }

    fn join(&mut self, a: usize, b: usize, found: Found, arrangement: Arrangement) {
        if let (Some(of_a), Some(of_b)) = (self.of_a.get_mut(a), self.of_b.get_mut(b)) {
            *of_a = Some(b);
            *of_b = Some((a, found, arrangement));
        }
    }

    fn by_name(&mut self, layers: &HashMap<(String, u64), u64>) {
        let names: HashMap<&str, usize> =
            self.a.tensors().iter().enumerate().map(|(at, tensor)| (tensor.name.as_str(), at)).collect();
        let (a, b) = (self.a, self.b);
        for (at, tensor) in b.tensors().iter().enumerate() {
            let moved = renumbered(&tensor.name, layers);
            let found = if moved.is_some() { Found::Layer } else { Found::Name };
            let name = moved.as_deref().unwrap_or(&tensor.name);
            let Some(&partner) = names.get(name) else { continue };
            let arrangement = a.tensors().get(partner).map_or(Arrangement::Same, |of_a| rows(of_a, tensor));
            self.join(partner, at, found, arrangement);
        }
    }

    /// Names that are the same but for a few parts that they begin with.
    fn by_prefix(&mut self, samples_a: &mut Sampler<'a>, samples_b: &mut Sampler<'a>) {
        let (a, b) = (self.a, self.b);
        let (free_a, free_b) = (self.free_a(), self.free_b());
        let mut by_suffix: HashMap<&str, Vec<(usize, &str)>> = HashMap::new();
        for &at in &free_a {
            for (prefix, suffix) in a.tensors().get(at).into_iter().flat_map(|tensor| cuts(&tensor.name)) {
                by_suffix.entry(suffix).or_default().push((at, prefix));
            }
        }
        let mut votes: BTreeMap<(&str, &str), Vec<(usize, usize)>> = BTreeMap::new();
        for &at in &free_b {
            let Some(tensor) = b.tensors().get(at) else { continue };
            for (prefix, suffix) in cuts(&tensor.name) {
                // One word says too little, and what very many share says nothing.
                let shared = by_suffix.get(suffix).filter(|found| found.len() <= 16 && suffix.contains('.'));
                for &(partner, of_a) in shared.into_iter().flatten() {
                    if a.tensors().get(partner).is_some_and(|of_a| may_match(of_a, tensor)) {
                        votes.entry((of_a, prefix)).or_default().push((partner, at));
                    }
                }
            }
        }
        let mut votes: Vec<_> = votes.into_iter().collect();
        votes.sort_by_key(|((a, b), pairs)| (std::cmp::Reverse(pairs.len()), a.len() + b.len()));
        for (_, pairs) in votes {
            let open = |(a, b): &(usize, usize)| {
                self.of_a.get(*a).is_some_and(Option::is_none) && self.of_b.get(*b).is_some_and(Option::is_none)
            };
            let pairs: Vec<(usize, usize)> = pairs.into_iter().filter(open).collect();
            // A few names may end alike by chance: `pooler.dense` and `transform.dense`.
            let mut alike = |(a, b): &(usize, usize)| Content::correlation(*a, *b, samples_a, samples_b) > 0.5;
            if pairs.len() < 2 || (pairs.len() < FEW && !pairs.iter().any(&mut alike)) {
                continue;
            }
            for (of_a, of_b) in pairs {
                if let (Some(one), Some(other)) = (a.tensors().get(of_a), b.tensors().get(of_b)) {
                    self.join(of_a, of_b, Found::Prefix, rows(one, other));
                }
            }
        }
    }

    /// Tensors of one name whose shapes are in another order: their values say in which.
    fn fix_shapes(&mut self, samples_a: &mut Sampler<'a>, samples_b: &mut Sampler<'a>) {
        let (a, b) = (self.a, self.b);
        for (at, pair) in self.of_b.iter_mut().enumerate() {
            let Some((partner, _, arrangement)) = pair else { continue };
            let (Some(one), Some(other)) = (a.tensors().get(*partner), b.tensors().get(at)) else { continue };
            let same = squeezed(&one.shape) == squeezed(&other.shape);
            if !same && one.elements() == other.elements() {
                *arrangement = Content::best(*partner, one, at, other, samples_a, samples_b);
            }
        }
    }

    fn by_content(&mut self, samples_a: &mut Sampler<'a>, samples_b: &mut Sampler<'a>, remarks: &mut Vec<String>) {
        let mut content = Content { a: self.a, b: self.b, samples_a, samples_b };
        for heads in [false, true] {
            let (free_a, free_b) = (self.free_a(), self.free_b());
            for (a, b, arrangement) in content.matches(&free_a, &free_b, heads, remarks) {
                self.join(a, b, Found::Values, arrangement);
            }
        }
        // What shares its bytes with a tensor that has a partner is no news.
        self.copies = self.tied(self.a, &self.free_a(), &|at| self.of_a.get(at).is_some_and(Option::is_some), true);
        self.copies.extend(self.tied(
            self.b,
            &self.free_b(),
            &|at| self.of_b.get(at).is_some_and(Option::is_some),
            false,
        ));
        let tied_a: HashSet<usize> = self.copies.iter().filter_map(|pair| pair.a).collect();
        let tied_b: HashSet<usize> = self.copies.iter().filter_map(|pair| pair.b).collect();
        let left = |free: Vec<usize>, tied: &HashSet<usize>| -> Vec<usize> {
            free.into_iter().filter(|at| !tied.contains(at)).collect()
        };
        let (free_a, free_b) = (left(self.free_a(), &tied_a), left(self.free_b(), &tied_b));
        let (used_a, used_b) = (content::used(&self.of_a), content::used(&self.of_b));
        let copies = [content.copies(&free_a, &used_b, true), content.copies(&used_a, &free_b, false)].concat();
        for (a, b, arrangement) in copies {
            let of = |side: Side<'_>, at: Option<usize>| {
                at.and_then(|at| side.tensors().get(at)).map(|tensor| tensor.name.clone())
            };
            let twin = if self.of_a.get(a).is_some_and(Option::is_none) {
                of(self.a, self.of_b.get(b).and_then(|pair| pair.as_ref().map(|pair| pair.0)))
            } else {
                of(self.b, self.of_a.get(a).copied().flatten())
            };
            self.copies.push(Pair { a: Some(a), b: Some(b), found: Found::Values, arrangement, copy_of: twin });
        }
    }

    /// Tensors without a partner that lie where another lies that has one.
    fn tied(&self, side: Side<'a>, free: &[usize], has_partner: &dyn Fn(usize) -> bool, first: bool) -> Vec<Pair> {
        if free.is_empty() {
            return Vec::new();
        }
        let mut places: HashMap<(&[Piece], u64), &Tensor> = HashMap::new();
        for (_, tensor) in side.tensors().iter().enumerate().filter(|(at, _)| has_partner(*at)) {
            if tensor.elements() > 0 && !tensor.pieces.is_empty() {
                places.entry((tensor.pieces.as_slice(), tensor.elements())).or_insert(tensor);
            }
        }
        let tied = free.iter().filter_map(|&at| {
            let tensor = side.tensors().get(at)?;
            let twin = places.get(&(tensor.pieces.as_slice(), tensor.elements()))?;
            let (a, b) = if first { (Some(at), None) } else { (None, Some(at)) };
            let copy_of = Some(twin.name.clone());
            Some(Pair { a, b, found: Found::Alone, arrangement: Arrangement::Same, copy_of })
        });
        tied.collect()
    }

    /// Layers of the second side and those of the first that they are, where their numbers differ.
    fn layers(
        &self,
        samples_a: &mut Sampler<'a>,
        samples_b: &mut Sampler<'a>,
        remarks: &mut Vec<String>,
    ) -> HashMap<(String, u64), u64> {
        let (stacks_a, stacks_b) = (stacks(self.a.tensors()), stacks(self.b.tensors()));
        let mut map = HashMap::new();
        for (stack, of_b) in &stacks_b {
            let Some(of_a) = stacks_a.get(stack) else { continue };
            let numbers = |stack: &Stack| stack.keys().copied().collect::<BTreeSet<u64>>();
            if numbers(of_a) == numbers(of_b) {
                continue;
            }
            if of_a.len().max(of_b.len()) > MAX_LAYERS {
                remarks.push(format!("`{stack}` has too many layers to tell them by their values"));
                continue;
            }
            let kinds = self.kinds(of_a, of_b);
            for (&layer, tensors) in of_b {
                let mut best: Option<(f64, u64)> = None;
                for (&candidate, others) in of_a {
                    let mut sum = 0.0;
                    for kind in &kinds {
                        if let (Some(&a), Some(&b)) = (others.get(kind), tensors.get(kind)) {
                            sum += Content::correlation(a, b, samples_a, samples_b);
                        }
                    }
                    let mean = sum / kinds.len().max(1) as f64;
                    // Of layers that are as like, the one of the same number.
                    let better = best.is_none_or(|(found, number)| {
                        mean > found + 1e-6 || (mean > found - 1e-6 && candidate == layer && number != layer)
                    });
                    if better && mean > 0.5 {
                        best = Some((mean, candidate));
                    }
                }
                if let Some((_, found)) = best.filter(|(_, found)| *found != layer) {
                    map.insert((stack.clone(), layer), found);
                }
            }
        }
        map
    }

    /// The largest kinds of tensors that the layers of both stacks have.
    fn kinds(&self, of_a: &Stack, of_b: &Stack) -> Vec<String> {
        let (Some(first_a), Some(first_b)) = (of_a.values().next(), of_b.values().next()) else { return Vec::new() };
        let mut kinds: Vec<(u64, String)> = first_b
            .iter()
            .filter_map(|(kind, &b)| {
                let (a, b) = (self.a.tensors().get(*first_a.get(kind)?)?, self.b.tensors().get(b)?);
                (a.shape == b.shape).then(|| (b.elements(), kind.clone()))
            })
            .collect();
        kinds.sort_by(|one, other| other.cmp(one));
        kinds.into_iter().take(KINDS).map(|(_, kind)| kind).collect()
    }

    fn pairs(self) -> Vec<Pair> {
        let mut pairs = Vec::new();
        let open_a = |at: usize| self.of_a.get(at).is_some_and(Option::is_none);
        let open_b = |at: usize| self.of_b.get(at).is_some_and(Option::is_none);
        let copied_a: HashSet<usize> = self.copies.iter().filter_map(|pair| pair.a).filter(|&at| open_a(at)).collect();
        let copied_b: HashSet<usize> = self.copies.iter().filter_map(|pair| pair.b).filter(|&at| open_b(at)).collect();
        for (at, pair) in self.of_b.iter().enumerate() {
            match pair {
                Some((a, found, arrangement)) => pairs.push(Pair {
                    a: Some(*a),
                    b: Some(at),
                    found: *found,
                    arrangement: arrangement.clone(),
                    copy_of: None,
                }),
                None if copied_b.contains(&at) => {}
                None => pairs.push(Pair {
                    a: None,
                    b: Some(at),
                    found: Found::Alone,
                    arrangement: Arrangement::Same,
                    copy_of: None,
                }),
            }
        }
        for (at, pair) in self.of_a.iter().enumerate() {
            if pair.is_none() && !copied_a.contains(&at) {
                pairs.push(Pair {
                    a: Some(at),
                    b: None,
                    found: Found::Alone,
                    arrangement: Arrangement::Same,
                    copy_of: None,
                });
            }
        }
        pairs.extend(self.copies);
        pairs
    }
}

/// Tensors of one stack of layers: by number of the layer, by name in it.
type Stack = BTreeMap<u64, BTreeMap<String, usize>>;

fn stacks(tensors: &[Tensor]) -> BTreeMap<String, Stack> {
    let mut stacks: BTreeMap<String, Stack> = BTreeMap::new();
    for (at, tensor) in tensors.iter().enumerate() {
        let Some((pattern, layer)) = fold_layers(&tensor.name) else { continue };
        let Some((stack, kind)) = pattern.split_once('*') else { continue };
        stacks.entry(stack.to_owned()).or_default().entry(layer).or_default().insert(kind.to_owned(), at);
    }
    stacks
}

/// The name with the number of the layer that it has on the first side, if that is another one.
fn renumbered(name: &str, layers: &HashMap<(String, u64), u64>) -> Option<String> {
    if layers.is_empty() {
        return None;
    }
    let (pattern, layer) = fold_layers(name)?;
    let (stack, kind) = pattern.split_once('*')?;
    let number = layers.get(&(stack.to_owned(), layer))?;
    Some(format!("{stack}{number}{kind}"))
}

/// A name cut in two at each of its first few dots, and not at all.
fn cuts(name: &str) -> impl Iterator<Item = (&str, &str)> {
    let dots = name.match_indices('.').take(MAX_PREFIX).map(|(at, _)| at + 1);
    std::iter::once(0).chain(dots).filter_map(move |at| Some((name.get(..at)?, name.get(at..)?)))
}

/// Extents but those of one.
pub(super) fn squeezed(shape: &[u64]) -> Vec<u64> {
    shape.iter().copied().filter(|&extent| extent != 1).collect()
}

/// How two tensors of one name lie, where only the number of their rows may differ.
fn rows(a: &Tensor, b: &Tensor) -> Arrangement {
    match (a.shape.split_first(), b.shape.split_first()) {
        (Some((rows_a, rest_a)), Some((rows_b, rest_b)))
            if rest_a == rest_b && rows_a != rows_b && *rows_a.min(rows_b) > 0 =>
        {
            Arrangement::Rows(*rows_a.min(rows_b))
        }
        _ => Arrangement::Same,
    }
}

fn may_match(a: &Tensor, b: &Tensor) -> bool {
    a.elements() == b.elements() || matches!(rows(a, b), Arrangement::Rows(_))
}
