//! Kinds of optimizers, told by the names of their slots.

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
