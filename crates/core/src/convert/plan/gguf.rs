//! GGUF files: from models of transformers, from other GGUF files, and back.

use std::collections::BTreeMap;

use weighthouse_format::checkpoint::Checkpoint;
use weighthouse_format::gguf::FileType;
use weighthouse_format::gguf::families::{self, Files, Wanted, plan_hf};
use weighthouse_format::gguf::metadata::{self, Entries, Value};
use weighthouse_format::gguf::write;
use weighthouse_format::output::OutputTensor;
use weighthouse_format::{Dtype, Format, Limits};

use super::naming::{Component, Named};
use super::{Plan, documents, weights};
use crate::Error;
use crate::convert::options::is_floating;
use crate::convert::{Options, WeightType};
use crate::source::Source;

/// Fills a plan with one GGUF file, or with the parts of one.
pub(super) fn fill(
    plan: &mut Plan,
    source: &Source<'_>,
    checkpoint: &Checkpoint,
    name: Option<&str>,
) -> Result<(), Error> {
    let name = name.unwrap_or("model.gguf");
    if !checkpoint.contents.tensors.is_empty() && checkpoint.contents.formats.contains(&Format::Gguf) {
        return again(plan, source, checkpoint, name);
    }
    if let Some(naming) = plan.options.naming.as_deref().filter(|naming| *naming != "hf") {
        return Err(Error::Unsupported(format!("GGUF has names of its own; `--naming {naming}` cannot be kept")));
    }
    let limits = Limits::default();
    let files = Files::read(source.folder, &documents::root_of(checkpoint), &limits)?;
    let wanted = {
        let mut wanted = Wanted::new(file_type(&plan.options, checkpoint)?);
        wanted.pre.clone_from(&plan.options.pre_tokenizer);
        wanted
    };
    let contents = &checkpoint.contents;
    let model = families::Source { tensors: &contents.tensors, config: &contents.architecture.config, files: &files };
    let made = plan_hf(&model, &wanted).map_err(|error| refused(source, &error))?;
    for tensor in &made.tensors {
        weights::check_cast(tensor)?;
    }
    plan.notes.extend(made.notes);
    arrange(plan, &made.metadata, made.tensors, name)
}

fn arrange(plan: &mut Plan, entries: &Entries, tensors: Vec<OutputTensor>, name: &str) -> Result<(), Error> {
    let files = write::plan(entries, &tensors, &write::Options::new(name))
        .map_err(|error| Error::Unsupported(error.to_string()))?;
    plan.weights = tensors.len();
    plan.add(tensors, files, "");
    Ok(())
}

/// What cannot be planned; a lonely file of weights is the usual cause.
fn refused(source: &Source<'_>, error: &weighthouse_format::FormatError) -> Error {
    let alone = source.file.map_or("", |_| "; name the folder of the model, so that its config.json is read");
    Error::Unsupported(format!("{error}{alone}"))
}

/// The type that was asked for, or the one that most weights have.
fn file_type(options: &Options, checkpoint: &Checkpoint) -> Result<FileType, Error> {
    if let Some(wanted) = options.dtype {
        return wanted.file_type().ok_or_else(|| {
            let known: Vec<&str> = FileType::ALL.iter().map(|known| known.as_str()).collect();
            Error::Unsupported(format!(
                "GGUF files of {} are not written; possible are {}",
                wanted.as_str(),
                known.join(", ")
            ))
        });
    }
    let mut elements = std::collections::BTreeMap::new();
    for tensor in &checkpoint.contents.tensors {
        let sum: &mut u64 = elements.entry(tensor.dtype).or_default();
        *sum = sum.saturating_add(tensor.elements());
    }
    let main = elements.into_iter().filter(|(dtype, _)| is_floating(*dtype)).max_by_key(|(_, elements)| *elements);
    Ok(match main.map(|(dtype, _)| dtype) {
        Some(Dtype::F32 | Dtype::F64) => FileType::F32,
        Some(Dtype::F16) => FileType::F16,
        _ => FileType::BF16,
    })
}

/// Entries of the first file of a GGUF model.
fn entries(source: &Source<'_>, checkpoint: &Checkpoint) -> Result<Entries, Error> {
    let first = checkpoint.contents.tensors.iter().filter_map(|tensor| tensor.place()).map(|(file, _)| file).min();
    let path = source.file.or(first.map(|file| &**file));
    let path = path.ok_or_else(|| Error::Malformed("a GGUF model without a file".to_owned()))?;
    let section = source.folder.open(path)?;
    Ok(metadata::read(&section, &Limits::default()).map_err(|error| error.in_file(path))?)
}

/// The same model in another type, or its parts in one file.
fn again(plan: &mut Plan, source: &Source<'_>, checkpoint: &Checkpoint, name: &str) -> Result<(), Error> {
    let mut entries = entries(source, checkpoint)?;
    entries.retain(|(key, _)| !key.starts_with("split."));
    let mut tensors = weights::all(&checkpoint.contents.tensors);
    if plan.options.dtype.is_some() {
        let wanted = file_type(&plan.options, checkpoint)?;
        if matches!(wanted, FileType::Q4KM | FileType::Q5KM) {
            return Err(Error::Unsupported(
                "mixtures are chosen from a model of transformers, by its names".to_owned(),
            ));
        }
        for tensor in &mut tensors {
            let matrix = tensor.shape.len() > 1 && (is_floating(tensor.dtype) || tensor.dtype.is_quantised());
            let kept = ["_norm.weight", "ffn_gate_inp.weight", "position_embd.weight", "token_types.weight"];
            if matrix && !kept.iter().any(|end| tensor.name.ends_with(end)) {
                let row = tensor.shape.last().copied().unwrap_or(0);
                let fits = |dtype: &Dtype| row.is_multiple_of(dtype.block_elements());
                tensor.dtype = [wanted.matrices(), Dtype::Q80, Dtype::F16].into_iter().find(fits).unwrap_or(Dtype::F16);
                weights::check_cast(tensor)?;
            }
        }
        set(&mut entries, "general.file_type", Value::U32(wanted.number()));
        set(&mut entries, "general.quantization_version", Value::U32(2));
        if checkpoint.contents.tensors.iter().any(|tensor| tensor.dtype.is_quantised()) {
            plan.notes.push("the source was quantised already; what it lost then does not come back".to_owned());
        }
    }
    arrange(plan, &entries, tensors, name)
}

/// A model of transformers out of GGUF files.
pub(super) fn to_hf(source: &Source<'_>, checkpoint: &Checkpoint, options: &Options) -> Result<Named, Error> {
    let entries = entries(source, checkpoint)?;
    let limits = Limits::default();
    let dtype = match options.dtype {
        Some(WeightType::Dtype(dtype)) => Some(dtype),
        // What is not quantised keeps its type, and F32 holds what is.
        _ if checkpoint.contents.tensors.iter().any(|tensor| tensor.dtype.is_quantised()) => Some(Dtype::F32),
        _ => None,
    };
    let stored = families::Stored {
        metadata: &entries,
        tensors: &checkpoint.contents.tensors,
        folder: source.folder,
        limits: &limits,
    };
    let restored = families::restore_hf(&stored, dtype).map_err(|error| Error::Unsupported(error.to_string()))?;
    Ok(Named {
        components: vec![Component::whole("model", restored.tensors)],
        documents: BTreeMap::from([("config.json".to_owned(), restored.config.into())]),
        files: restored.files,
        envelope: None,
        notes: restored.notes,
    })
}

fn set(entries: &mut Entries, key: &str, value: Value) {
    match entries.iter_mut().find(|(known, _)| known == key) {
        Some((_, old)) => *old = value,
        None => entries.push((key.to_owned(), value)),
    }
}
