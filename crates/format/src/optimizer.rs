//! Kinds of optimizers, told by the names of their slots; and names for the parameters that they number.

use std::collections::BTreeMap;

use crate::checkpoint::is_buffer;
use crate::contents::Contents;
use crate::identity::Format;
use crate::tensor::Tensor;

/// Slots that have the shape of their parameter.
const SHAPED: &[&str] = &["exp_avg", "momentum_buffer", "square_avg", "sum", "exp_inf", "prev", "ax", "acc_delta"];

/// Slots that belong to one kind only, most telling first. A kind is taken when all its slots are there.
const KINDS: &[(&str, &[&str])] = &[
    ("Adam8bit", &["state1", "state2", "absmax1"]),
    ("AMSGrad", &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"]),
    ("Adam", &["exp_avg", "exp_avg_sq"]),
    ("Adamax", &["exp_avg", "exp_inf"]),
    ("Adafactor", &["row_var", "col_var"]),
    ("Adafactor", &["exp_avg_sq_row", "exp_avg_sq_col"]),
    ("Adadelta", &["square_avg", "acc_delta"]),
    ("RMSprop", &["square_avg"]),
    ("Rprop", &["prev", "step_size"]),
    ("ASGD", &["ax", "eta", "mu"]),
    ("LBFGS", &["old_dirs", "old_stps"]),
    ("Adagrad", &["sum"]),
    ("Lion", &["exp_avg"]),
    ("SGD", &["momentum_buffer"]),
    // TensorFlow and Keras.
    ("Adam", &["m", "v"]),
    ("Adam", &["momentum", "velocity"]),
    // optax.
    ("Adam", &["mu", "nu"]),
    ("RMSprop", &["nu"]),
    ("SGD", &["trace"]),
    ("SGD", &["momentum"]),
    ("Adagrad", &["accumulator"]),
];

/// The kind of optimizer that has these slots.
///
/// Adam and AdamW keep the same state, so both answer `Adam`.
pub fn kind<'a>(slots: impl IntoIterator<Item = &'a str>) -> Option<&'static str> {
    let slots: std::collections::BTreeSet<&str> = slots.into_iter().collect();
    KINDS.iter().find(|(_, wanted)| wanted.iter().all(|slot| slots.contains(slot))).map(|(kind, _)| *kind)
}

/// Gives the state of an optimizer the names of its parameters, where the file has only numbers.
///
/// torch numbers parameters in the order of its groups, which is that of the model. A state dict of torch keeps that
/// order; safetensors sorts, so that beside it numbers stay numbers. The order is taken only if every numbered state fits:
/// the state that has the shape of its parameter (`exp_avg`, `momentum_buffer`) must have the shape of the parameter that
/// would give it its name.
pub fn name_parameters(contents: &mut Contents) {
    let sorted = contents.formats.contains(&Format::Safetensors);
    let Some(optimizer) = contents.optimizer.as_mut().filter(|_| !sorted) else { return };
    let numbered = |name: &str| {
        let (number, slot) = name.split_once('.')?;
        Some((number.parse::<usize>().ok()?, slot.to_owned()))
    };
    let mut shapes: BTreeMap<usize, &[u64]> = BTreeMap::new();
    for tensor in &optimizer.tensors {
        let Some((number, slot)) = numbered(&tensor.name) else { return };
        if SHAPED.contains(&slot.as_str()) {
            shapes.insert(number, &tensor.shape);
        }
    }
    if shapes.is_empty() {
        return;
    }
    let trained: Vec<&Tensor> = contents.tensors.iter().filter(|tensor| !is_buffer(tensor)).collect();
    let by_decay = {
        // The transformers Trainer: first what decays, weights with two and more axes, then biases and norms.
        let (decayed, rest): (Vec<&Tensor>, Vec<&Tensor>) =
            trained.iter().copied().partition(|tensor| tensor.shape.len() >= 2);
        decayed.into_iter().chain(rest).collect::<Vec<_>>()
    };
    let fits = |order: &[&Tensor]| {
        order.len() == shapes.len()
            && shapes.iter().all(|(number, shape)| order.get(*number).is_some_and(|tensor| tensor.shape == *shape))
    };
    let Some(order) = [trained.as_slice(), by_decay.as_slice()].into_iter().find(|order| fits(order)) else { return };
    let names: Vec<String> = order.iter().map(|tensor| tensor.name.clone()).collect();
    for tensor in &mut optimizer.tensors {
        if let Some((number, slot)) = numbered(&tensor.name)
            && let Some(name) = names.get(number)
        {
            tensor.name = format!("{name}.{slot}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::kind;

    #[test]
    fn slots_tell_the_kind() {
        assert_eq!(kind(["step", "exp_avg", "exp_avg_sq"]), Some("Adam"));
        assert_eq!(kind(["step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"]), Some("AMSGrad"));
        assert_eq!(kind(["momentum_buffer"]), Some("SGD"));
        assert_eq!(kind(["step"]), None);
    }
}
