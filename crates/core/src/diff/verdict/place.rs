//! Where in a model tensors are: embeddings, layers, head.

use std::collections::{BTreeMap, BTreeSet};

use weighthouse_format::checkpoint::{fold_layers, module_of};

use crate::inspect::diagram::Role;

use super::super::{State, TensorChange, TensorFacts, Which};
use super::words;

/// Layers of the stacks of both sides.
pub(super) struct Places<'a> {
    tensors: Vec<(&'a TensorChange, Place)>,
    /// Numbers of the layers, by side and stack.
    layers: [BTreeMap<String, BTreeSet<u64>>; 2],
}

/// Where a tensor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a layer of a stack.
    Layer(String, u64),
    /// Among the embeddings.
    Embedding,
    /// In the head.
    Head,
    /// A norm outside of the layers.
    Norm,
    /// Anywhere else.
    Other,
}

impl Place {
    pub(super) fn of(name: &str) -> Self {
        if let Some((pattern, layer)) = fold_layers(name)
            && let Some((stack, _)) = pattern.split_once('*')
            && !is_head(name)
        {
            return Self::Layer(stack.to_owned(), layer);
        }
        if is_head(name) {
            Self::Head
        } else if is_embedding(name) {
            Self::Embedding
        } else if Role::of(module_of(name)) == Role::Norm {
            Self::Norm
        } else {
            Self::Other
        }
    }
}

/// Whether a tensor gives the answer, by its name.
pub(super) fn is_head(name: &str) -> bool {
    let first = name.split(['.', '/']).find(|part| !matches!(*part, "model" | "module" | "base_model"));
    let heads = [
        "classifier",
        "score",
        "lm_head",
        "qa_outputs",
        "head",
        "heads",
        "fc",
        "output",
        "cls",
        "embed_out",
        "classification_head",
    ];
    let module = module_of(name);
    let in_layer = fold_layers(name).is_some_and(|(pattern, _)| {
        // `classifier.0.weight` is a head; `layers.0.output.dense` is none.
        pattern.split('*').next().is_some_and(|stack| !is_head_word(stack.trim_end_matches(['.', '/'])))
    });
    !in_layer
        && (first.is_some_and(|first| heads.contains(&first))
            || Role::of(module) == Role::Head
            || module.ends_with("qa_outputs"))
}

fn is_head_word(stack: &str) -> bool {
    let last = stack.rsplit(['.', '/']).next().unwrap_or(stack);
    matches!(last, "classifier" | "score" | "head" | "heads" | "classification_head" | "cls")
}

/// Whether a tensor turns tokens, positions or pixels into vectors, by its name.
pub(super) fn is_embedding(name: &str) -> bool {
    let in_layer = fold_layers(name).is_some();
    !in_layer
        && (name.contains("embd") || Role::of(module_of(name)) == Role::Embedding || Role::of(name) == Role::Embedding)
}

impl<'a> Places<'a> {
    pub(super) fn of(tensors: &[&'a TensorChange]) -> Self {
        let mut layers = [BTreeMap::new(), BTreeMap::new()];
        let mut note = |facts: Option<&TensorFacts>, side: usize| {
            if let Some(facts) = facts
                && let Place::Layer(stack, layer) = Place::of(&facts.name)
                && let Some(stacks) = layers.get_mut(side)
            {
                let stacks: &mut BTreeMap<String, BTreeSet<u64>> = stacks;
                stacks.entry(stack).or_default().insert(layer);
            }
        };
        for tensor in tensors {
            note(tensor.a.as_ref(), 0);
            note(tensor.b.as_ref(), 1);
        }
        let tensors = tensors.iter().map(|tensor| (*tensor, Place::of(tensor.name()))).collect();
        Self { tensors, layers }
    }

    /// Layers in all stacks of a side.
    pub(super) fn layers_of(&self, side: Which) -> u64 {
        let stacks = if side == Which::A { self.layers.first() } else { self.layers.last() };
        stacks.map_or(0, |stacks| stacks.values().map(|layers| layers.len() as u64).sum())
    }

    /// Tensors and where they are.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a TensorChange, &Place)> {
        self.tensors.iter().map(|(tensor, place)| (*tensor, place))
    }

    /// Whether all of these are in layers.
    pub(super) fn is_about_layers<'t>(&self, mut tensors: impl Iterator<Item = &'t TensorChange>) -> bool {
        tensors.all(|tensor| matches!(Place::of(tensor.name()), Place::Layer(..)))
    }

    /// Layers of a side that have no partner, in the largest stack.
    pub(super) fn unmatched(&self, side: Which) -> Vec<u64> {
        let alone = |state: &State| match side {
            Which::A => matches!(state, State::Removed),
            _ => matches!(state, State::Added),
        };
        let mut layers = BTreeSet::new();
        let mut partnered = BTreeSet::new();
        for (tensor, _) in self.iter() {
            let facts = if side == Which::A { &tensor.a } else { &tensor.b };
            let Some(Place::Layer(_, layer)) = facts.as_ref().map(|facts| Place::of(&facts.name)) else { continue };
            if alone(&tensor.state) {
                layers.insert(layer)
            } else {
                partnered.insert(layer)
            };
        }
        layers.difference(&partnered).copied().collect()
    }

    /// Where the tensors are that changed, in words.
    pub(super) fn changed(&self) -> String {
        let mut stacks: BTreeMap<&str, (BTreeSet<u64>, BTreeSet<u64>)> = BTreeMap::new();
        let (mut embedding, mut head, mut norm, mut other) = (false, false, false, 0u64);
        for (tensor, place) in self.iter() {
            let changed = matches!(tensor.state, State::Changed | State::Resized);
            match place {
                Place::Layer(stack, layer) => {
                    let (all, found) = stacks.entry(stack).or_default();
                    all.insert(*layer);
                    if changed {
                        found.insert(*layer);
                    }
                }
                _ if !changed => {}
                Place::Embedding => embedding = true,
                Place::Head => head = true,
                Place::Norm => norm = true,
                Place::Other => other += 1,
            }
        }
        let several = stacks.values().filter(|(all, _)| all.len() > 1).count() > 1;
        let mut parts = Vec::new();
        let mut more = 0u64;
        for (stack, (all, found)) in &stacks {
            if found.is_empty() {
                continue;
            }
            if parts.len() >= 3 {
                more += 1;
                continue;
            }
            let of = if several { format!(" of `{}`", stack.trim_end_matches(['.', '/'])) } else { String::new() };
            parts.push(if all == found && all.len() > 1 {
                format!("all {} layers{of}", all.len())
            } else if found.len() == 1 {
                format!("layer {} of {}{of}", words::ranges(&found.iter().copied().collect::<Vec<u64>>()), all.len())
            } else {
                format!("layers {} of {}{of}", words::ranges(&found.iter().copied().collect::<Vec<u64>>()), all.len())
            });
        }
        if more > 0 {
            parts.push(format!("{more} other stacks"));
        }
        for (is, text) in [(embedding, "the embeddings"), (norm, "the norms around"), (head, "the head")] {
            if is {
                parts.push(text.to_owned());
            }
        }
        if other > 0 {
            parts.push(words::many(other, "other tensor"));
        }
        match parts.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
            Some((last, _)) => last.clone(),
            None => "nothing".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_told_from_layers_and_embeddings() {
        for head in [
            "classifier.weight",
            "lm_head.weight",
            "classifier.0.bias",
            "score.weight",
            "bert.pooler.dense.weight",
            "output.weight",
            "qa_outputs.bias",
            "cls.predictions.bias",
            "fc.weight",
        ] {
            assert!(is_head(head), "{head}");
        }
        for other in [
            "bert.encoder.layer.0.output.dense.weight",
            "model.layers.3.mlp.fc.weight",
            "model.norm.weight",
            "layers.0.head.weight",
        ] {
            assert!(!is_head(other), "{other}");
        }
        for name in [
            "token_embd.weight",
            "bert.embeddings.LayerNorm.weight",
            "transformer.wte.weight",
            "model.embed_tokens.weight",
        ] {
            assert_eq!(Place::of(name), Place::Embedding, "{name}");
        }
        assert_eq!(Place::of("model.norm.weight"), Place::Norm);
        assert_eq!(Place::of("blk.3.ffn_up.weight"), Place::Layer("blk.".to_owned(), 3));
    }
}
