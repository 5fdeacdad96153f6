//! transformers 5: the names of its files, and those of `state_dict()` in memory where they differ.

use crate::error::FormatError;

use super::rules::{Made, Table, Way};
use super::{Draft, experts};

/// Left memory, right files.
fn vit() -> Table {
    let mut table = Table::default();
    for before in ["vit.", ""] {
        let (left, right) = (format!("{before}layers.#"), format!("{before}encoder.layer.#"));
        table
            .same(format!("{left}.attention.q_proj.*"), format!("{right}.attention.attention.query.*"))
            .same(format!("{left}.attention.k_proj.*"), format!("{right}.attention.attention.key.*"))
            .same(format!("{left}.attention.v_proj.*"), format!("{right}.attention.attention.value.*"))
            .same(format!("{left}.attention.o_proj.*"), format!("{right}.attention.output.dense.*"))
            .same(format!("{left}.mlp.fc1.*"), format!("{right}.intermediate.dense.*"))
            .same(format!("{left}.mlp.fc2.*"), format!("{right}.output.dense.*"))
            .same(format!("{left}.layernorm_before.*"), format!("{right}.layernorm_before.*"))
            .same(format!("{left}.layernorm_after.*"), format!("{right}.layernorm_after.*"));
    }
    table
}

/// From memory to files.
pub(super) fn to_file(made: Vec<Made>, family: &str, draft: &mut Draft) -> Result<(), FormatError> {
    let made = if family == "vit" {
        let (mut done, rest) = vit().take(Way::Forward, made, &mut draft.notes)?;
        done.extend(rest);
        done
    } else {
        experts::split(made, family, &mut draft.notes)?
    };
    draft.whole(made);
    Ok(())
}

/// From files to memory.
pub(super) fn to_memory(made: Vec<Made>, family: &str, draft: &mut Draft) -> Result<(), FormatError> {
    let made = if family == "vit" {
        let (mut done, rest) = vit().take(Way::Backward, made, &mut draft.notes)?;
        done.extend(rest);
        done
    } else {
        experts::stack(made, family, &mut draft.notes)?
    };
    draft.whole(made);
    Ok(())
}
