//! Which tensors are the model's and which the optimizer's, by their names.

use std::collections::{BTreeMap, HashMap};

use crate::contents::{Contents, Optimizer};
use crate::optimizer;
use crate::tensor::Tensor;

/// What every variable's key of an object-based checkpoint ends with.
const VALUE: &str = "/.ATTRIBUTES/VARIABLE_VALUE";
/// What stands between parameter and slot in such a key.
const SLOT: &str = "/.OPTIMIZER_SLOT/";

/// Endings that the optimizers of the first version give their slots, and the names of the slots.
const ENDINGS: &[(&str, &str)] = &[
    ("/Adam_1", "v"),
    ("/Adam", "m"),
    ("/adam_m", "m"),
    ("/adam_v", "v"),
    ("/Momentum", "momentum"),
    ("/RMSProp_1", "momentum"),
    ("/RMSProp", "rms"),
    ("/Adagrad", "accumulator"),
    ("/Adadelta_1", "accum_update"),
    ("/Adadelta", "accum"),
    ("/Ftrl_1", "linear"),
    ("/Ftrl", "accum"),
    ("_slot_vr", "vr"),
    ("_slot_vc", "vc"),
    ("_slot_v", "v"),
];

/// Optimizers of Keras by the name that their variables begin with.
const KINDS: &[(&str, &str)] = &[
    ("adam", "Adam"),
    ("adamw", "AdamW"),
    ("adamax", "Adamax"),
    ("nadam", "Nadam"),
    ("adagrad", "Adagrad"),
    ("adadelta", "Adadelta"),
    ("adafactor", "Adafactor"),
    ("rmsprop", "RMSprop"),
    ("sgd", "SGD"),
    ("ftrl", "Ftrl"),
    ("lion", "Lion"),
    ("lamb", "Lamb"),
    ("muon", "Muon"),
];

/// What the object graph says of keys.
#[derive(Default)]
pub(super) struct Objects {
    /// The parameter's key and the slot's name, by the key of the slot.
    pub(super) slots: HashMap<String, (String, String)>,
    /// The variable's own name, by its key.
    pub(super) full_names: HashMap<String, String>,
}

/// The name of a tensor for its key.
pub(super) fn plain(key: &str) -> &str {
    key.strip_suffix(VALUE).unwrap_or(key)
}

/// Divides the tensors of a checkpoint, which have their keys as names, among model and optimizer.
pub(super) fn divide(contents: &mut Contents, tensors: Vec<Tensor>, objects: &Objects) {
    let names: BTreeMap<String, ()> = tensors.iter().map(|tensor| (tensor.name.clone(), ())).collect();
    let mut state = Vec::new();
    let mut slots = Vec::new();
    for mut tensor in tensors {
        match slot(&tensor.name, &names, objects) {
            Some((parameter, slot)) => {
                tensor.name = format!("{}.{slot}", plain(&parameter));
                slots.push(slot);
                state.push(tensor);
            }
            None if is_state(&tensor.name) => {
                tensor.name = plain(&tensor.name).to_owned();
                state.push(tensor);
            }
            None => {
                tensor.name = plain(&tensor.name).to_owned();
                contents.tensors.push(tensor);
            }
        }
    }
    if state.is_empty() {
        return;
    }
    let named = objects.full_names.iter().find(|(key, _)| plain(key).ends_with("optimizer/_iterations"));
    let named = named.and_then(|(_, name)| keras_kind(name.split('/').next()?));
    let told = optimizer::kind(slots.iter().map(String::as_str)).map(str::to_owned);
    let told = told.or_else(|| match () {
        () if slots.iter().any(|slot| slot == "vr") => Some("Adafactor".to_owned()),
        () if slots.iter().any(|slot| slot == "rms") => Some("RMSprop".to_owned()),
        () if slots.iter().any(|slot| slot == "linear") => Some("Ftrl".to_owned()),
        () => None,
    });
    contents.optimizer = Some(Optimizer { kind: named.or(told), tensors: state, ..Optimizer::default() });
}

/// Our word for an optimizer of Keras, from its class or the name of its variables.
pub(crate) fn keras_kind(name: &str) -> Option<String> {
    let lower = name.to_lowercase();
    let known = KINDS.iter().find(|(key, _)| *key == lower);
    known.map(|(_, kind)| (*kind).to_owned())
}

/// Parameter and slot, if the key is a slot's.
fn slot(key: &str, names: &BTreeMap<String, ()>, objects: &Objects) -> Option<(String, String)> {
    if let Some(known) = objects.slots.get(key) {
        return Some(known.clone());
    }
    if let Some((parameter, rest)) = plain(key).split_once(SLOT) {
        // The optimizer's own path, then the slot.
        let slot = rest.rsplit('/').next().unwrap_or(rest);
        return Some((parameter.to_owned(), slot.to_owned()));
    }
    let ending = |(ending, slot): &(&str, &str)| {
        let parameter = key.strip_suffix(ending)?;
        names.contains_key(parameter).then(|| (parameter.to_owned(), (*slot).to_owned()))
    };
    ENDINGS.iter().find_map(ending)
}

/// Whether the key is of an optimizer's other variables: counters, learning rates, lists without slots.
fn is_state(key: &str) -> bool {
    let key = plain(key);
    let own = key.split_once("optimizer/").filter(|(before, _)| before.is_empty() || before.ends_with(['/', '_']));
    // Keras keeps the model's own variables in a list of the optimizer too.
    own.is_some_and(|(_, rest)| !rest.starts_with("_trainable_variables"))
        || matches!(key, "beta1_power" | "beta2_power")
}

/// Whether the tensor with this name counts steps.
pub(super) fn is_step(name: &str) -> bool {
    name == "global_step" || name.ends_with("optimizer/_iterations") || name.ends_with("optimizer/iter")
}
