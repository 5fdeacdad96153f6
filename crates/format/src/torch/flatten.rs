//! A tree as a flat list of names, the way distributed checkpoints have it.
//!
//! Dictionaries are always taken apart, lists only where a tensor or dictionary is in them; everything else is a leaf,
//! tuples too. A leaf is named by the keys that lead to it, with dots between.
//!
//! Source: PyTorch 2.15, `torch/distributed/checkpoint/_traverse.py`.

use std::collections::HashSet;

use crate::error::FormatError;
use crate::limits::Limits;

use super::state::{Key, State};

/// Deepest nesting of a tree.
const DEPTH: u64 = 128;

/// Step from a container to what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Key of a dictionary; integers are spelled.
    Key(String),
    /// Place in a list.
    Place(u64),
}

/// A value that is not taken apart.
#[derive(Debug)]
pub(super) struct Leaf<'a> {
    pub(super) name: String,
    pub(super) path: Vec<Step>,
    pub(super) value: &'a State,
}

/// The leaves of a dictionary, in order.
///
/// # Errors
/// [`FormatError::Rule`] when the tree is no dictionary, [`FormatError::DuplicateKey`] when two leaves get one name,
/// [`FormatError::TooLarge`] for a tree that nests too deep.
pub(super) fn leaves(state: &State) -> Result<Vec<Leaf<'_>>, FormatError> {
    let (State::Dict(_) | State::OrderedDict(_)) = state else {
        return Err(FormatError::Rule { what: "content of a distributed checkpoint", rule: "it is a dictionary" });
    };
    let mut leaves = Vec::new();
    visit(state, &mut Vec::new(), &mut leaves)?;
    let mut names = HashSet::new();
    for leaf in &leaves {
        if !names.insert(leaf.name.as_str()) {
            return Err(FormatError::DuplicateKey { key: leaf.name.clone() });
        }
    }
    Ok(leaves)
}

fn visit<'a>(value: &'a State, path: &mut Vec<Step>, leaves: &mut Vec<Leaf<'a>>) -> Result<(), FormatError> {
    Limits::at_most("depth of a tree of values", path.len() as u64, DEPTH)?;
    match value {
        State::Dict(entries) | State::OrderedDict(entries) => {
            for (key, value) in entries {
                path.push(Step::Key(match key {
                    Key::Text(text) => text.clone(),
                    Key::Int(number) => number.to_string(),
                }));
                visit(value, path, leaves)?;
                path.pop();
            }
        }
        State::List(items) if !is_leaf(value, DEPTH) => {
            for (item, place) in items.iter().zip(0..) {
                path.push(Step::Place(place));
                visit(item, path, leaves)?;
                path.pop();
            }
        }
        _ => {
            let spelled = path.iter().map(|step| match step {
                Step::Key(text) => text.clone(),
                Step::Place(place) => place.to_string(),
            });
            leaves.push(Leaf { name: spelled.collect::<Vec<_>>().join("."), path: path.clone(), value });
        }
    }
    Ok(())
}

/// Whether a value is not taken apart. Below the depth that is refused anyway, nothing is looked at.
fn is_leaf(value: &State, depth: u64) -> bool {
    match (value, depth.checked_sub(1)) {
        (State::Dict(_) | State::OrderedDict(_), _) | (_, None) => false,
        (State::List(items), Some(depth)) => items.iter().all(|item| match item {
            State::Tensor(_) => false,
            State::Dict(_) | State::OrderedDict(_) | State::List(_) => is_leaf(item, depth),
            _ => true,
        }),
        _ => true,
    }
}
