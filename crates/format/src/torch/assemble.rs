//! From a loaded object to the four parts of a checkpoint.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::contents::{Code, CodeWay, Contents, Optimizer, WarningKind};
use crate::error::FormatError;
use crate::identity::Format;
use crate::pickle::{NodeId, Trace};
use crate::tensor::Tensor;

use super::allow;
use super::layout;
use super::loaded::Loaded;
use super::model::Places;

/// Most tensors about which notes are kept.
const NOTES: u64 = 16_384;

/// Finds the model, the optimizers, and everything else in a loaded object.
pub(super) fn contents(mut loaded: Loaded, format: Format) -> Result<Contents, FormatError> {
    let mut contents = Contents::of(format);
    let places = loaded.places();
    let mut skip: HashSet<NodeId> = places.optimizers.iter().copied().collect();
    if let Some(model) = places.model {
        if places.path.is_empty() {
            skip.extend(loaded.beside_model());
        }
        let named = loaded.collect(model, &skip)?;
        contents.tensors = tensors(&mut loaded, named, &mut contents.metadata)?;
    }
    optimizers(&mut loaded, &places, &mut contents)?;
    for other in &places.others {
        loaded.warn(WarningKind::Extra, format!("another set of weights lies under `{other}`; it is not listed"));
    }
    if !places.path.is_empty() {
        skip.extend(places.model);
    }
    skip = places.optimizers.iter().copied().collect();
    skip.extend(places.model.filter(|_| !places.path.is_empty()));
    match loaded.json(loaded.root, &skip) {
        Some(Value::Object(map)) => contents.metadata.extend(map),
        Some(Value::Array(items)) if items.is_empty() => {}
        Some(value) => _ = contents.metadata.insert("value".into(), value),
        None => {}
    }
    layout::recognise(&loaded, &places, &mut contents);
    loaded.hand_over(&mut contents);
    Ok(contents)
}

/// Tensors with these names; what cannot be described becomes a warning.
pub(super) fn tensors(
    loaded: &mut Loaded,
    named: Vec<(String, NodeId)>,
    metadata: &mut Map<String, Value>,
) -> Result<Vec<Tensor>, FormatError> {
    let mut tensors: Vec<Tensor> = Vec::with_capacity(named.len());
    let mut seen = HashSet::new();
    let mut notes = Map::new();
    let mut pieces_of_rank = false;
    for (name, id) in named {
        let name = if name.is_empty() { "tensor".to_owned() } else { name };
        match loaded.tensor(id) {
            Some(Ok(mut parts)) => {
                if let Some(quantiser) = parts.quantiser.filter(|_| (notes.len() as u64) < NOTES) {
                    parts.info.extend(loaded.quantiser(quantiser));
                }
                if parts.spec.is_some() {
                    pieces_of_rank = true;
                }
                if !parts.info.is_empty() && (notes.len() as u64) < NOTES {
                    notes.insert(name.clone(), Value::Object(parts.info));
                }
                let is_buffer = loaded.buffers.contains(&name);
                for (end, tensor) in parts.tensors {
                    let name = format!("{name}{end}");
                    if is_buffer {
                        loaded.buffers.insert(name.clone());
                    }
                    if !seen.insert(name.clone()) {
                        loaded.warn(
                            WarningKind::Duplicate,
                            format!("two tensors are named `{name}`; the first is listed"),
                        );
                        continue;
                    }
                    if is_odd(&name) {
                        let shown = name.escape_debug().to_string();
                        loaded.warn(WarningKind::Name, format!("tensor `{shown}` has an odd name"));
                    }
                    tensors.push(Tensor { name, ..tensor });
                }
            }
            Some(Err(error)) => loaded.warn(WarningKind::Unreadable, told(&name, error)),
            None => loaded.warn(WarningKind::Unreadable, format!("tensor `{name}` is made in an unknown way")),
        }
    }
    if pieces_of_rank {
        loaded.warn(WarningKind::Other, "tensors are one rank's parts of larger ones; the folder puts them together");
    }
    if !notes.is_empty() {
        metadata.insert("tensor_notes".into(), Value::Object(notes));
    }
    Ok(tensors)
}

/// The error, with the tensor's name in it once.
pub(super) fn told(name: &str, error: FormatError) -> String {
    let tensor = name.to_owned();
    match error {
        FormatError::OutOfBounds { begin, end, len, .. } => {
            FormatError::OutOfBounds { tensor, begin, end, len }.to_string()
        }
        FormatError::SizeOverflow { .. } => FormatError::SizeOverflow { tensor }.to_string(),
        FormatError::UnknownDtype { dtype, .. } => FormatError::UnknownDtype { tensor, dtype }.to_string(),
        error => format!("tensor `{name}`: {error}"),
    }
}

/// Whether a name moves a cursor, hides, reorders text, or leads out of a folder.
fn is_odd(name: &str) -> bool {
    let odd = |char: char| {
        char.is_control()
            || matches!(char, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    name.chars().any(odd) || name.starts_with('/') || name.split(['/', '\\']).any(|part| part == "..")
}

fn optimizers(loaded: &mut Loaded, places: &Places, contents: &mut Contents) -> Result<(), FormatError> {
    let mut all: Option<Optimizer> = None;
    for (index, &node) in places.optimizers.iter().enumerate() {
        let mut next = loaded.optimizer(node, &contents.tensors)?;
        match &mut all {
            None => all = Some(next),
            Some(first) => {
                for tensor in &mut next.tensors {
                    tensor.name = format!("{index}:{}", tensor.name);
                }
                first.tensors.append(&mut next.tensors);
                first.groups.append(&mut next.groups);
                first.step = first.step.max(next.step);
                if first.kind != next.kind {
                    loaded.warn(WarningKind::Other, format!("optimizer {index} is of another kind than the first"));
                }
            }
        }
    }
    contents.optimizer = all;
    Ok(())
}

/// Notes every name that does more than build data, and what is odd about the pickle.
pub(super) fn code(label: &str, trace: &Trace, globals: &[crate::pickle::Global], contents: &mut Contents) {
    for global in globals.iter().filter(|global| !allow::is_data(global)) {
        let called = [global.called, global.built, global.altered, global.extended].iter().any(|uses| uses.count > 0);
        let way = if called { CodeWay::PickleCall } else { CodeWay::PickleImport };
        contents.code.push(Code { file: label.to_owned(), name: global.path(), way });
    }
    use crate::pickle::Oddity;
    for (oddity, uses) in &trace.oddities {
        if let Oddity::Extension(code) = oddity {
            let name = format!("copyreg extension {code}");
            contents.code.push(Code { file: label.to_owned(), name, way: CodeWay::PickleImport });
        }
        let at = uses.first.map_or(0, |place| place.at);
        contents.warn(WarningKind::Other, label, format!("{} at byte {at}, {} times", oddity.as_str(), uses.count));
    }
    contents.code.sort();
    contents.code.dedup();
}

/// Notes what a pickle that could not be read to its end would have done before.
pub(super) fn failed(label: &str, trace: &Trace, globals: &[crate::pickle::Global], contents: &mut Contents) {
    code(label, trace, globals, contents);
    if let Some(error) = &trace.error {
        contents.warn(WarningKind::Unreadable, label, error.to_string());
    }
    contents.metadata.insert("pickle_protocol".into(), json!(trace.protocol));
}
