//! Weights that are the same, however they are written down: as they are, rounded, or quantised.

use serde_json::json;
use weighthouse_format::difference::Rounding;
use weighthouse_format::{Dtype, Format};

use super::super::{Arrangement, Kind, Proof, Side, State, TensorChange, Which};
use super::words::{self, digits, many, real};
use super::{Evidence, Finding};

impl Evidence<'_> {
    /// Everything is on both sides and the same, however it is written down.
    pub(super) fn all_same(&self) -> Option<Finding> {
        let some = self.count(|tensor| tensor.numbers.is_some()) > 0;
        (some && self.tensors.iter().all(|tensor| tensor.state.is_same() || matches!(tensor.state, State::Unread(_))))
            .then(|| self.same())
            .flatten()
    }

    fn same(&self) -> Option<Finding> {
        let quantised = self.tensors.iter().any(|tensor| matches!(tensor.state, State::Quantised { .. }));
        let cast = self.tensors.iter().any(|tensor| matches!(tensor.state, State::Cast { .. }));
        let shifted = self.count(|tensor| matches!(tensor.state, State::Shifted(_)));
        let compared = self.count(|tensor| tensor.numbers.is_some());
        if compared == 0 {
            return None;
        }
        if quantised {
            return Some(self.quantised());
        }
        if cast {
            return Some(self.cast());
        }
        let mut ways = Vec::new();
        let (of_a, of_b) = (&self.a.checkpoint.contents, &self.b.checkpoint.contents);
        let format = |formats: &[Format]| formats.first().map_or("", |format| format.as_str());
        if format(&of_a.formats) != format(&of_b.formats) {
            ways.push(format!("as {} instead of {}", format(&of_b.formats), format(&of_a.formats)));
        }
        let dtypes = self.count(TensorChange::dtype_changed);
        if dtypes > 0 {
            ways.push(format!("{} in another type that holds every value", many(dtypes, "tensor")));
        }
        let renamed = self.count(TensorChange::is_renamed);
        if renamed > 0 {
            ways.push(format!("{} renamed", digits(renamed)));
        }
        let moved = self.count(|tensor| matches!(tensor.arrangement, Arrangement::Axes { .. }));
        if moved > 0 {
            ways.push(format!("{} transposed or permuted", digits(moved)));
        }
        let tied = self.count(|tensor| matches!(tensor.state, State::Tied(_)));
        if tied > 0 {
            ways.push(format!("{} written down on one side only", digits(tied)));
        }
        if shifted > 0 {
            ways.push(format!("{} shifted by one", digits(shifted)));
        }
        let files = |side: Side<'_>| {
            let mut files: Vec<&str> = side.tensors().iter().filter_map(|tensor| Some(&**tensor.place()?.0)).collect();
            files.sort_unstable();
            files.dedup();
            files.len() as u64
        };
        let (files_a, files_b) = (files(self.a), files(self.b));
        if files_a != files_b {
            ways.push(format!("in {} instead of {}", many(files_b, "file"), digits(files_a)));
        }
        let facts = json!({"tensors": compared, "renamed": renamed, "retyped": dtypes, "moved": moved, "tied": tied});
        if ways.is_empty() {
            let sentence = format!("identical weights: {}, bit for bit", many(compared, "tensor"));
            return Some(Finding::new(Kind::Identical, sentence, facts));
        }
        Some(Finding::new(
            Kind::Reencoded,
            format!("same weights, written down differently: {}", ways.join(", ")),
            facts,
        ))
    }

    /// The side whose values are made from the other, by the tensors that say it.
    fn direction(&self) -> (&'static str, &'static str) {
        let of_a = self.count(|tensor| {
            matches!(tensor.state, State::Cast { of: Which::A, .. } | State::Quantised { of: Which::A, .. })
        });
        let of_b = self.count(|tensor| {
            matches!(tensor.state, State::Cast { of: Which::B, .. } | State::Quantised { of: Which::B, .. })
        });
        if of_a > of_b { ("A", "B") } else { ("B", "A") }
    }

    fn cast(&self) -> Finding {
        let mut types: Vec<(Rounding, u64)> = Vec::new();
        for tensor in &self.tensors {
            if let State::Cast { rounding, .. } = tensor.state {
                match types.iter_mut().find(|(found, _)| *found == rounding) {
                    Some((_, count)) => *count += 1,
                    None => types.push((rounding, 1)),
                }
            }
        }
        types.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let names: Vec<String> = types.iter().map(|(rounding, _)| rounding.to_string()).collect();
        let (derived, source) = self.direction();
        let cast: u64 = types.iter().map(|(_, count)| count).sum();
        let cut = types.iter().any(|(rounding, _)| *rounding == Rounding::CutBF16);
        let how = if cut { "cut off" } else { "rounded" };
        let sentence = format!(
            "same weights: {derived} is {source} {how} to {}, verified for every element of {}",
            words::list(&names, 4),
            many(cast, "tensor"),
        );
        let equal = self.count(|tensor| matches!(tensor.state, State::Equal));
        let sentence = if equal > 0 { format!("{sentence}; {} equal", digits(equal)) } else { sentence };
        Finding::new(Kind::Cast, sentence, json!({"types": names, "derived": derived.to_lowercase(), "tensors": cast}))
    }

    fn quantised(&self) -> Finding {
        let mut types: std::collections::BTreeMap<Dtype, u64> = std::collections::BTreeMap::new();
        let (mut recomputed, mut nearly, mut through) = (0u64, 0u64, None);
        let (mut tensors, mut squares, mut squares_a) = (0u64, 0.0, 0.0);
        for tensor in &self.tensors {
            let State::Quantised { dtype, proof, .. } = tensor.state else { continue };
            tensors += 1;
            let elements = types.entry(dtype).or_default();
            *elements = elements.saturating_add(tensor.elements());
            match proof {
                Proof::Recomputed { through: way } => {
                    recomputed += 1;
                    through = way.or(through);
                }
                Proof::Nearly { .. } => nearly += 1,
                Proof::WithinError => {}
            }
            if let Some(numbers) = &tensor.numbers {
                squares += numbers.squares;
                squares_a += numbers.squares_a;
            }
        }
        let mut types: Vec<(Dtype, u64)> = types.into_iter().collect();
        types.sort_by_key(|(_, elements)| std::cmp::Reverse(*elements));
        let names: Vec<String> = types.iter().map(|(dtype, _)| dtype.to_string()).collect();
        let (derived, source) = self.direction();
        let proof = if recomputed == tensors {
            let way = through.map_or(String::new(), |dtype| format!(" by way of {dtype}"));
            format!("verified: quantising again{way} gives the same bytes for {}", many(tensors, "tensor"))
        } else if recomputed + nearly > 0 {
            let within = tensors - recomputed - nearly;
            let rest =
                if within > 0 { format!(", {} within the error of the type", digits(within)) } else { String::new() };
            let near = if nearly > 0 { format!(", {} but for a few blocks", digits(nearly)) } else { String::new() };
            format!(
                "quantising again gives the same bytes for {} of {}{near}{rest}",
                digits(recomputed),
                many(tensors, "tensor")
            )
        } else {
            format!("the error of {} is that of the type", many(tensors, "tensor"))
        };
        let relative = if squares_a > 0.0 { (squares / squares_a).sqrt() } else { 0.0 };
        let sentence = format!(
            "{derived} is {source} quantised as {}; {proof}; relative error {}",
            words::list(&names, 4),
            real(relative)
        );
        Finding::new(
            Kind::Quantised,
            sentence,
            json!({
                "types": names, "derived": derived.to_lowercase(), "tensors": tensors, "recomputed": recomputed,
                "nearly": nearly, "through": through.map(Dtype::as_str), "relative": relative,
            }),
        )
    }
}
