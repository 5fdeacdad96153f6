//! The one sentence that says what became of a checkpoint, and the rules behind it.
//!
//! Rules are asked in order, from what is certain to what is likely; the first that answers wins. Buffers take no part,
//! unless there is nothing else.

mod merge;
mod place;
mod same;
mod structure;
mod trained;
mod words;

use serde_json::{Map, Value, json};
use weighthouse_format::Format;

use super::{Kind, Side, State, TensorChange, Totals, Verdict};
use place::Places;
use words::{digits, many, percent, real};

/// What the rules look at.
struct Evidence<'a> {
    pub a: Side<'a>,
    pub b: Side<'a>,
    /// Whether there is a third checkpoint.
    pub third: bool,
    /// Tensors that count.
    pub tensors: Vec<&'a TensorChange>,
    pub totals: &'a Totals,
    pub places: Places<'a>,
}

/// A verdict without what every verdict has.
struct Finding {
    pub kind: Kind,
    pub sentence: String,
    pub facts: Map<String, Value>,
}

impl Finding {
    fn new(kind: Kind, sentence: impl Into<String>, facts: Value) -> Self {
        let facts = if let Value::Object(facts) = facts { facts } else { Map::new() };
        Self { kind, sentence: sentence.into(), facts }
    }
}

/// What it comes to.
pub(super) fn verdict<'a>(
    a: Side<'a>,
    b: Side<'a>,
    third: bool,
    tensors: &'a [TensorChange],
    totals: &'a Totals,
) -> Verdict {
    let mut counted: Vec<&TensorChange> = tensors.iter().filter(|tensor| !tensor.buffer).collect();
    if counted.is_empty() {
        counted = tensors.iter().collect();
    }
    let equal = !tensors.is_empty()
        && counted.iter().all(|tensor| matches!(tensor.state, State::Equal | State::Tied(_)))
        && tensors.iter().all(|tensor| {
            matches!(tensor.state, State::Equal | State::Tied(_))
                || (tensor.buffer && matches!(tensor.state, State::Added | State::Removed))
        });
    let places = Places::of(&counted);
    let evidence = Evidence { a, b, third, tensors: counted, totals, places };
    let rules: [fn(&Evidence<'_>) -> Option<Finding>; 11] = [
        nothing,
        adapter,
        |evidence| evidence.all_same(),
        merge::merge,
        unrelated,
        |evidence| evidence.partly_same(),
        trained::pruned,
        trained::low_rank,
        trained::frozen,
        trained::mixture,
        trained::fine_tune,
    ];
    let found = rules
        .iter()
        .find_map(|rule| rule(&evidence))
        .unwrap_or_else(|| Finding::new(Kind::Incomparable, "the weights could not be compared", json!({})));
    let mut sentence = found.sentence;
    let unread = evidence.tensors.iter().filter(|tensor| matches!(tensor.state, State::Unread(_))).count();
    if unread > 0 {
        sentence += &format!("; {} could not be read", many(unread as u64, "tensor"));
    }
    Verdict { kind: found.kind, sentence, equal, facts: found.facts }
}

/// One of the two has no weights.
fn nothing(evidence: &Evidence<'_>) -> Option<Finding> {
    let (none_a, none_b) = (evidence.a.tensors().is_empty(), evidence.b.tensors().is_empty());
    let sentence = match (none_a, none_b) {
        (true, true) => "neither side has weights",
        (true, false) => "the first side has no weights",
        (false, true) => "the second side has no weights",
        (false, false) => return None,
    };
    Some(Finding::new(Kind::Incomparable, sentence, json!({})))
}

/// An adapter beside a model.
fn adapter(evidence: &Evidence<'_>) -> Option<Finding> {
    let is_adapter = |side: Side<'_>| {
        let tensors = side.tensors();
        let adapting = tensors
            .iter()
            .filter(|tensor| ["lora_", "hada_w", "lokr_w", ".lora."].iter().any(|word| tensor.name.contains(word)));
        side.checkpoint.contents.formats.contains(&Format::Peft) || adapting.count() * 2 > tensors.len()
    };
    let (adapter, base, name) = match (is_adapter(evidence.a), is_adapter(evidence.b)) {
        (false, true) => (evidence.b, evidence.a, "the second side is an adapter"),
        (true, false) => (evidence.a, evidence.b, "the first side is an adapter"),
        _ => return None,
    };
    let mut modules = std::collections::BTreeSet::new();
    let (mut ranks, mut matched, mut all) =
        (std::collections::BTreeSet::new(), 0u64, std::collections::BTreeSet::new());
    for tensor in adapter.tensors() {
        let Some((module, part)) = tensor.name.split_once(".lora_A").or_else(|| tensor.name.split_once(".lora_down"))
        else {
            continue;
        };
        let _ = part;
        let module = module.strip_prefix("base_model.model.").unwrap_or(module);
        all.insert(module.to_owned());
        modules.insert(module.rsplit('.').next().unwrap_or(module).to_owned());
        ranks.extend(tensor.shape.first().copied());
    }
    let names: std::collections::HashSet<&str> =
        base.tensors().iter().map(|tensor| tensor.name.strip_suffix(".weight").unwrap_or(&tensor.name)).collect();
    for module in &all {
        let short = module.split_once('.').map_or(module.as_str(), |(_, rest)| rest);
        matched += u64::from(names.contains(module.as_str()) || names.contains(short));
    }
    let ranks: Vec<u64> = ranks.into_iter().collect();
    let modules: Vec<String> = modules.into_iter().collect();
    let of_rank = words::range(&ranks).map_or(String::new(), |range| format!(" of rank {range}"));
    let at = if modules.is_empty() { String::new() } else { format!(" for {}", words::list(&modules, 6)) };
    let fits = format!("{} of its {} modules are in the other side", digits(matched), digits(all.len() as u64));
    Some(Finding::new(
        Kind::Adapter,
        format!("{name}{of_rank}{at}: {fits}; merge it to compare weights"),
        json!({"ranks": ranks, "modules": modules, "matched": matched, "targets": all.len()}),
    ))
}

/// Sides with nothing in common.
fn unrelated(evidence: &Evidence<'_>) -> Option<Finding> {
    let compared = evidence.elements(|tensor| tensor.numbers.is_some());
    let all = |side: Side<'_>| side.tensors().iter().fold(0u64, |sum, tensor| sum.saturating_add(tensor.elements()));
    let smaller = all(evidence.a).min(all(evidence.b));
    if compared < smaller / 20 {
        let how = if evidence.tensors.iter().any(|tensor| matches!(tensor.state, State::Reshaped)) {
            "tensors of the same names have other shapes"
        } else {
            "neither names nor values agree"
        };
        let share = percent(compared as f64 / smaller.max(1) as f64);
        let sentence = format!("unrelated: {how}; {share} of the elements could be compared");
        return Some(Finding::new(
            Kind::Unrelated,
            sentence,
            json!({"compared_share": compared as f64 / smaller.max(1) as f64}),
        ));
    }
    let (cosine, elements) = evidence.mean_cosine()?;
    (cosine.abs() < 0.1 && elements * 2 > evidence.elements(|tensor| tensor.is_matrix() && tensor.numbers.is_some()))
        .then(|| {
            let sentence = format!("unrelated: the shapes agree, but not the values (mean cosine {})", real(cosine));
            Finding::new(Kind::Unrelated, sentence, json!({"cosine": cosine}))
        })
}

impl Evidence<'_> {
    fn count(&self, of: impl Fn(&TensorChange) -> bool) -> u64 {
        self.tensors.iter().filter(|tensor| of(tensor)).count() as u64
    }

    fn elements(&self, of: impl Fn(&TensorChange) -> bool) -> u64 {
        let chosen = self.tensors.iter().filter(|tensor| of(tensor));
        chosen.fold(0u64, |sum, tensor| sum.saturating_add(tensor.elements()))
    }

    /// Mean cosine of the matrices that changed, each counted by its elements, and those elements.
    fn mean_cosine(&self) -> Option<(f64, u64)> {
        let (mut sum, mut elements) = (0.0, 0u64);
        for tensor in self.tensors.iter().filter(|tensor| tensor.is_matrix() && !tensor.state.is_same()) {
            if let Some(cosine) = tensor.numbers.as_ref().and_then(|numbers| numbers.cosine) {
                sum += cosine * tensor.elements() as f64;
                elements = elements.saturating_add(tensor.elements());
            }
        }
        (elements > 0).then(|| (sum / elements as f64, elements))
    }

    /// Tensors that are on one side only, or of another shape.
    fn structure(&self) -> impl Iterator<Item = &TensorChange> {
        let odd = |state: &State| matches!(state, State::Added | State::Removed | State::Reshaped | State::Resized);
        self.tensors.iter().copied().filter(move |tensor| odd(&tensor.state))
    }
}
