//! The same weights under the names that another library has for them.
//!
//! ```text
//!   Contents ─► wrappers off ─► naming ─► table of the family ─► Remapped: tensors, configuration, notes
//!                                           (rules.rs)             one component, or one for each folder
//! ```
//! A remap moves and names; it never computes: what changes shape is sliced, joined and transposed where it lies. Every
//! tensor is either carried over, or left out with a note, or it is an error that names it.

mod experts;
mod flax;
mod keras;
mod lora;
mod mlx;
mod naming;
mod resnet;
mod rules;
mod stable_diffusion;
mod tensorflow;
pub mod ties;
mod transformers;
mod values;
mod vit;
mod whisper;
mod wrappers;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::contents::Contents;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::output::OutputTensor;
use crate::source::Folder;
use crate::tensor::Tensor;

pub use mlx::{Affine, dequantise};
pub use naming::{Naming, NamingKind, naming, targets};

use rules::{Made, refused};

/// What is to be renamed.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The checkpoint that was read.
    pub contents: &'a Contents,
    /// Where its bytes are: a few remaps read numbers (the alphas of a LoRA) and configurations of components.
    pub folder: &'a dyn Folder,
    /// How much is read at once.
    pub limits: &'a Limits,
    /// Tensors of the base model of an adapter, where known: they tell where underscores stand for dots.
    pub base: Option<&'a [Tensor]>,
}

/// Weights under other names, and what lies beside them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remapped {
    /// Sets of weights: one, or one for each folder of a pipeline.
    pub components: Vec<Component>,
    /// JSON objects by the path to write them under, below the destination.
    pub documents: BTreeMap<String, Value>,
    /// Keys beside the weights, where they lie in a dictionary of a torch file.
    pub envelope: Option<Envelope>,
    /// What was left out, assumed, or is worth knowing; sentence fragments, names in backticks.
    pub notes: Vec<String>,
}

/// A set of weights of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Component {
    /// Folder below the destination; empty for the destination itself.
    pub folder: String,
    /// Name of the file without its ending, as libraries look for it.
    pub stem: &'static str,
    /// The tensors.
    pub tensors: Vec<OutputTensor>,
    /// How tensors of this name are computed from packed words, which are their sources.
    pub affine: BTreeMap<String, Affine>,
    /// Entries for the file's own metadata.
    pub metadata: BTreeMap<String, String>,
}

/// How a torch file holds the weights when they are not all of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// Key of the weights.
    pub key: &'static str,
    /// The other keys.
    pub beside: Map<String, Value>,
}

/// A remap in the making.
#[derive(Debug, Default)]
struct Draft {
    components: Vec<(String, &'static str, Vec<Made>)>,
    affine: BTreeMap<String, Affine>,
    metadata: BTreeMap<String, String>,
    documents: BTreeMap<String, Value>,
    envelope: Option<Envelope>,
    notes: Vec<String>,
}

/// Puts the weights under the names of `to`.
///
/// # Errors
/// [`FormatError::Unsupported`] when [`targets`] does not list `to`, when a tensor has no name there (it is named), when
/// two would share one (both are named), or when a part that belongs to others is missing.
pub fn remap(input: &Input<'_>, to: NamingKind) -> Result<Remapped, FormatError> {
    let mut notes = Vec::new();
    let (made, naming) = wrappers::unwrapped(input.contents, &mut notes)?;
    if !targets(&naming).contains(&to) {
        let possible: Vec<&str> = targets(&naming).iter().map(|kind| kind.as_str()).collect();
        let possible = if possible.is_empty() { "nothing".to_owned() } else { possible.join(", ") };
        return Err(refused(format!("{naming} can become {possible}; not {to}")));
    }
    let family = naming.family.as_deref().unwrap_or_default();
    let mut draft = Draft { notes, ..Draft::default() };
    use NamingKind as Kind;
    match (naming.kind, to) {
        (Kind::Diffusers, Kind::Diffusers) => stable_diffusion::parts(&made, &mut draft),
        (Kind::OpenAiWhisper, Kind::OpenAiWhisper) => whisper::same(input, made, &mut draft)?,
        (from, to) if from == to => draft.same(input, made, to),
        (Kind::Timm, Kind::Torchvision) | (Kind::Torchvision, Kind::Timm) => resnet::relabelled(made, to, &mut draft)?,
        (Kind::Timm | Kind::Torchvision, Kind::Hf) if family == "vit" => vit::to_hf(input, made, &mut draft)?,
        (Kind::Hf, Kind::Timm) if family == "vit" => vit::to_timm(input, made, &mut draft)?,
        (Kind::Timm | Kind::Torchvision, Kind::Hf) => resnet::to_hf(made, &mut draft)?,
        (Kind::Hf, Kind::Timm | Kind::Torchvision) => resnet::from_hf(made, to, &mut draft)?,
        (Kind::OpenAiWhisper, Kind::Hf) => whisper::to_hf(input, made, &mut draft)?,
        (Kind::Hf, Kind::OpenAiWhisper) => whisper::to_openai(input, made, &mut draft)?,
        (Kind::StableDiffusion, Kind::Diffusers) => stable_diffusion::to_diffusers(input, made, &mut draft)?,
        (Kind::Diffusers, Kind::StableDiffusion) => stable_diffusion::to_single(input, made, &mut draft)?,
        (Kind::HfMemory, Kind::Hf) => transformers::to_file(made, family, &mut draft)?,
        (Kind::Hf, Kind::HfMemory) => transformers::to_memory(made, family, &mut draft)?,
        (Kind::Flax, Kind::Hf) => flax::to_hf(input, made, family, &mut draft)?,
        (Kind::TensorFlow | Kind::Keras, Kind::Hf) if family == "bert" => tensorflow::to_hf(made, &mut draft)?,
        (Kind::Keras, Kind::Hf) => keras::to_torch(input, made, &mut draft)?,
        (Kind::Kohya | Kind::Peft | Kind::DiffusersLora, to) => {
            lora::convert(input, made, naming.kind, to, &mut draft)?
        }
        (Kind::Mlx, Kind::Hf) => mlx::to_hf(input, made, family, &mut draft)?,
        (Kind::Hf, Kind::Mlx) => mlx::to_mlx(made, family, &mut draft)?,
        (Kind::Onnx, Kind::Hf) => {
            draft
                .notes
                .push("names of an ONNX graph are kept: they may be folded or made up by the exporter".to_owned());
            draft.whole(made);
        }
        (from, to) => return Err(refused(format!("there is no way from {from} to {to}"))),
    }
    draft.finish()
}

impl Draft {
    /// One set of weights, in the destination itself.
    fn whole(&mut self, made: Vec<Made>) {
        self.components.push((String::new(), "model", made));
    }

    /// The same names, in the file that libraries look for.
    fn same(&mut self, input: &Input<'_>, made: Vec<Made>, kind: NamingKind) {
        let stem = match kind {
            NamingKind::Peft => "adapter_model",
            NamingKind::DiffusersLora => "pytorch_lora_weights",
            _ => "model",
        };
        if let Some(config) = input.contents.metadata.get("adapter").filter(|_| kind == NamingKind::Peft) {
            self.documents.insert("adapter_config.json".to_owned(), config.clone());
        }
        if let Some(text) = input.contents.metadata.get(lora::SETTINGS).and_then(Value::as_str) {
            self.metadata.insert(lora::SETTINGS.to_owned(), text.to_owned());
        }
        self.components.push((String::new(), stem, made));
    }

    fn finish(self) -> Result<Remapped, FormatError> {
        let mut out =
            Remapped { documents: self.documents, envelope: self.envelope, notes: self.notes, components: Vec::new() };
        for (folder, stem, made) in self.components {
            rules::unique(&made)?;
            let mut component = Component { folder, stem, metadata: self.metadata.clone(), ..Component::default() };
            for Made { tensor, .. } in &made {
                let mut output = OutputTensor::same(tensor);
                if let Some(affine) = self.affine.get(&tensor.name) {
                    output.dtype = affine.dtype();
                    output.shape = affine.shape(tensor)?;
                    component.affine.insert(tensor.name.clone(), affine.clone());
                }
                component.tensors.push(output);
            }
            out.components.push(component);
        }
        Ok(out)
    }
}

/// The extents of a tensor of this name.
fn shape_of<'a>(made: &'a [Made], name: &str) -> Option<&'a [u64]> {
    made.iter().find(|made| made.tensor.name == name).map(|made| made.tensor.shape.as_slice())
}

/// One more than the largest number in the place of `#` among names that begin like the pattern; 0 without any.
fn count(made: &[Made], pattern: &str) -> u64 {
    let Some((before, _)) = pattern.split_once('#') else { return 0 };
    let number = |made: &Made| {
        let rest = made.tensor.name.strip_prefix(before)?;
        let digits = rest.split('.').next()?;
        (digits.len() <= 9).then(|| digits.parse::<u64>().ok()).flatten()
    };
    made.iter().filter_map(number).map(|number| number + 1).max().unwrap_or(0)
}
