//! Tensors that one side has alone, or in another shape, while the others are the same.

use serde_json::{Value, json};

use super::super::{Kind, State, TensorChange, TensorFacts, Which};
use super::place::{is_embedding, is_head};
use super::words::{self, digits, many};
use super::{Evidence, Finding};

impl Evidence<'_> {
    /// What both sides have is the same, and what one has alone says what happened.
    pub(super) fn partly_same(&self) -> Option<Finding> {
        let is_odd = |state: &State| matches!(state, State::Added | State::Removed | State::Reshaped);
        let resized_rows_same = |tensor: &TensorChange| {
            matches!(tensor.state, State::Resized) && tensor.numbers.is_some_and(|numbers| numbers.changed == 0)
        };
        let rest_same = self.tensors.iter().all(|tensor| {
            tensor.state.is_same()
                || is_odd(&tensor.state)
                || matches!(tensor.state, State::Unread(_))
                || resized_rows_same(tensor)
        });
        let note = self.structure_note();
        let (layers_a, layers_b) = (self.places.layers_of(Which::A), self.places.layers_of(Which::B));
        if rest_same && self.structure().all(|tensor| matches!(tensor.state, State::Resized) || is_head(tensor.name()))
        {
            let heads: Vec<&TensorChange> =
                self.structure().filter(|tensor| !matches!(tensor.state, State::Resized)).collect();
            let same = many(self.count(|tensor| tensor.numbers.is_some()), "tensor");
            if heads.is_empty() {
                let sentence = format!("{note}; everything else is the same ({same})");
                return Some(Finding::new(Kind::Vocabulary, sentence, self.vocabulary_facts()));
            }
            let names: Vec<&str> = heads.iter().map(|tensor| tensor.name()).collect();
            let sentence = format!("new head: {note}; everything else is the same ({same})");
            return Some(Finding::new(Kind::NewHead, sentence, json!({"head": names})));
        }
        if layers_a != layers_b && self.places.is_about_layers(self.structure()) {
            let removed: Vec<u64> = self.places.unmatched(Which::A);
            let added: Vec<u64> = self.places.unmatched(Which::B);
            let verb = if layers_b < layers_a { "layers were removed" } else { "layers were added" };
            let which = match (removed.is_empty(), added.is_empty()) {
                (false, _) => format!(" (layers {} of A are gone)", words::ranges(&removed)),
                (true, false) => format!(" (layers {} of B are new)", words::ranges(&added)),
                (true, true) => " (some twice)".to_owned(),
            };
            let rest = if rest_same {
                "the others are the same".to_owned()
            } else {
                let (cosine, _) = self.mean_cosine().unwrap_or((1.0, 0));
                format!("the others were trained further (mean cosine {})", words::cosine(cosine))
            };
            let sentence = format!("{verb}: {} instead of {}{which}; {rest}", digits(layers_b), digits(layers_a));
            let facts = json!({"layers_a": layers_a, "layers_b": layers_b, "removed": removed, "added": added, "rest_same": rest_same});
            return Some(Finding::new(Kind::Layers, sentence, facts));
        }
        if rest_same && self.structure().next().is_some() {
            let same = self.elements(|tensor| tensor.numbers.is_some());
            let odd = self.elements(|tensor| is_odd(&tensor.state));
            let sentence = format!("what both sides have is the same; {note}");
            let kind = if odd > same { Kind::Unrelated } else { Kind::NewHead };
            let kind = if self.structure().all(|tensor| is_head(tensor.name())) { Kind::NewHead } else { kind };
            return Some(Finding::new(kind, sentence, json!({"same_elements": same, "other_elements": odd})));
        }
        None
    }

    fn vocabulary_facts(&self) -> Value {
        let resized = self.tensors.iter().find(|tensor| matches!(tensor.state, State::Resized));
        let rows = |facts: Option<&TensorFacts>| facts.and_then(|facts| facts.shape.first().copied());
        let (a, b) = resized.map_or((None, None), |tensor| (rows(tensor.a.as_ref()), rows(tensor.b.as_ref())));
        json!({"rows_a": a, "rows_b": b})
    }

    /// What is on one side only or has another shape, in words; empty when there is nothing.
    pub(super) fn structure_note(&self) -> String {
        let mut notes = Vec::new();
        let resized = self.tensors.iter().find(|tensor| matches!(tensor.state, State::Resized));
        if let Some(tensor) = resized
            && let (Some(a), Some(b)) = (&tensor.a, &tensor.b)
        {
            let rows = |shape: &[u64]| digits(shape.first().copied().unwrap_or(0));
            let what = if is_embedding(tensor.name()) || is_head(tensor.name()) { "vocabulary" } else { "rows" };
            notes.push(format!("{what} resized from {} to {}", rows(&a.shape), rows(&b.shape)));
        }
        let named = |state: fn(&State) -> bool| -> Vec<String> {
            self.tensors
                .iter()
                .filter(|tensor| state(&tensor.state))
                .map(|tensor| format!("`{}`", tensor.name()))
                .collect()
        };
        for (verb, names) in [
            ("added", named(|state| matches!(state, State::Added))),
            ("removed", named(|state| matches!(state, State::Removed))),
            ("in another shape", named(|state| matches!(state, State::Reshaped))),
        ] {
            match names.len() {
                0 => {}
                1 | 2 => notes.push(format!("{} {verb}", names.join(" and "))),
                count => notes.push(format!("{} {verb}", many(count as u64, "tensor"))),
            }
        }
        notes.join(", ")
    }
}
