//! The object graph of a checkpoint: which variable is which, and whose slots are where.
//!
//! Source: `trackable_object_graph.proto` of TensorFlow.

use crate::error::FormatError;
use crate::limits::Limits;
use crate::protobuf::{Message, Value};

use super::names::Objects;

/// Key of the graph in a checkpoint.
pub(super) const KEY: &str = "_CHECKPOINTABLE_OBJECT_GRAPH";

/// A slot: number of the parameter's node, name, number of its own node.
type Slot = (u64, String, u64);

/// Reads the graph.
pub(super) fn read(graph: &Message, limits: &Limits) -> Result<Objects, FormatError> {
    let mut objects = Objects::default();
    let mut keys: Vec<Option<String>> = Vec::new();
    let mut slots: Vec<Slot> = Vec::new();
    for field in graph.fields("object graph")? {
        let field = field?;
        let (1, Some(node)) = (field.number, field.value.message()) else { continue };
        let mut key = None;
        for field in node.fields("object")? {
            let field = field?;
            match (field.number, field.value.message()) {
                (2, Some(attribute)) => {
                    let (full_name, own) = attribute_of(attribute, limits)?;
                    if !full_name.is_empty() {
                        objects.full_names.insert(own.clone(), full_name);
                    }
                    key = key.or(Some(own));
                }
                (3, Some(reference)) => slots.push(slot(reference, limits)?),
                _ => {}
            }
        }
        keys.push(key);
        Limits::at_most("number of objects", keys.len() as u64, limits.tensors)?;
        Limits::at_most("number of slots", slots.len() as u64, limits.tensors)?;
    }
    let key = |node: u64| usize::try_from(node).ok().and_then(|node| keys.get(node)).and_then(Option::clone);
    for (parameter, name, own) in slots {
        if let (Some(parameter), Some(own)) = (key(parameter), key(own)) {
            objects.slots.insert(own, (parameter, name));
        }
    }
    Ok(objects)
}

/// Full name and key of a `SerializedTensor`.
fn attribute_of(message: &Message, limits: &Limits) -> Result<(String, String), FormatError> {
    let (mut full_name, mut key) = (String::new(), String::new());
    for field in message.fields("object attribute")? {
        let field = field?;
        match (field.number, field.value.message()) {
            (2, Some(text)) => full_name = text.text("variable name", limits.name_bytes)?,
            (3, Some(text)) => key = text.text("checkpoint key", limits.name_bytes)?,
            _ => {}
        }
    }
    Ok((full_name, key))
}

fn slot(message: &Message, limits: &Limits) -> Result<Slot, FormatError> {
    let (mut parameter, mut name, mut own) = (0, String::new(), 0);
    for field in message.fields("slot variable")? {
        let field = field?;
        match (field.number, &field.value) {
            (1, Value::Varint(node)) => parameter = *node,
            (2, Value::Bytes(text)) => name = text.text("slot name", limits.name_bytes)?,
            (3, Value::Varint(node)) => own = *node,
            _ => {}
        }
    }
    Ok((parameter, name, own))
}
