//! The tree of a torch file or a distributed checkpoint: weights, and the optimizer as torch's optimizers load it.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};
use weighthouse_format::checkpoint::Checkpoint;
use weighthouse_format::contents::Optimizer;
use weighthouse_format::output::OutputTensor;
use weighthouse_format::remap::Envelope;
use weighthouse_format::tensor::Stored;
use weighthouse_format::torch::state::{Key, State};
use weighthouse_format::{Dtype, Tensor};

use super::weights;
use crate::Error;
use crate::convert::{Form, Options};

/// The tensors and the tree of the parts that were asked for.
pub(super) fn of(
    options: &Options,
    checkpoint: &Checkpoint,
    named: Vec<OutputTensor>,
    envelope: Option<Envelope>,
) -> Result<(Vec<OutputTensor>, State), Error> {
    let (mut tensors, weights) = shared_once(named);
    let optimizer = match &checkpoint.contents.optimizer {
        Some(optimizer) if options.parts.optimizer => {
            // Files are loaded by torch's optimizers, which count; distributed checkpoints go by name.
            Some(tree(optimizer, options.to == Form::Torch, &mut tensors)?)
        }
        _ => None,
    };
    let mut entries: Vec<(Key, State)> = Vec::new();
    let key = envelope.as_ref().map_or("model", |envelope| envelope.key);
    for (key, value) in envelope.iter().flat_map(|envelope| &envelope.beside) {
        entries.push((key.as_str().into(), state(value)));
    }
    let whole = envelope.is_none() && options.to == Form::Torch;
    let state = match (options.parts.model, optimizer) {
        (true, None) if whole => weights,
        (false, Some(optimizer)) if whole => optimizer,
        (model, optimizer) => {
            if model {
                entries.push((key.into(), weights));
            }
            entries.extend(optimizer.map(|optimizer| ("optimizer".into(), optimizer)));
            State::Dict(entries)
        }
    };
    Ok((tensors, state))
}

/// The optimizer alone, as a file of its own.
pub(super) fn of_optimizer(optimizer: &Optimizer) -> Result<(Vec<OutputTensor>, State), Error> {
    let mut tensors = Vec::new();
    let state = tree(optimizer, true, &mut tensors)?;
    Ok((tensors, state))
}

/// Adds the optimizer's tensors to those of a format that holds nothing but tensors.
pub(super) fn append(options: &Options, checkpoint: &Checkpoint, tensors: &mut Vec<OutputTensor>) -> Result<(), Error> {
    if let Some(optimizer) = checkpoint.contents.optimizer.as_ref().filter(|_| options.parts.optimizer) {
        tensors.extend(optimizer.tensors.iter().map(|tensor| {
            let name = format!("optimizer.{}", tensor.name);
            OutputTensor { name, ..OutputTensor::same(tensor) }
        }));
    }
    weights::check_names(tensors)
}

/// Every storage once, and the state dictionary in which names share it.
fn shared_once(named: Vec<OutputTensor>) -> (Vec<OutputTensor>, State) {
    let mut first: HashMap<usize, usize> = HashMap::new();
    for group in weights::shared(&named) {
        let kept = group.first().copied().unwrap_or(0);
        first.extend(group.iter().skip(1).map(|&number| (number, kept)));
    }
    let mut places = HashMap::new();
    let (mut tensors, mut entries) = (Vec::new(), Vec::new());
    for (number, tensor) in named.into_iter().enumerate() {
        let name = tensor.name.clone();
        let place = match first.get(&number).and_then(|kept| places.get(kept)) {
            Some(&place) => place,
            None => {
                tensors.push(tensor);
                tensors.len() - 1
            }
        };
        places.insert(number, place);
        entries.push((Key::Text(name), State::Tensor(place)));
    }
    (tensors, State::OrderedDict(entries))
}

/// `{"state": …, "param_groups": …}`. Parameters go by the keys that the source has; with `numbered` by their place in the
/// groups, if it is known of all, and the groups say the names.
fn tree(optimizer: &Optimizer, numbered: bool, tensors: &mut Vec<OutputTensor>) -> Result<State, Error> {
    let known: HashSet<&str> = optimizer.members.iter().flatten().map(String::as_str).collect();
    let told = optimizer.members.len() == optimizer.groups.len();
    let named = known.iter().any(|member| matches!(key(member), Key::Text(_)));
    let numbers: HashMap<&str, i64> = if numbered && told && named {
        optimizer.members.iter().flatten().map(String::as_str).zip(0..).collect()
    } else {
        HashMap::new()
    };
    let mut slots: Vec<(&str, Vec<(&str, &Tensor)>)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for tensor in &optimizer.tensors {
        let (parameter, slot) = split(&tensor.name, &known);
        let place = *places.entry(parameter).or_insert_with(|| {
            slots.push((parameter, Vec::new()));
            slots.len() - 1
        });
        if let Some((_, list)) = slots.get_mut(place) {
            list.push((slot, tensor));
        }
    }
    let mut state = Vec::new();
    for (parameter, list) in &slots {
        let mut entries = Vec::new();
        if let Some(step) = optimizer.step {
            // A tensor of its own for each: torch counts in place.
            let stored = Stored::inline(&(step as f32).to_le_bytes());
            tensors.push(OutputTensor::same(&Tensor::plain(
                format!("{parameter}.step"),
                Dtype::F32,
                Vec::new(),
                stored,
            )));
            entries.push((Key::from("step"), State::Tensor(tensors.len() - 1)));
        }
        for (slot, tensor) in list {
            let output = OutputTensor::same(tensor);
            weights::check_cast(&output)?;
            tensors.push(output);
            entries.push((Key::from(*slot), State::Tensor(tensors.len() - 1)));
        }
        state.push((
            numbers.get(parameter).map_or_else(|| key(parameter), |&number| Key::Int(number)),
            State::Dict(entries),
        ));
    }
    let parameters: Vec<&str> = slots.iter().map(|(parameter, _)| *parameter).collect();
    let groups = groups(optimizer, &parameters, &numbers);
    Ok(State::Dict(vec![("state".into(), State::Dict(state)), ("param_groups".into(), State::List(groups))]))
}

/// Groups with their settings and their parameters.
fn groups(optimizer: &Optimizer, parameters: &[&str], numbers: &HashMap<&str, i64>) -> Vec<State> {
    let told = optimizer.members.len() == optimizer.groups.len() && !optimizer.members.is_empty();
    let nothing = Map::new();
    let settings: Vec<&Map<String, Value>> =
        if optimizer.groups.is_empty() { vec![&nothing] } else { optimizer.groups.iter().collect() };
    let mut rest = parameters.iter().copied();
    let only = settings.len() == 1;
    let mut groups = Vec::new();
    for (number, settings) in settings.into_iter().enumerate() {
        let members: Vec<&str> = match optimizer.members.get(number).filter(|_| told) {
            Some(members) => members.iter().map(String::as_str).collect(),
            None if only => rest.by_ref().collect(),
            None => {
                let count = settings.get("params").and_then(Value::as_u64).unwrap_or(0);
                rest.by_ref().take(usize::try_from(count).unwrap_or(0)).collect()
            }
        };
        let mut entries: Vec<(Key, State)> = settings
            .iter()
            .filter(|(name, _)| !["params", "param_names"].contains(&name.as_str()))
            .map(|(name, value)| {
                let value = match (name.as_str(), state(value)) {
                    // JSON has no tuples.
                    ("betas", State::List(list)) => State::Tuple(list),
                    (_, value) => value,
                };
                (Key::from(name.as_str()), value)
            })
            .collect();
        if members.iter().any(|member| numbers.contains_key(member)) {
            let names = members.iter().map(|member| State::Text((*member).to_owned()));
            entries.push(("param_names".into(), State::List(names.collect())));
        }
        let members = members.into_iter().map(|member| match (numbers.get(member), key(member)) {
            (Some(&number), _) | (None, Key::Int(number)) => State::Int(number),
            (None, Key::Text(name)) => State::Text(name),
        });
        entries.push(("params".into(), State::List(members.collect())));
        groups.push(State::Dict(entries));
    }
    groups
}

fn key(parameter: &str) -> Key {
    match parameter.parse::<i64>() {
        Ok(number) if number.to_string() == parameter => Key::Int(number),
        _ => Key::Text(parameter.to_owned()),
    }
}

/// Parameter and slot of `parameter.slot`; both may have dots.
fn split<'a>(name: &'a str, known: &HashSet<&str>) -> (&'a str, &'a str) {
    let cuts = || name.rmatch_indices('.').map(|(at, _)| (name.get(..at), name.get(at + 1..)));
    let pair = |(parameter, slot): (Option<&'a str>, Option<&'a str>)| Some((parameter?, slot?));
    let found = cuts().filter_map(pair).find(|(parameter, _)| known.contains(parameter));
    found.or_else(|| cuts().find_map(pair)).unwrap_or((name, "state"))
}

/// JSON as values of Python.
fn state(value: &Value) -> State {
    match value {
        Value::Null => State::None,
        Value::Bool(value) => State::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => State::Int(whole),
            None => State::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => State::Text(text.clone()),
        // No deeper than the JSON reader allows.
        Value::Array(list) => State::List(list.iter().map(state).collect()),
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            State::Dict(sorted.into_iter().map(|(key, value)| (Key::from(key.as_str()), state(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_slots_are_told_apart_where_both_have_dots() {
        let known = HashSet::from(["layer.0.weight", "layer"]);
        assert_eq!(split("layer.0.weight.exp_avg", &known), ("layer.0.weight", "exp_avg"));
        assert_eq!(split("layer.0.weight.a.b", &known), ("layer.0.weight", "a.b"));
        assert_eq!(split("other.exp_avg", &known), ("other", "exp_avg"));
        assert_eq!(split("exp_avg", &known), ("exp_avg", "state"));
    }

    #[test]
    fn groups_that_name_no_parameters_take_them_in_order() {
        let group =
            |lr: f64, params: u64| Map::from_iter([("lr".to_owned(), lr.into()), ("params".to_owned(), params.into())]);
        let optimizer = Optimizer { groups: vec![group(0.1, 2), group(0.2, 1)], ..Optimizer::default() };
        let made = groups(&optimizer, &["0", "1", "2"], &HashMap::new());
        let params = |state: &State| match state {
            State::Dict(entries) => entries.last().cloned(),
            _ => None,
        };
        assert_eq!(
            made.iter().filter_map(params).map(|(_, list)| list).collect::<Vec<_>>(),
            [State::List(vec![State::Int(0), State::Int(1)]), State::List(vec![State::Int(2)])]
        );
    }
}
