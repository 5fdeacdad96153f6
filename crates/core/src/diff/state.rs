//! What became of each tensor, from its numbers.

use std::collections::HashMap;

use weighthouse_format::difference::{Difference, Rounding, Roundings};
use weighthouse_format::{Dtype, Format, Limits, Tensor};

use super::align::{Pair, align};
use super::measure::Measured;
use super::{Arrangement, Blend, Found, Numbers, Proof, Side, State, TensorChange, TensorFacts, Totals, Which};

/// Tensors of a third checkpoint, by those of the first, where they lie in the same order.
pub(super) fn thirds(a: Side<'_>, with: Side<'_>, limits: &Limits) -> HashMap<usize, usize> {
    let pairs = align(a, with, limits, &mut Vec::new());
    let plain = pairs.into_iter().filter(|pair| pair.arrangement == Arrangement::Same);
    plain.filter_map(|pair| Some((pair.a?, pair.b?))).collect()
}

/// How all of a checkpoint was rounded although it kept its types, by its matrices: a vector of ones says nothing.
pub(super) fn roundings<'a>(
    measured: impl Iterator<Item = (&'a Pair, Option<&'a Measured>)>,
    side_a: Side<'_>,
    side_b: Side<'_>,
) -> Vec<State> {
    let mut found = Vec::new();
    for (pair, measured) in measured {
        let (Some(a), Some(b)) =
            (pair.a.and_then(|at| side_a.tensors().get(at)), pair.b.and_then(|at| side_b.tensors().get(at)))
        else {
            continue;
        };
        let matrix = b.elements() >= 64 && b.shape.iter().filter(|&&extent| extent > 1).count() > 1;
        if let Some(measured) = measured.filter(|measured| matrix && measured.difference.changed > 0)
            && let Some(state) = likely(a.dtype, b.dtype, &measured.difference)
            && !found.contains(&state)
        {
            found.push(state);
        }
    }
    found
}

/// What became of a pair; `roundings` are what [`roundings`] found, `measured` has nothing where there is only one side, or both have different sizes.
pub(super) fn change(
    side_a: Side<'_>,
    side_b: Side<'_>,
    pair: &Pair,
    roundings: &[State],
    measured: Result<Option<Measured>, String>,
) -> TensorChange {
    let a = pair.a.and_then(|at| side_a.tensors().get(at));
    let b = pair.b.and_then(|at| side_b.tensors().get(at));
    let facts =
        |tensor: &Tensor| TensorFacts { name: tensor.name.clone(), dtype: tensor.dtype, shape: tensor.shape.clone() };
    let mut change = TensorChange {
        a: a.map(facts),
        b: b.map(facts),
        found: pair.found,
        arrangement: pair.arrangement.clone(),
        state: State::Changed,
        buffer: a.is_some_and(|a| side_a.is_buffer(a)) || b.is_some_and(|b| side_b.is_buffer(b)),
        numbers: None,
        rank: None,
        zeros: None,
        blend: None,
    };
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        (one, _) => {
            change.found = Found::Alone;
            change.state = match &pair.copy_of {
                Some(twin) => State::Tied(twin.clone()),
                None if one.is_some() => State::Removed,
                None => State::Added,
            };
            return change;
        }
    };
    let measured = match measured {
        Ok(Some(measured)) => measured,
        Ok(None) => {
            change.state = State::Reshaped;
            return change;
        }
        Err(reason) => {
            change.state = State::Unread(reason);
            return change;
        }
    };
    let difference = &measured.difference;
    change.numbers = Some(numbers(&measured));
    change.rank = measured.rank;
    change.zeros = measured.zeros;
    change.blend = measured.mixture.and_then(|mixture| {
        let (linear, linear_rest) = mixture.linear()?;
        let arc = mixture.spherical();
        Some(Blend { linear, linear_rest, spherical: arc.map(|arc| arc.0), spherical_rest: arc.map(|arc| arc.1) })
    });
    let gguf = [side_a, side_b].iter().any(|side| side.checkpoint.contents.formats.contains(&Format::Gguf));
    change.state = if matches!(pair.arrangement, Arrangement::Rows(_)) {
        State::Resized
    } else if difference.changed == 0 {
        State::Equal
    } else if let Some(state) = rounded(a.dtype, b.dtype, difference)
        .or_else(|| likely(a.dtype, b.dtype, difference).filter(|state| roundings.contains(state)))
        .or_else(|| quantised(a.dtype, b.dtype, &measured))
    {
        state
    } else if let Some(shift) = shift(difference).filter(|shift| gguf && shift.abs() == 1.0) {
        State::Shifted(shift)
    } else {
        State::Changed
    };
    // One side that writes down a second time what the other has once.
    if let Some(twin) = &pair.copy_of
        && change.state.is_same()
    {
        change.state = State::Tied(twin.clone());
    }
    change
}

fn numbers(measured: &Measured) -> Numbers {
    let difference = &measured.difference;
    Numbers {
        elements: difference.elements,
        changed: difference.changed,
        changed_bytes: measured.changed_bytes.min(measured.size_bytes),
        size_bytes: measured.size_bytes,
        relative: difference.relative(),
        cosine: if difference.changed == 0 { Some(1.0) } else { difference.cosine() },
        largest: difference.largest,
        not_finite: difference.not_finite,
        zeros: difference.zeros,
        new_zeros: difference.new_zeros,
        shift: shift(difference),
        squares_a: difference.squares_a,
        squares: difference.squares,
    }
}

/// The number that was added to every element, rounded to what single precision tells.
fn shift(difference: &Difference) -> Option<f64> {
    let count = difference.elements - difference.not_finite;
    let mean = difference.sum / count.max(1) as f64;
    let scale = (difference.squares_b / count.max(1) as f64).sqrt().max(mean.abs());
    let same = count > 1 && mean.abs() > 0.0 && difference.spread() <= 1e-6 * scale && difference.not_finite == 0;
    same.then(|| if (mean.abs() - 1.0).abs() < 1e-5 { mean.signum() } else { mean })
}

/// Whether one side is the other, rounded to the type that it has.
fn rounded(a: Dtype, b: Dtype, difference: &Difference) -> Option<State> {
    if a == b || difference.not_finite == difference.elements {
        return None;
    }
    let of = |roundings: Roundings, shorter: Dtype, which: Which| {
        let rounding = roundings.iter().find(|rounding| rounding.dtype() == shorter)?;
        Some(State::Cast { rounding, of: which })
    };
    of(difference.forth, b, Which::B).or_else(|| of(difference.back, a, Which::A))
}

/// Whether one side is the other rounded to a type that neither has: by what was lost, as numbers may be short by chance.
fn likely(a: Dtype, b: Dtype, difference: &Difference) -> Option<State> {
    let of = |roundings: Roundings, which: Which| {
        let fits = |rounding: &Rounding| {
            let lost = difference.relative();
            let (most, short) = (least(*rounding), ![a, b].contains(&rounding.dtype()));
            short && difference.elements >= 16 && lost > 0.0 && lost <= most
        };
        Some(State::Cast { rounding: roundings.iter().find(fits)?, of: which })
    };
    of(difference.forth, Which::B).or_else(|| of(difference.back, Which::A))
}

/// Largest relative distance that rounding makes, but for the smallest numbers.
const fn least(rounding: Rounding) -> f64 {
    match rounding {
        Rounding::F32 => 1e-7,
        Rounding::F16 => 1e-3,
        Rounding::BF16 => 4e-3,
        Rounding::CutBF16 => 8e-3,
        Rounding::F8E4M3 => 0.06,
        _ => 0.12,
    }
}

/// Whether one side is the other quantised.
fn quantised(a: Dtype, b: Dtype, measured: &Measured) -> Option<State> {
    let (dtype, of) = match (a.is_quantised(), b.is_quantised()) {
        (_, true) => (b, Which::B),
        (true, false) => (a, Which::A),
        (false, false) => return None,
    };
    if a == b {
        return None;
    }
    if let Some(proof) = measured.recomputed.as_ref().and_then(super::requantise::Recomputed::proof) {
        return Some(State::Quantised { dtype, of, proof });
    }
    // What rounding to so many bits makes of numbers that are spread like weights, twice that for odd ones.
    let bits = dtype.block_bytes() as f64 * 8.0 / dtype.block_elements() as f64;
    let most = 3.0 * 0.5f64.powf(bits);
    (measured.difference.relative() <= most).then_some(State::Quantised { dtype, of, proof: Proof::WithinError })
}

/// Sums over all tensors.
pub(super) fn totals(tensors: &[TensorChange]) -> Totals {
    let mut totals = Totals::default();
    for tensor in tensors {
        let count = match tensor.state {
            State::Equal => &mut totals.equal,
            State::Cast { .. } | State::Quantised { .. } | State::Shifted(_) => &mut totals.encoded,
            State::Changed | State::Resized | State::Reshaped => &mut totals.changed,
            State::Added => &mut totals.added,
            State::Removed => &mut totals.removed,
            State::Tied(_) => &mut totals.tied,
            State::Unread(_) => &mut totals.unread,
        };
        *count += 1;
        totals.renamed += u64::from(tensor.is_renamed());
        if let Some(numbers) = tensor.numbers.as_ref().filter(|_| !matches!(tensor.state, State::Tied(_))) {
            // What is equal is compared as bytes and not counted one by one.
            let elements = if tensor.state == State::Resized { numbers.elements } else { tensor.elements() };
            totals.elements = totals.elements.saturating_add(elements);
            totals.changed_elements = totals.changed_elements.saturating_add(numbers.changed);
            totals.size_bytes = totals.size_bytes.saturating_add(numbers.size_bytes);
            totals.changed_bytes = totals.changed_bytes.saturating_add(numbers.changed_bytes);
        }
    }
    totals
}
