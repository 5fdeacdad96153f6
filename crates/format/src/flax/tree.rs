//! Trees of tensors: which of them are the model, and which the optimizer.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;

use crate::contents::{Contents, Optimizer};
use crate::error::FormatError;
use crate::optimizer;
use crate::tensor::Tensor;

/// What joins the parts of a path.
pub(crate) const SEPARATOR: &str = ".";

/// Names under which training states keep the state of their optimizer.
const ROOTS: &[&str] = &["opt_state", "opt_states", "optimizer_state", "optimizer", "optim", "optimizer_states"];

/// Trees of optax that have the shape of the parameters.
const SLOTS: &[&str] = &[
    "mu",
    "nu",
    "nu_max",
    "trace",
    "momentum",
    "velocity",
    "accumulator",
    "acc_grads",
    "sum_of_squares",
    "v",
    "v_row",
    "v_col",
    "m",
    "ema",
    "ema_params",
    "exp_avg",
    "exp_avg_sq",
    "avg_squared_grad",
    "prev_updates",
];

/// Names of counters.
const STEPS: &[&str] = &["count", "step", "gradient_step"];

/// A leaf of a tree.
pub(crate) struct Entry {
    pub path: Vec<String>,
    /// Its name is the path.
    pub tensor: Tensor,
}

/// The name of a path.
pub(crate) fn name(path: &[String]) -> String {
    path.join(SEPARATOR)
}

/// Puts the tensors of a tree into `contents`; `count` reads a number.
pub(crate) fn sort_out(
    entries: Vec<Entry>,
    contents: &mut Contents,
    mut count: impl FnMut(&Tensor) -> Option<u64>,
) -> Result<(), FormatError> {
    let mut seen = HashSet::new();
    for entry in &entries {
        if !seen.insert(entry.tensor.name.as_str()) {
            return Err(FormatError::DuplicateKey { key: entry.tensor.name.clone() });
        }
    }
    let (state, model): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| root(&entry.path).is_some());
    // The counter of a training state is no parameter.
    let (counters, model): (Vec<_>, Vec<_>) =
        model.into_iter().partition(|entry| entry.tensor.shape.is_empty() && entry.path == ["step"]);
    let parameters: HashSet<&str> = model.iter().map(|entry| entry.tensor.name.as_str()).collect();
    let prefixes: BTreeSet<&str> = model.iter().filter_map(|entry| entry.path.first()).map(String::as_str).collect();

    let mut found = Optimizer::default();
    let mut slots = BTreeSet::new();
    // Several chained transformations may keep a slot of the same name; the later ones keep their whole path.
    let mut taken = HashSet::new();
    for Entry { path, mut tensor } in state {
        let after = path.get(root(&path).map_or(0, |at| at + 1)..).unwrap_or_default();
        if tensor.shape.is_empty()
            && after.last().is_some_and(|last| STEPS.contains(&last.as_str()))
            && let Some(step) = count(&tensor)
        {
            found.step = Some(found.step.map_or(step, |known| known.max(step)));
            continue;
        }
        if let Some((parameter, slot)) = split(after) {
            slots.insert(slot.to_owned());
            let parameter = name(parameter);
            let with_prefix = |prefix: &&&str| parameters.contains(format!("{prefix}{SEPARATOR}{parameter}").as_str());
            let prefix = prefixes.iter().find(with_prefix).filter(|_| !parameters.contains(parameter.as_str()));
            let full = match prefix {
                Some(prefix) => format!("{prefix}{SEPARATOR}{parameter}{SEPARATOR}{slot}"),
                None => format!("{parameter}{SEPARATOR}{slot}"),
            };
            if taken.insert(full.clone()) {
                tensor.name = full;
            }
        }
        found.tensors.push(tensor);
    }
    let mut model: Vec<Tensor> = model.into_iter().map(|entry| entry.tensor).collect();
    for Entry { tensor, .. } in counters {
        match count(&tensor) {
            Some(step) => {
                contents.metadata.insert("step".to_owned(), step.into());
                if !found.tensors.is_empty() {
                    found.step = found.step.or(Some(step));
                }
            }
            None => model.push(tensor),
        }
    }
    if !found.tensors.is_empty() || found.step.is_some() {
        found.kind = optimizer::kind(slots.iter().map(String::as_str)).map(str::to_owned);
        contents.optimizer = Some(found);
    }
    contents.tensors = model;
    Ok(())
}

/// Where in a path the state of an optimizer begins.
fn root(path: &[String]) -> Option<usize> {
    let next = |at: usize| path.get(at + 1).map_or("", String::as_str);
    path.iter().enumerate().position(|(at, part)| match part.as_str() {
        // The optimizers that Flax had before optax: `target` and `state`, which has `step` and `param_states`.
        "state" => matches!(next(at), "step" | "param_states"),
        part => ROOTS.contains(&part) && !matches!(next(at), "target" | "state"),
    })
}

/// Parameter and slot of a path below the root: `0.mu.Dense_0.kernel`, or `param_states.Dense_0.kernel.grad_ema`.
fn split(path: &[String]) -> Option<(&[String], &str)> {
    if let Some(at) = path.iter().position(|part| part == "param_states") {
        let (slot, parameter) = path.get(at + 1..)?.split_last()?;
        return (!parameter.is_empty()).then_some((parameter, slot.as_str()));
    }
    let at = path.iter().position(|part| SLOTS.contains(&part.as_str()))?;
    let (slot, parameter) = path.get(at..)?.split_first()?;
    (!parameter.is_empty()).then_some((parameter, slot.as_str()))
}

/// Values by their name, kept as long as there are not too many.
pub(crate) fn keep(metadata: &mut BTreeMap<String, Value>, path: &[String], value: Value) -> Result<(), FormatError> {
    let key = name(path);
    match metadata.insert(key.clone(), value) {
        Some(_) => Err(FormatError::DuplicateKey { key }),
        None => Ok(()),
    }
}
