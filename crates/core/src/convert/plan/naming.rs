//! Which names the tensors get, and in which folders they lie.

use std::collections::BTreeMap;

use serde_json::Value;
use weighthouse_format::checkpoint::Checkpoint;
use weighthouse_format::output::OutputTensor;
use weighthouse_format::remap::{self, Affine, Envelope, NamingKind};
use weighthouse_format::{Format, Limits};

use super::{documents, gguf, weights};
use crate::Error;
use crate::convert::{Form, Options};
use crate::source::Source;

/// Weights under the names they are written with.
#[derive(Default)]
pub(super) struct Named {
    /// Sets of weights: one, or one for each folder of a pipeline.
    pub components: Vec<Component>,
    /// Documents that are written anew, by path.
    pub documents: BTreeMap<String, Value>,
    /// Keys beside the weights in a torch file.
    pub envelope: Option<Envelope>,
    /// Files that are written anew, by path.
    pub files: Vec<(String, Vec<u8>)>,
    /// What was left out or assumed.
    pub notes: Vec<String>,
}

/// A set of weights of its own.
#[derive(Default)]
pub(super) struct Component {
    /// Folder below the destination; empty for the destination itself.
    pub folder: String,
    /// Name of the file without its ending.
    pub stem: String,
    /// The tensors.
    pub tensors: Vec<OutputTensor>,
    /// Entries for the file's own metadata.
    pub metadata: BTreeMap<String, String>,
    /// How tensors of these names are computed from packed words, which are their sources.
    pub affine: BTreeMap<String, Affine>,
}

impl Component {
    /// One set of weights at the destination itself.
    pub fn whole(stem: &str, tensors: Vec<OutputTensor>) -> Self {
        Self { stem: stem.to_owned(), tensors, ..Self::default() }
    }
}

/// Gives the weights the names that were asked for.
pub(super) fn named(source: &Source<'_>, checkpoint: &Checkpoint, options: &Options) -> Result<Named, Error> {
    let is_gguf = checkpoint.contents.formats.contains(&Format::Gguf);
    let Some(naming) = options.naming.as_deref() else {
        if is_gguf && options.to == Form::Folder {
            return gguf::to_hf(source, checkpoint, options);
        }
        return Ok(Named { components: as_they_are(checkpoint), ..Named::default() });
    };
    let kind = NamingKind::parse(naming).ok_or_else(|| {
        let known: Vec<&str> = NamingKind::ALL.iter().map(|kind| kind.as_str()).collect();
        Error::Unsupported(format!("`{naming}` is no naming; there are {}", known.join(", ")))
    })?;
    if is_gguf && kind == NamingKind::Hf {
        return gguf::to_hf(source, checkpoint, options);
    }
    let limits = Limits::default();
    let input = remap::Input { contents: &checkpoint.contents, folder: source.folder, limits: &limits, base: None };
    let remapped = remap::remap(&input, kind).map_err(|error| Error::Unsupported(error.to_string()))?;
    let component = |component: remap::Component| Component {
        folder: component.folder,
        stem: component.stem.to_owned(),
        tensors: component.tensors,
        metadata: component.metadata,
        affine: component.affine,
    };
    Ok(Named {
        components: remapped.components.into_iter().map(component).collect(),
        documents: remapped.documents,
        envelope: remapped.envelope,
        files: Vec::new(),
        notes: remapped.notes,
    })
}

/// The components of a pipeline in their folders, or everything as one.
fn as_they_are(checkpoint: &Checkpoint) -> Vec<Component> {
    let contents = &checkpoint.contents;
    let adapter = contents.formats.contains(&Format::Peft);
    let stem = if adapter { "adapter_model" } else { "model" };
    if !contents.formats.contains(&Format::Diffusers) {
        return vec![Component::whole(stem, weights::all(&contents.tensors))];
    }
    let mut components: Vec<Component> = Vec::new();
    for tensor in &contents.tensors {
        let folder = tensor.place().and_then(|(file, _)| file.rsplit_once('/')).map_or("", |(folder, _)| folder);
        let prefix = format!("{}.", folder.replace('/', "."));
        let mut output = OutputTensor::same(tensor);
        if let Some(bare) = tensor.name.strip_prefix(&prefix) {
            bare.clone_into(&mut output.name);
        }
        match components.iter_mut().find(|component| component.folder == folder) {
            Some(component) => component.tensors.push(output),
            None => components.push(Component {
                folder: folder.to_owned(),
                stem: documents::stem_of(tensor, folder),
                tensors: vec![output],
                ..Component::default()
            }),
        }
    }
    components
}
