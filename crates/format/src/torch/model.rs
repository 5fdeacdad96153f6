//! Where in a tree the model's tensors are, and where the optimizer's state: told by the shape of the tree.

use std::collections::HashSet;

use crate::pickle::{Node, NodeId};

use super::loaded::Loaded;

/// Keys under which training programs keep the model, those first that can mean nothing else.
const WRAPPERS: &[&str] = &[
    "state_dict",
    "model_state_dict",
    "model_states",
    "model",
    "module",
    "ema",
    "ema_state_dict",
    "model_ema",
    "net",
    "network",
    "params_ema",
    "params",
    "weights",
];
/// How many of them leave no doubt.
const CERTAIN: usize = 3;
/// Beginnings of keys beside the model that are never a part of it.
const BESIDE: &[&str] = &[
    "optim",
    "lr_",
    "sched",
    "scaler",
    "grad_scaler",
    "amp",
    "rng",
    "random",
    "cuda_rng",
    "torch_rng",
    "np_",
    "seed",
    "callbacks",
    "loops",
    "args",
    "config",
    "cfg",
    "hyper",
    "hparams",
    "epoch",
    "step",
    "global_step",
    "iter",
    "loss",
    "best",
    "metric",
    "train",
    "val",
    "ema",
    "model_ema",
    "params",
    "state",
    "history",
    "results",
    "criterion",
    "updates",
    "teacher",
    "buffer_names",
    "param_",
    "shared_params",
    "frozen_",
];

/// Where things are in the tree.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The model: a dictionary of tensors, or a module; `None` when there is none, as in an optimizer's file.
    pub(super) model: Option<NodeId>,
    /// Keys that lead to it.
    pub(super) path: Vec<String>,
    /// Other sets of weights beside it, by key.
    pub(super) others: Vec<String>,
    /// States of optimizers: dictionaries with `state` and `param_groups`.
    pub(super) optimizers: Vec<NodeId>,
}

impl Loaded {
    /// Finds the model and the optimizers under the root.
    pub(super) fn places(&self) -> Places {
        let mut places = Places::default();
        if self.is_optimizer(self.root) {
            places.optimizers.push(self.root);
            return places;
        }
        if self.is_random_state(self.root) {
            return places;
        }
        let mut node = self.root;
        // Wrappers around wrappers: Lightning around a trainer around a module.
        for _ in 0..4 {
            let Some((key, inner)) = self.wrapped(node) else { break };
            let beside = self.children(node).into_iter();
            let other = |(name, id): &(String, NodeId)| {
                *name != key && WRAPPERS.contains(&name.as_str()) && *id != inner && self.has_tensor(*id)
            };
            places.others.extend(beside.filter(other).map(|(name, _)| name));
            places.path.push(key);
            node = inner;
        }
        self.find_optimizers(&mut places.optimizers);
        places.model = self.has_tensor(node).then_some(node);
        places
    }

    /// The value under the wrapper's key, if the node wraps a model.
    fn wrapped(&self, node: NodeId) -> Option<(String, NodeId)> {
        let dict = matches!(self.graph.node(node), Node::Dict(_))
            || self.graph.class(node).is_some_and(|class| class.is("collections", "OrderedDict"));
        if !dict || self.is_tensor(node) {
            return None;
        }
        let children = self.children(node);
        let find = |wanted: &str| children.iter().find(|(key, _)| key == wanted);
        for (rank, wrapper) in WRAPPERS.iter().enumerate() {
            let Some((key, inner)) = find(wrapper) else { continue };
            if self.is_tensor(*inner) || self.is_optimizer(*inner) || !self.has_tensor(*inner) {
                continue;
            }
            // `model` beside other parts with tensors is itself a part.
            let part = |(other, id): &&(String, NodeId)| {
                other != key && !beside(other) && !WRAPPERS.contains(&other.as_str()) && !self.is_optimizer(*id)
            };
            let parts = || children.iter().filter(part).map(|(_, id)| *id).collect();
            if rank >= CERTAIN && self.any_has_tensor(parts()) {
                continue;
            }
            return Some((key.clone(), *inner));
        }
        None
    }

    /// Whether it is the `state_dict()` of an optimizer.
    pub(super) fn is_optimizer(&self, node: NodeId) -> bool {
        self.graph.get(node, "state").is_some() && self.graph.get(node, "param_groups").is_some()
    }

    /// Whether it is the state of random number generators, as Trainer and accelerate save them.
    fn is_random_state(&self, node: NodeId) -> bool {
        let has = |key| self.graph.get(node, key).is_some();
        (has("python") && has("numpy") && has("cpu")) || (has("random_state") && has("numpy_random_seed"))
    }

    fn find_optimizers(&self, found: &mut Vec<NodeId>) {
        let mut level = vec![self.root];
        for _ in 0..4 {
            let mut next = Vec::new();
            let mut seen = HashSet::new();
            for node in level {
                for (_, child) in self.children(node) {
                    if !seen.insert(child) || self.is_tensor(child) || self.module(child).is_some() {
                        continue;
                    }
                    if self.is_optimizer(child) {
                        if !found.contains(&child) && found.len() < 64 {
                            found.push(child);
                        }
                    } else if matches!(self.graph.node(child), Node::Dict(_) | Node::List(_) | Node::Tuple(_)) {
                        next.push(child);
                    }
                }
            }
            // A level with very many values holds weights or data, and no optimizer.
            if next.len() > 4096 {
                return;
            }
            level = next;
        }
    }

    /// Values directly under the root that belong to training and not to the model.
    pub(super) fn beside_model(&self) -> Vec<NodeId> {
        let children = self.children(self.root).into_iter();
        children
            .filter(|(key, id)| self.is_optimizer(*id) || (is_training(key) && !self.is_tensor(*id)))
            .map(|(_, id)| id)
            .collect()
    }
}

fn beside(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    BESIDE.iter().any(|begin| key.starts_with(begin))
}

fn is_training(key: &str) -> bool {
    ["optim", "rng", "random", "lr_sched", "scaler", "callbacks", "loops"].iter().any(|begin| key.starts_with(begin))
}

/// Takes the wrappers off paths of keys, as long as every path begins with the same one.
pub(super) fn unwrap_paths<T>(paths: &mut [(Vec<String>, T)]) {
    for _ in 0..4 {
        let Some(first) = paths.first().and_then(|(path, _)| path.first()).cloned() else { return };
        let wrapper = WRAPPERS.contains(&first.as_str()) || first == "app";
        let all = paths.iter().all(|(path, _)| path.len() > 1 && path.first() == Some(&first));
        if !wrapper || !all {
            return;
        }
        for (path, _) in paths.iter_mut() {
            path.remove(0);
        }
    }
}
