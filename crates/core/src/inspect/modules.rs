//! The tree of modules that the names of tensors make, with repeated layers folded.

use std::collections::BTreeMap;

use weighthouse_format::Tensor;

/// A module: what shares the beginning of its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// Its part of the name; `layers.0–31` for folded layers, `0–31` where only numbers differ.
    pub name: String,
    /// How many equal layers were folded into it; 1 for a plain module.
    pub repeats: u64,
    /// Elements of all its tensors, repeats included.
    pub elements: u64,
    /// Bytes of all its tensors, repeats included.
    pub bytes: u64,
    /// Tensors, repeats included.
    pub tensors: u64,
    /// Dtype of a tensor; `None` for a module.
    pub dtype: Option<String>,
    /// Shape of a tensor.
    pub shape: Vec<u64>,
    /// Modules and tensors in it, in the order of the file.
    pub children: Vec<Module>,
}

/// A tree while it grows: children by their part of the name, in the order they came.
#[derive(Default)]
struct Node<'a> {
    tensor: Option<&'a Tensor>,
    order: Vec<&'a str>,
    children: BTreeMap<&'a str, Node<'a>>,
}

/// Deepest module; what lies deeper keeps the rest of its name.
const MAX_DEPTH: usize = 64;

/// The tree of all tensors.
#[must_use]
pub fn tree<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Module {
    let mut root = Node::default();
    for tensor in tensors {
        let mut node = &mut root;
        for part in tensor.name.splitn(MAX_DEPTH, ['.', '/']) {
            if !node.children.contains_key(part) {
                node.order.push(part);
            }
            node = node.children.entry(part).or_default();
        }
        node.tensor = Some(tensor);
    }
    module("", &root)
}

fn module(name: &str, node: &Node<'_>) -> Module {
    let children = node.order.iter().filter_map(|part| Some(module(part, node.children.get(part)?)));
    let children = fold(children.collect());
    let mut module = Module { name: name.to_owned(), repeats: 1, children, ..Module::default() };
    if let Some(tensor) = node.tensor {
        module.elements = tensor.elements();
        module.bytes = tensor.size_bytes();
        module.tensors = 1;
        module.dtype = Some(tensor.dtype.to_string());
        module.shape = tensor.shape.clone();
    }
    for child in &module.children {
        module.elements = module.elements.saturating_add(child.elements);
        module.bytes = module.bytes.saturating_add(child.bytes);
        module.tensors = module.tensors.saturating_add(child.tensors);
    }
    module
}

/// Folds numbered neighbours that are alike inside: `0`, `1`, …, `31` become `0–31`.
fn fold(children: Vec<Module>) -> Vec<Module> {
    let mut numbered: Vec<(u64, Module)> = Vec::new();
    let mut folded = Vec::new();
    for child in children {
        match child.name.parse::<u64>() {
            Ok(number) if child.name.len() < 10 && !child.children.is_empty() => numbered.push((number, child)),
            _ => folded.push(child),
        }
    }
    // Files are often sorted as text, with 10 before 2.
    numbered.sort_by_key(|(number, _)| *number);
    let mut numbered = numbered.into_iter().peekable();
    while let Some((first, mut layer)) = numbered.next() {
        let mut last = first;
        while let Some((_, next)) =
            numbered.next_if(|(number, next)| Some(*number) == last.checked_add(1) && alike(next, &layer))
        {
            last += 1;
            layer.repeats += 1;
            layer.elements = layer.elements.saturating_add(next.elements);
            layer.bytes = layer.bytes.saturating_add(next.bytes);
            layer.tensors = layer.tensors.saturating_add(next.tensors);
        }
        if last > first {
            layer.name = format!("{first}–{last}");
        }
        folded.push(layer);
    }
    folded
}

/// Whether two layers have the same tensors of the same shapes, in any order: shards cut through layers.
fn alike(one: &Module, other: &Module) -> bool {
    let sorted = |module: &Module| {
        let mut order: Vec<usize> = (0..module.children.len()).collect();
        order.sort_by_key(|&at| module.children.get(at).map(|child| child.name.clone()));
        order
    };
    let pairs = sorted(one).into_iter().zip(sorted(other));
    one.children.len() == other.children.len()
        && pairs.filter_map(|(at, there)| Some((one.children.get(at)?, other.children.get(there)?))).all(
            |(one, other)| {
                one.name == other.name
                    && one.repeats == other.repeats
                    && one.dtype == other.dtype
                    && one.shape == other.shape
                    && alike(one, other)
            },
        )
}
