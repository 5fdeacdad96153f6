//! State of torch's optimizers: by number in the file, by name in ours.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::contents::{Optimizer, WarningKind};
use crate::error::FormatError;
use crate::limits::Limits;
use crate::pickle::{Node, NodeId};
use crate::tensor::Tensor;

use super::loaded::Loaded;

/// Slots whose shape is that of the parameter.
const SAME_SHAPE: &[&str] =
    &["exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "sum", "exp_inf", "acc_delta", "ax"];
/// Ends of names of buffers that optimizers do not see.
const BUFFERS: &[&str] =
    &["running_mean", "running_var", "num_batches_tracked", "position_ids", "inv_freq", "masked_bias"];

/// Tensors by slot.
type Slots = Vec<(String, Tensor)>;

/// State of one parameter.
pub(super) struct Entry {
    /// Number, or name where the file has names.
    pub(super) key: String,
    pub(super) number: Option<u64>,
    pub(super) slots: Slots,
}

impl Loaded {
    /// Reads the state of the optimizer under the node, and names its parameters after the model's, where shapes prove it.
    pub(super) fn optimizer(&mut self, node: NodeId, model: &[Tensor]) -> Result<Optimizer, FormatError> {
        let mut optimizer = Optimizer::default();
        let mut visits = self.visits();
        let (mut groups, mut names): (Vec<Vec<u64>>, HashMap<u64, String>) = Default::default();
        for &group in self.graph.get(node, "param_groups").map(|groups| self.graph.items(groups)).unwrap_or_default() {
            self.spend(&mut visits, group)?;
            let (settings, numbers, given) = self.group(group);
            names.extend(numbers.iter().copied().zip(given));
            optimizer.groups.push(settings);
            groups.push(numbers);
        }
        let mut entries = Vec::new();
        let state = self.graph.get(node, "state").unwrap_or(node);
        for (key, value) in self.entries(state) {
            let (number, Some(key)) = (self.graph.unsigned(key), self.key(key)) else { continue };
            self.spend(&mut visits, value)?;
            Limits::at_most("number of parameters", entries.len() as u64, self.limits.tensors)?;
            let (slots, step) = self.slots(value)?;
            optimizer.step = optimizer.step.max(step);
            entries.push(Entry { key, number, slots });
        }
        Ok(build(optimizer, &groups, names, entries, model))
    }

    /// Settings of a group, numbers of its parameters, and their names where the file has them.
    pub(super) fn group(&self, group: NodeId) -> (Map<String, Value>, Vec<u64>, Vec<String>) {
        let (mut settings, mut numbers, mut names) = (Map::new(), Vec::new(), Vec::new());
        for (key, value) in self.entries(group) {
            let Some(key) = self.key(key) else { continue };
            match key.as_str() {
                "params" => {
                    let params = self.graph.items(value);
                    settings.insert(key, json!(params.len()));
                    numbers = params.iter().filter_map(|&param| self.graph.unsigned(param)).collect();
                }
                "param_names" => {
                    names = self.graph.items(value).iter().filter_map(|&name| self.text(name)).collect();
                }
                _ => {
                    if let Some(value) = self.json(value, &Default::default()) {
                        settings.insert(key, value);
                    }
                }
            }
        }
        (settings, numbers, names)
    }

    /// Tensors of a parameter's state by slot, and the step.
    fn slots(&mut self, state: NodeId) -> Result<(Slots, Option<u64>), FormatError> {
        let (mut slots, mut step) = (Vec::new(), None);
        for (key, value) in self.entries(state) {
            let Some(key) = self.key(key) else { continue };
            if key == "step" {
                step = self.step(value);
                continue;
            }
            if self.is_tensor(value) {
                self.add_parts(&key, value, &mut slots);
            } else if !matches!(self.graph.node(value), Node::Int(_) | Node::Float(_)) {
                for (path, id) in self.collect(value, &Default::default())? {
                    self.add_parts(&format!("{key}.{path}"), id, &mut slots);
                }
            }
        }
        Ok((slots, step))
    }

    fn add_parts(&mut self, name: &str, id: NodeId, slots: &mut Slots) {
        match self.tensor(id) {
            Some(Ok(parts)) => {
                slots.extend(parts.tensors.into_iter().map(|(end, tensor)| (format!("{name}{end}"), tensor)));
            }
            Some(Err(error)) => self.warn(WarningKind::Unreadable, format!("optimizer state `{name}`: {error}")),
            None => {}
        }
    }

    /// A step counter: a number, or a tensor of one.
    pub(super) fn step(&self, id: NodeId) -> Option<u64> {
        if let Some(step) = self.graph.unsigned(id) {
            return Some(step);
        }
        let step = *self.floats(id)?.first()?;
        (0.0..1e18).contains(&step).then_some(step as u64)
    }
}

/// Names the parameters of an optimizer that lies in another file than its model; only where every shape agrees.
///
/// Does nothing when the optimizer's tensors have names already.
pub fn name_parameters(optimizer: &mut Optimizer, model: &[Tensor]) {
    let mut entries: Vec<Entry> = Vec::new();
    for tensor in &optimizer.tensors {
        let Some((key, slot)) = tensor.name.split_once('.') else { return };
        let Ok(number) = key.parse::<u64>() else { return };
        let slot = (slot.to_owned(), tensor.clone());
        match entries.last_mut().filter(|entry| entry.number == Some(number)) {
            Some(entry) => entry.slots.push(slot),
            None => entries.push(Entry { key: key.to_owned(), number: Some(number), slots: vec![slot] }),
        }
    }
    // Parameters without state have numbers too.
    let count = optimizer.groups.iter().filter_map(|group| group.get("params")?.as_u64()).sum::<u64>();
    if count > model.len() as u64 {
        return;
    }
    let Some(names) = assign(&[(0..count).collect()], &entries, model) else { return };
    for member in optimizer.members.iter_mut().flatten() {
        if let Some(name) = member.parse().ok().and_then(|number: u64| names.get(&number)) {
            member.clone_from(name);
        }
    }
    for tensor in &mut optimizer.tensors {
        if let Some((key, slot)) = tensor.name.split_once('.')
            && let Some(name) = key.parse().ok().and_then(|number: u64| names.get(&number))
        {
            tensor.name = format!("{name}.{slot}");
        }
    }
}

/// Names the parameters after the model's, where the file does not and shapes prove it, and tells the kind.
///
/// `optimizer` has groups and step already; `groups` are the numbers of their parameters.
pub(super) fn build(
    mut optimizer: Optimizer,
    groups: &[Vec<u64>],
    mut names: HashMap<u64, String>,
    entries: Vec<Entry>,
    model: &[Tensor],
) -> Optimizer {
    let kinds = entries.iter().flat_map(|entry| &entry.slots).map(|(slot, _)| slot.as_str());
    optimizer.kind = kind(&optimizer.groups, crate::optimizer::kind(kinds));
    if names.is_empty() {
        names = assign(groups, &entries, model).unwrap_or_default();
    }
    let member = |number: &u64| names.get(number).cloned().unwrap_or_else(|| number.to_string());
    optimizer.members = groups.iter().map(|numbers| numbers.iter().map(member).collect()).collect();
    for entry in entries {
        let name = entry.number.and_then(|number| names.get(&number)).unwrap_or(&entry.key);
        for (slot, tensor) in entry.slots {
            optimizer.tensors.push(Tensor { name: format!("{name}.{slot}"), ..tensor });
        }
    }
    optimizer
}

/// The kind by settings where slots cannot tell, and AdamW apart from Adam where newer torch says which.
pub(super) fn kind(groups: &[Map<String, Value>], by_slots: Option<&str>) -> Option<String> {
    let has = |key: &str| groups.iter().any(|group| group.contains_key(key));
    let decoupled = groups.iter().any(|group| group.get("decoupled_weight_decay") == Some(&json!(true)));
    let kind = match by_slots {
        Some(kind) => kind,
        None if has("nesterov") && has("ns_steps") => "Muon",
        None if has("nesterov") => "SGD",
        None if has("amsgrad") => "Adam",
        None if has("scale_parameter") || has("clip_threshold") => "Adafactor",
        None if has("centered") => "RMSprop",
        None if has("history_size") => "LBFGS",
        None if has("rho") => "Adadelta",
        None if has("lr_decay") => "Adagrad",
        None => return None,
    };
    let kind = match kind {
        "SGD" if has("ns_steps") => "Muon",
        "Adam" | "AMSGrad" if has("momentum_decay") => "NAdam",
        "Adam" if has("decoupled_weight_decay") && !has("amsgrad") => "RAdam",
        "Adam" | "AMSGrad" if decoupled => "AdamW",
        kind => kind,
    };
    Some(kind.to_owned())
}

/// Names for the numbers of the parameters: the model's order, or that order cut in two as Trainer does, with what
/// decays first; only where every shape agrees. Where the model has more tensors than the optimizer (buffers, copies that
/// are not trained), only if there is one way to leave some out.
fn assign(groups: &[Vec<u64>], entries: &[Entry], model: &[Tensor]) -> Option<HashMap<u64, String>> {
    let numbers: Vec<u64> = groups.iter().flatten().copied().collect();
    let parameters = parameters(model);
    if numbers.is_empty() || entries.is_empty() {
        return None;
    }
    let by_number: HashMap<u64, &Entry> = entries.iter().filter_map(|entry| Some((entry.number?, entry))).collect();
    let fits = |number: u64, tensor: &Tensor| {
        let slots = by_number.get(&number).map(|entry| entry.slots.as_slice()).unwrap_or_default();
        let mut same = slots.iter().filter(|(slot, _)| SAME_SHAPE.contains(&slot.as_str()));
        same.all(|(_, slot)| slot.shape == tensor.shape)
    };
    let named = |order: &[&Tensor]| {
        numbers.iter().copied().zip(order.iter().map(|tensor| tensor.name.clone())).collect::<HashMap<_, _>>()
    };
    let cut = |first: fn(&Tensor) -> bool| -> Vec<&Tensor> {
        let (one, two): (Vec<&Tensor>, Vec<&Tensor>) = parameters.iter().copied().partition(|tensor| first(tensor));
        one.into_iter().chain(two).collect()
    };
    for order in [parameters.clone(), cut(|tensor| tensor.shape.len() >= 2), cut(|tensor| decays(&tensor.name))] {
        let all = numbers.iter().zip(&order).all(|(&number, tensor)| fits(number, tensor));
        if order.len() == numbers.len() && all {
            return Some(named(&order));
        }
    }
    let trained: Vec<&Tensor> = parameters.iter().copied().filter(|tensor| !tensor.name.contains("target")).collect();
    for order in [parameters, trained] {
        let Some(first) = leftmost(&numbers, &order, fits) else { continue };
        let mut backwards = (numbers.clone(), order);
        backwards.0.reverse();
        backwards.1.reverse();
        let Some(mut last) = leftmost(&backwards.0, &backwards.1, fits) else { continue };
        last.reverse();
        if first.iter().zip(&last).all(|(one, other)| one.name == other.name) {
            return Some(named(&first));
        }
    }
    None
}

/// The first tensor for each number, in order, that fits it.
fn leftmost<'a>(numbers: &[u64], order: &[&'a Tensor], fits: impl Fn(u64, &Tensor) -> bool) -> Option<Vec<&'a Tensor>> {
    let mut rest = order.iter().copied();
    numbers.iter().map(|&number| rest.find(|tensor| fits(number, tensor))).collect()
}

/// Trainer's other rule: biases and the weights of norms do not decay.
fn decays(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    !(lower.ends_with("bias") || lower.contains("norm") || lower.contains("ln_"))
}

/// Tensors that an optimizer may know: no buffers, and of aliases the first.
fn parameters(model: &[Tensor]) -> Vec<&Tensor> {
    let mut seen = std::collections::HashSet::new();
    let is_parameter = |tensor: &&Tensor| {
        let last = tensor.name.rsplit('.').next().unwrap_or_default();
        let float =
            matches!(tensor.dtype.as_str(), "F16" | "BF16" | "F32" | "F64" | "C64" | "C128" | "F8_E4M3" | "F8_E5M2");
        float && !BUFFERS.contains(&last)
    };
    let first = |tensor: &&Tensor| match tensor.place() {
        Some((file, begin)) => seen.insert((file.clone(), begin, tensor.shape.clone())),
        None => true,
    };
    model.iter().filter(is_parameter).filter(first).collect()
}
