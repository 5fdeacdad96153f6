//! Whole remaps, on small lists of names whose elements are all different.

mod adapters;
mod diffusion;
mod families;
mod hostile;
mod trees;

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Input, NamingKind, Remapped, naming, remap, targets};
use crate::contents::Contents;
use crate::data::Elements;
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::output::OutputTensor;
use crate::source::MemoryFolder;
use crate::tensor::{Stored, Tensor};

/// Names, shapes and bytes.
type Bytes = BTreeMap<String, (Vec<u64>, Vec<u8>)>;

/// A tensor whose elements tell its name and their places.
fn tensor(name: &str, shape: &[u64]) -> Tensor {
    let seed = name.bytes().fold(7u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let bytes: Vec<u8> =
        (0..shape.iter().product::<u64>()).flat_map(|at| (seed.wrapping_add(at as u32)).to_le_bytes()).collect();
    Tensor::plain(name, Dtype::F32, shape.to_vec(), Stored::inline(&bytes))
}

/// Tensors of one number each.
fn contents(tensors: &[(&str, &[u64])]) -> Contents {
    Contents { tensors: tensors.iter().map(|(name, shape)| tensor(name, shape)).collect(), ..Contents::default() }
}

fn run(contents: &Contents, to: NamingKind) -> Result<Remapped, FormatError> {
    let (folder, limits) = (MemoryFolder::default(), Limits::default());
    remap(&Input { contents, folder: &folder, limits: &limits, base: None }, to)
}

fn refusal(contents: &Contents, to: NamingKind) -> String {
    run(contents, to).unwrap_err().to_string()
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    Elements::new(&MemoryFolder::default(), tensor, &Limits::default()).unwrap().read_all().unwrap()
}

fn of_contents(contents: &Contents) -> Bytes {
    contents.tensors.iter().map(|tensor| (tensor.name.clone(), (tensor.shape.clone(), bytes(tensor)))).collect()
}

/// What is to be written, read again as if it had been: the folder of a component stands before its names.
fn written(remapped: &Remapped) -> Contents {
    let named = remapped.components.iter().flat_map(|component| {
        let before = if component.folder.is_empty() { String::new() } else { format!("{}.", component.folder) };
        component.tensors.iter().map(move |tensor| of_output(tensor, &before))
    });
    let mut contents = Contents { tensors: named.collect(), ..Contents::default() };
    for component in &remapped.components {
        contents
            .metadata
            .extend(component.metadata.iter().map(|(key, value)| (key.clone(), Value::from(value.clone()))));
    }
    if let Some(Value::Object(config)) = remapped.documents.get("config.json") {
        contents.architecture.config = config.clone();
        contents.architecture.family = config.get("model_type").and_then(Value::as_str).map(str::to_owned);
    }
    if let Some(adapter) = remapped.documents.get("adapter_config.json") {
        contents.metadata.insert("adapter".to_owned(), adapter.clone());
    }
    contents
}

fn of_output(tensor: &OutputTensor, before: &str) -> Tensor {
    assert_eq!(tensor.shape, tensor.recipe.source.shape, "{}", tensor.name);
    assert!(tensor.recipe.rows.is_none() && tensor.recipe.steps.is_empty());
    Tensor { name: format!("{before}{}", tensor.name), ..tensor.recipe.source.clone() }
}

/// There and back must give the same names, shapes and elements. Returns what is in between.
fn there_and_back(contents: &Contents, to: NamingKind) -> Contents {
    let kind = naming(contents).kind;
    let there = written(&run(contents, to).unwrap());
    let mut between = there.clone();
    if to == NamingKind::Timm {
        between.formats.push(crate::identity::Format::Timm);
    }
    if to == NamingKind::Diffusers {
        between.formats.push(crate::identity::Format::Diffusers);
    }
    assert!(targets(&naming(&between)).contains(&kind), "{} cannot become {kind} again", naming(&between));
    let back = written(&run(&between, kind).unwrap());
    let (found, expected) = (of_contents(&back), of_contents(contents));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    assert_eq!(found, expected);
    there
}

/// Shapes by name.
fn shapes(contents: &Contents) -> BTreeMap<&str, &[u64]> {
    contents.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())).collect()
}
