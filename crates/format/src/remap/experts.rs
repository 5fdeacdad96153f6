//! Mixtures of experts: one stacked tensor for all experts, or one tensor for each.
//!
//! transformers 5 keeps `gate_up_proj` `[experts, 2·inner, width]` and `down_proj` `[experts, width, inner]` in memory and
//! writes the names of the first releases: `w1`, `w3` (gate and up) and `w2` (down) for Mixtral, `gate_proj`, `up_proj`
//! and `down_proj` for Qwen.

use std::collections::BTreeMap;

use crate::arrange;
use crate::error::FormatError;
use crate::tensor::Tensor;

use super::rules::{Fused, Made, Table, Way, matches, refused};

/// Most experts of one layer: more than twice as many as any published model has.
const MOST: u64 = 4096;

/// Names of one family's experts in files: the block, then gate, up and down.
struct Names {
    block: &'static str,
    gate: &'static str,
    up: &'static str,
    down: &'static str,
}

const MIXTRAL: Names = Names { block: "block_sparse_moe", gate: "w1", up: "w3", down: "w2" };
const QWEN: Names = Names { block: "mlp", gate: "gate_proj", up: "up_proj", down: "down_proj" };

fn names(family: &str) -> &'static Names {
    if family == "mixtral" { &MIXTRAL } else { &QWEN }
}

/// The router, which Mixtral calls otherwise in files.
fn router(names: &Names) -> Table {
    let mut table = Table::default();
    for before in ["model.", ""] {
        table.same(format!("{before}layers.#.mlp.gate.*"), format!("{before}layers.#.{}.gate.*", names.block));
    }
    table
}

/// From one tensor for all experts to one for each.
pub(super) fn split(made: Vec<Made>, family: &str, notes: &mut Vec<String>) -> Result<Vec<Made>, FormatError> {
    let names = names(family);
    let (mut done, rest) = router(names).take(Way::Forward, made, notes)?;
    for Made { tensor, from } in rest {
        let layer = tensor.name.strip_suffix(".mlp.experts.gate_up_proj");
        let (layer, fused) = match layer {
            Some(layer) => (layer, true),
            None => match tensor.name.strip_suffix(".mlp.experts.down_proj") {
                Some(layer) => (layer, false),
                None => {
                    done.push(Made { tensor, from });
                    continue;
                }
            },
        };
        let &[experts, rows, columns] = tensor.shape.as_slice() else {
            return Err(refused(format!("`{from}` of shape {:?} is no stack of experts", tensor.shape)));
        };
        crate::limits::Limits::at_most("number of experts", experts, MOST)?;
        for expert in 0..experts {
            let name = |part: &str| format!("{layer}.{}.experts.{expert}.{part}.weight", names.block);
            let one = arrange::slice(&tensor, 0, expert..expert + 1, &tensor.name)?;
            let one = arrange::reshape(&one, &[rows, columns], &tensor.name)?;
            if fused {
                for (number, part) in [names.gate, names.up].into_iter().enumerate() {
                    let tensor = super::rules::part_of(&one, number, 2, &name(part))?;
                    done.push(Made { tensor, from: from.clone() });
                }
            } else {
                done.push(Made { tensor: super::rules::renamed(&one, &name(names.down)), from: from.clone() });
            }
        }
    }
    Ok(done)
}

/// From one tensor for each expert to one for all.
pub(super) fn stack(made: Vec<Made>, family: &str, notes: &mut Vec<String>) -> Result<Vec<Made>, FormatError> {
    let names = names(family);
    let (mut done, rest) = router(names).take(Way::Backward, made, notes)?;
    let mut fused = Fused::default();
    let mut stacks: BTreeMap<String, BTreeMap<u64, Made>> = BTreeMap::new();
    for made in rest {
        let Some((layer, expert, part)) = place(&made.tensor.name, names) else {
            done.push(made);
            continue;
        };
        let number = expert.parse().unwrap_or(MOST);
        if number >= MOST {
            return Err(refused(format!("`{}` is expert {expert}; the most are {MOST}", made.from)));
        }
        let target = if part == names.down { "down_proj" } else { "gate_up_proj" };
        let whole = format!("{layer}.mlp.experts.{target}");
        let one = if part == names.down {
            Some(made)
        } else {
            let parts =
                [names.gate, names.up].map(|part| format!("{layer}.{}.experts.{expert}.{part}.weight", names.block));
            fused.add(format!("{whole}.{expert}"), parts.to_vec(), usize::from(part == names.up), made)?
        };
        if let Some(one) = one
            && let Some(other) = stacks.entry(whole.clone()).or_default().insert(number, one)
        {
            return Err(refused(format!("expert {number} of `{whole}` is there twice, once as `{}`", other.from)));
        }
    }
    fused.finish()?;
    for (whole, experts) in stacks {
        // Numbers are unique and in order: a gap shows in the last one.
        let gap = experts.keys().zip(0..).find(|(number, wanted)| **number != *wanted).map(|(_, wanted)| wanted);
        if let Some(gap) = gap {
            return Err(refused(format!("`{whole}` has no expert {gap}")));
        }
        let from = experts.values().next().map(|made| made.from.clone()).unwrap_or_default();
        let tensors: Vec<&Tensor> = experts.values().map(|made| &made.tensor).collect();
        done.push(Made { tensor: arrange::stack(&tensors, &whole)?, from });
    }
    Ok(done)
}

/// Layer, expert and part of an expert's name in files.
fn place<'n>(name: &'n str, names: &Names) -> Option<(&'n str, &'n str, &'static str)> {
    let (layer, rest) =
        name.split_once(names.block).and_then(|(layer, rest)| Some((layer.strip_suffix('.')?, rest)))?;
    [names.gate, names.up, names.down].into_iter().find_map(|part| {
        let found = matches(".experts.#.*", rest)?;
        let [expert, tail] = found.as_slice() else { return None };
        (tail.strip_suffix(".weight") == Some(part)).then_some((layer, *expert, part))
    })
}
