//! What was done to weights that changed: training of all or of a part, adapters merged in, weights taken out.

use std::collections::BTreeSet;

use serde_json::json;
use weighthouse_format::checkpoint::module_of;

use super::super::{Kind, State, TensorChange};
use super::place::Place;
use super::words::{cosine, digits, list, percent, range, ranges, real};
use super::{Evidence, Finding};

/// Share of new zeros from which weights were taken out.
const PRUNED: f64 = 0.05;

/// Weights became zero, and hardly anything else happened to them.
pub(super) fn pruned(evidence: &Evidence<'_>) -> Option<Finding> {
    let (mut elements, mut zeros, mut changed, mut tensors) = (0u64, 0u64, 0u64, 0u64);
    let (mut two_of_four, mut rows, mut columns) = (0u64, 0u64, 0u64);
    for tensor in evidence.tensors.iter().filter(|tensor| tensor.is_matrix()) {
        let Some(numbers) = &tensor.numbers else { continue };
        elements += numbers.elements;
        zeros += numbers.new_zeros;
        if !tensor.state.is_same() {
            changed += numbers.changed;
        }
        if numbers.new_zeros * 20 > numbers.elements {
            tensors += 1;
            if let Some(found) = &tensor.zeros {
                let share = numbers.zeros as f64 / numbers.elements.max(1) as f64;
                two_of_four += u64::from(found.two_of_four && (0.49..0.6).contains(&share));
                rows += u64::from(found.rows > 0.5 * share);
                columns += u64::from(found.columns > 0.5 * share);
            }
        }
    }
    let share = zeros as f64 / elements.max(1) as f64;
    if share < PRUNED || (zeros as f64) < 0.8 * changed as f64 && share < 0.2 {
        return None;
    }
    let most = |count: u64| count * 10 >= tensors * 8;
    let how = if most(two_of_four) {
        "two of each four neighbours"
    } else if most(rows) {
        "whole rows"
    } else if most(columns) {
        "whole columns"
    } else {
        "single weights, without structure"
    };
    let rest = if changed as f64 <= 1.02 * zeros as f64 {
        "the others are the same".to_owned()
    } else {
        format!("{} of the others changed", percent((changed - zeros) as f64 / (elements - zeros).max(1) as f64))
    };
    let sentence = format!(
        "pruned: {} of the weights of {} matrices became zero ({how}); {rest}",
        percent(share),
        digits(tensors)
    );
    Some(Finding::new(
        Kind::Pruned,
        sentence,
        json!({"share": share, "structure": how, "matrices": tensors, "others_changed": changed.saturating_sub(zeros)}),
    ))
}

/// Only matrices changed, and their differences have a low rank.
pub(super) fn low_rank(evidence: &Evidence<'_>) -> Option<Finding> {
    let (mut low, mut high) = (Vec::new(), 0usize);
    for (tensor, place) in evidence.places.iter().filter(|(tensor, _)| matches!(tensor.state, State::Changed)) {
        match tensor.rank.and_then(|rank| rank.low) {
            Some(rank) => low.push((tensor, rank)),
            // Heads and embeddings are often trained beside an adapter.
            None if matches!(place, Place::Head | Place::Embedding) => {}
            None => high += 1,
        }
    }
    let in_layers = low.iter().filter(|(tensor, _)| !matches!(Place::of(tensor.name()), Place::Head)).count();
    if in_layers == 0 || high * 10 > low.len() {
        return None;
    }
    let mut ranks: Vec<u64> = low.iter().map(|(_, rank)| *rank).collect();
    ranks.sort_unstable();
    let middle = ranks.get(ranks.len() / 2).copied()?;
    let names: BTreeSet<&str> = low
        .iter()
        .map(|(tensor, _)| {
            let module = module_of(tensor.name());
            module.rsplit(['.', '/']).next().unwrap_or(module)
        })
        .collect();
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let spread = range(&ranks).unwrap_or_default();
    let of = if ranks.first() == ranks.last() { spread } else { format!("{middle} ({spread})") };
    let sentence = format!(
        "LoRA-like: the differences of {} matrices have rank {of}, in {} of {}; {}",
        digits(low.len() as u64),
        list(&names, 6),
        evidence.places.changed(),
        size(evidence),
    );
    Some(Finding::new(
        Kind::LowRank,
        sentence,
        json!({"rank": middle, "ranks": [ranks.first(), ranks.last()], "matrices": low.len(), "modules": names, "others": high}),
    ))
}

/// Everything but the head or the last layers is the same.
pub(super) fn frozen(evidence: &Evidence<'_>) -> Option<Finding> {
    let changed = |state: &State| !state.is_same();
    let mut stacks: std::collections::BTreeMap<&str, (BTreeSet<u64>, BTreeSet<u64>)> =
        std::collections::BTreeMap::new();
    let (mut equal, mut all, mut head) = (0u64, 0u64, false);
    for (tensor, place) in evidence.places.iter() {
        all = all.saturating_add(tensor.elements());
        if !changed(&tensor.state) {
            equal = equal.saturating_add(tensor.elements());
        }
        match place {
            Place::Layer(stack, layer) => {
                let (layers, found) = stacks.entry(stack).or_default();
                layers.insert(*layer);
                if changed(&tensor.state) {
                    found.insert(*layer);
                }
            }
            Place::Head | Place::Norm => head |= changed(&tensor.state),
            Place::Embedding | Place::Other if changed(&tensor.state) => return None,
            Place::Embedding | Place::Other => {}
        }
    }
    let touched: Vec<_> = stacks.values().filter(|(_, found)| !found.is_empty()).collect();
    let last = match touched.as_slice() {
        [] => Vec::new(),
        [(layers, found)] => {
            let first = *found.first()?;
            let frozen = layers.iter().filter(|layer| **layer < first).count();
            let rest_changed = layers.iter().filter(|layer| **layer >= first).count() == found.len();
            if !rest_changed || frozen * 2 < layers.len() {
                return None;
            }
            found.iter().copied().collect()
        }
        _ => return None,
    };
    if equal * 2 < all || (last.is_empty() && !head) {
        return None;
    }
    let mut parts = Vec::new();
    match last.as_slice() {
        [] => {}
        [one] => parts.push(format!("layer {one}")),
        several => parts.push(format!("layers {}", ranges(several))),
    }
    if head {
        parts.push("the head".to_owned());
    }
    let note = evidence.structure_note();
    let note = if note.is_empty() { String::new() } else { format!("; {note}") };
    let sentence = format!(
        "frozen backbone: only {} changed, {} of the elements are the same; {}{note}",
        parts.join(" and "),
        percent(equal as f64 / all.max(1) as f64),
        size(evidence),
    );
    Some(Finding::new(
        Kind::FrozenBackbone,
        sentence,
        json!({"layers": last, "head": head, "same_share": equal as f64 / all.max(1) as f64}),
    ))
}

/// All matrices are about as far away, and too far for training.
pub(super) fn mixture(evidence: &Evidence<'_>) -> Option<Finding> {
    let (mean, _) = evidence.mean_cosine()?;
    let (mut squares, mut elements, mut matrices) = (0.0, 0.0, 0u64);
    let chosen = |tensor: &&&TensorChange| tensor.is_matrix() && matches!(tensor.state, State::Changed);
    for tensor in evidence.tensors.iter().filter(chosen) {
        let found = tensor.numbers.as_ref().and_then(|numbers| numbers.cosine)?;
        squares += (found - mean) * (found - mean) * tensor.elements() as f64;
        elements += tensor.elements() as f64;
        matrices += 1;
    }
    let spread = (squares / f64::max(elements, 1.0)).sqrt();
    let all_changed = evidence.tensors.iter().filter(|tensor| tensor.is_matrix()).all(|tensor| !tensor.state.is_same());
    (matrices >= 4 && all_changed && (0.2..0.9).contains(&mean) && spread < 0.05).then(|| {
        let third =
            if evidence.third { "; C is not the rest of it" } else { "; name what else it may be made of with --with" };
        let sentence = format!(
            "mixture: every matrix is as far from A (cosine {} ± {}), as in a merge of A and something else{third}",
            real(mean),
            real(spread)
        );
        Finding::new(Kind::Mixture, sentence, json!({"cosine": mean, "spread": spread}))
    })
}

/// Anything else that has to do with the first side.
pub(super) fn fine_tune(evidence: &Evidence<'_>) -> Option<Finding> {
    if evidence.totals.elements == 0 {
        return None;
    }
    let totals = evidence.totals;
    let retyped = evidence.tensors.iter().any(|tensor| tensor.dtype_changed());
    let (share, what) = if retyped {
        (totals.changed_elements as f64 / totals.elements.max(1) as f64, "elements")
    } else {
        (totals.changed_bytes as f64 / totals.size_bytes.max(1) as f64, "bytes")
    };
    let note = evidence.structure_note();
    let note = if note.is_empty() { String::new() } else { format!("; {note}") };
    let (places, size) = (evidence.places.changed(), size(evidence));
    let quantised = evidence.tensors.iter().find_map(|tensor| {
        let facts = [tensor.b.as_ref(), tensor.a.as_ref()];
        facts.into_iter().flatten().map(|facts| facts.dtype).find(|dtype| dtype.is_quantised())
    });
    let quantised = quantised.map_or(String::new(), |dtype| format!(", and quantised as {dtype}"));
    let sentence = format!("fine-tune{quantised}: {} of the {what} changed, in {places}; {size}{note}", percent(share));
    let mean = evidence.mean_cosine().map(|(mean, _)| mean);
    Some(Finding::new(
        Kind::FineTune,
        sentence,
        json!({"changed_share": share, "of": what, "relative": relative(evidence), "cosine": mean}),
    ))
}

fn relative(evidence: &Evidence<'_>) -> f64 {
    let (mut squares, mut squares_a) = (0.0, 0.0);
    for numbers in evidence.tensors.iter().filter(|tensor| !tensor.state.is_same()).filter_map(|tensor| tensor.numbers)
    {
        squares += numbers.squares;
        squares_a += numbers.squares_a;
    }
    if squares == 0.0 { 0.0 } else { (squares / squares_a).sqrt() }
}

/// How far what changed is away, in words.
fn size(evidence: &Evidence<'_>) -> String {
    let relative = relative(evidence);
    match evidence.mean_cosine() {
        Some((mean, _)) => format!("relative change {}, mean cosine {}", real(relative), cosine(mean)),
        None => format!("relative change {}", real(relative)),
    }
}
