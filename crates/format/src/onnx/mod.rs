//! ONNX models.
//!
//! A model is one protocol buffer (`ModelProto` of `onnx.proto3`), and maybe files beside it for large tensors. Tags are
//! walked, tensors are not loaded: the answer says where each lies.
//!
//! # Names
//! Initialisers have their own names, also those of graphs inside nodes and of functions; the tensor of a `Constant` node
//! has the name of the node's output. A sparse initialiser `x` is two tensors, `x.values` and `x.indices`; its shape
//! stands in the metadata under `sparse`. A name that occurs again is called `name#2`, and there is a warning.
//!
//! # Code
//! An operator of a domain that ONNX does not define and the model does not define as a function is a plugin that the
//! runtime must load.

mod external;
mod graph;
mod tensor;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value as Json};

use crate::contents::Contents;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::protobuf::{Message, broken};
use crate::source::Folder;

use graph::Walk;

/// Describes the ONNX model at `path` of the folder.
///
/// # Errors
/// [`FormatError::Broken`] and its kin when the bytes are no such model, [`FormatError::Broken`] when external data leaves
/// the folder or its file, [`FormatError::TooLarge`] beyond the limits.
pub fn read(folder: &dyn Folder, path: &str, limits: &Limits) -> Result<Contents, FormatError> {
    let model = Message::new(folder.open(path)?);
    let mut walk = Walk::new(folder, path, limits);
    let mut top = Map::new();
    let mut opsets = Map::new();
    let mut properties = Map::new();
    let mut graph = None;
    let mut functions = Vec::new();
    for field in model.fields("onnx model")? {
        let field = field?;
        let text = |message: &Message| message.text("onnx text", limits.text_bytes);
        match (field.number, &field.value) {
            (1 | 5, value) => {
                let name = if field.number == 1 { "ir_version" } else { "model_version" };
                let number =
                    value.number().ok_or_else(|| broken("onnx model", field.at, format!("`{name}` is no number")))?;
                top.insert(name.into(), number.into());
            }
            (number @ (2 | 3 | 4 | 6), value) => {
                let name = ["producer_name", "producer_version", "domain", "", "doc_string"]
                    [usize::try_from(number - 2).unwrap_or(0)];
                if let Some(message) = value.message().filter(|message| !message.is_empty()) {
                    top.insert(name.into(), text(message)?.into());
                }
            }
            (7, value) => {
                let message = value.message().ok_or_else(|| broken("onnx model", field.at, "the graph is a number"))?;
                if graph.replace(message.clone()).is_some() {
                    return Err(broken("onnx model", field.at, "there are two graphs"));
                }
            }
            (8, value) => {
                if let Some(message) = value.message() {
                    let (domain, version) = opset(message, limits)?;
                    opsets.insert(domain, version.into());
                    Limits::at_most("number of opsets", opsets.len() as u64, limits.metadata_entries)?;
                }
            }
            (14, value) => {
                if let Some(message) = value.message() {
                    let (key, value) = external::entry(message, limits)?;
                    properties.insert(key, value.into());
                    Limits::at_most("number of metadata entries", properties.len() as u64, limits.metadata_entries)?;
                }
            }
            (25, value) => {
                functions.extend(value.message().cloned());
                Limits::at_most("number of functions", functions.len() as u64, limits.members)?;
            }
            (20 | 26, _) => {}
            (number, _) => {
                return Err(broken("onnx model", field.at, format!("field `{number}` does not exist in a model")));
            }
        }
    }
    let graph = graph.ok_or(FormatError::Empty { what: "graph of the onnx model" })?;
    if !top.contains_key("ir_version") {
        return Err(FormatError::Rule { what: "onnx model", rule: "it has an ir_version" });
    }
    walk.run(&graph, &functions)?;

    let (tensors, graph, code, warnings) = walk.finish();
    let mut contents = Contents { tensors, code, warnings, ..Contents::of(Format::Onnx) };
    contents.metadata = top;
    contents.metadata.insert("opset_import".into(), Json::Object(opsets));
    if !properties.is_empty() {
        contents.metadata.insert("metadata_props".into(), Json::Object(properties));
    }
    contents.metadata.extend(graph);
    Ok(contents)
}

/// Domain and version of an `OperatorSetIdProto`.
fn opset(message: &Message, limits: &Limits) -> Result<(String, u64), FormatError> {
    let (mut domain, mut version) = (String::new(), 0);
    for field in message.fields("onnx opset")? {
        let field = field?;
        match (field.number, field.value.message()) {
            (1, Some(text)) => domain = text.text("onnx domain", limits.name_bytes)?,
            (2, None) => version = field.value.number().unwrap_or(0),
            _ => {}
        }
    }
    Ok((if domain.is_empty() { "ai.onnx".into() } else { domain }, version))
}
