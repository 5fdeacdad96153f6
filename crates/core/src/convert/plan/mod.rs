//! What a conversion will write, to the byte, before it writes anything.

mod clean;
mod documents;
mod forms;
mod gguf;
mod naming;
mod state;
mod weights;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weighthouse_format::checkpoint::{self, Checkpoint};
use weighthouse_format::output::{OutputFile, OutputTensor, Part};
use weighthouse_format::remap::Affine;
use weighthouse_format::source::FolderFile;
use weighthouse_format::tensor::Stored;
use weighthouse_format::{Dtype, Limits};

use super::record::{Record, SCHEMA};
use super::staging::Written;
use super::{Options, record, stream};
use crate::source::Source;
use crate::{Error, Sha256};

/// Results up to this length are written whatever the source's.
const BOMB_BYTES: u64 = 1 << 30;
/// The most that a result may be longer than what is read: GGUF's smallest type becomes 29 times longer in `F32`.
const BOMB_RATIO: u64 = 64;

/// What a conversion will write.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Plan {
    /// What was asked for.
    pub options: Options,
    /// Tensors, and files that are copied as they are.
    pub tensors: Vec<OutputTensor>,
    /// Tensors, by their place, that are computed from packed words.
    pub affine: BTreeMap<usize, Affine>,
    /// Files to write, in order.
    pub files: Vec<OutputFile>,
    /// Files of the source that are read.
    pub inputs: Vec<FolderFile>,
    /// What tells whether they have changed.
    pub(super) stamps: Vec<String>,
    /// What is left out or changed, and why.
    pub notes: Vec<String>,
    /// How many of the tensors are tensors, and no copied files.
    pub weights: usize,
}

/// Plans a conversion; reads headers and configurations, no weights. `name` is that of the file to write, for formats
/// that are one.
///
/// # Errors
/// [`Error::Unsupported`] with what is possible instead; [`Error::Malformed`] when the source cannot be read.
pub fn plan(source: &Source<'_>, options: &Options, name: Option<&str>) -> Result<Plan, Error> {
    options.check()?;
    plan_of(source, &read(source)?, options, name)
}

/// Reads the headers of a source, for several plans.
///
/// # Errors
/// When the file is not there or is no checkpoint.
pub fn read(source: &Source<'_>) -> Result<Checkpoint, Error> {
    let limits = Limits::default();
    Ok(match source.file {
        Some(path) => checkpoint::read_file(source.folder, path, &limits)?,
        None => checkpoint::read(source.folder, &limits)?,
    })
}

/// Plans a conversion of a source whose headers were read.
///
/// # Errors
/// As [`plan`].
pub fn plan_of(
    source: &Source<'_>,
    checkpoint: &Checkpoint,
    options: &Options,
    name: Option<&str>,
) -> Result<Plan, Error> {
    options.check()?;
    if checkpoint.contents.tensors.is_empty() && !(options.parts.optimizer && checkpoint.contents.optimizer.is_some()) {
        return Err(nothing_to_convert(checkpoint));
    }
    let mut plan = Plan { options: options.clone(), ..Plan::default() };
    let clean = clean::Clean::of(source.folder, options.to);
    forms::fill(&mut plan, &Source { folder: &clean, ..*source }, checkpoint, name)?;
    clean.apply(&mut plan);
    plan.say_what_is_left_out(checkpoint);
    plan.check()?;
    plan.inputs = plan.read_files(source, checkpoint);
    plan.stamps = source.stamps(&plan.inputs);
    plan.check_growth()?;
    Ok(plan)
}

fn nothing_to_convert(checkpoint: &Checkpoint) -> Error {
    let unreadable = checkpoint.contents.warnings.iter().find(|warning| warning.kind.as_str() == "unreadable");
    let formats: Vec<&str> = checkpoint.contents.formats.iter().map(|format| format.as_str()).collect();
    Error::Unsupported(match (unreadable, formats.is_empty()) {
        (Some(warning), _) => format!("there are no tensors to convert: `{}`: {}", warning.file, warning.message),
        (None, false) => {
            format!("there are no tensors to convert: {} is read for its description only", formats.join(", "))
        }
        (None, true) => "there are no tensors to convert".to_owned(),
    })
}

impl Plan {
    /// Bytes that will be written.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size_bytes(&self.tensors)))
    }

    /// Bytes of source files that must be read to know their digests.
    pub(super) fn unknown_bytes(&self, source: &Source<'_>) -> u64 {
        let unknown = self.inputs.iter().filter(|file| source.facts.digest(&file.path).is_none());
        unknown.fold(0, |sum, file| sum.saturating_add(file.size_bytes))
    }

    /// Bytes of memory that running the plan takes at most, by estimate.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8) as u64;
        let whole = |tensor: &OutputTensor| {
            let strided = tensor.recipe.source.pieces.iter().filter(|piece| {
                !matches!(piece.stored, Stored::Fill(_)) && (piece.strides.is_some() || !piece.filters.is_empty())
            });
            strided.map(|piece| piece.decoded_bytes.min(256 << 20)).max().unwrap_or(0)
        };
        let held = self.tensors.iter().map(whole).max().unwrap_or(0);
        let headers = self.files.iter().flat_map(|file| &file.parts).fold(0, |sum: u64, part| match part {
            Part::Bytes(bytes) => sum.saturating_add(bytes.len() as u64),
            _ => sum,
        });
        let bands = workers * 6 * stream::BAND_BYTES;
        let described = 600 * self.tensors.iter().map(|tensor| tensor.recipe.source.pieces.len() as u64).sum::<u64>();
        (24 << 20) + bands + headers + described + workers * held
    }

    /// Elements and bytes by dtype of what is written.
    #[must_use]
    pub fn by_dtype(&self) -> BTreeMap<Dtype, (u64, u64)> {
        let mut sums: BTreeMap<Dtype, (u64, u64)> = BTreeMap::new();
        for tensor in self.tensors.iter().take(self.weights) {
            let sum = sums.entry(tensor.dtype).or_default();
            sum.0 = sum.0.saturating_add(tensor.elements());
            sum.1 = sum.1.saturating_add(tensor.size_bytes().unwrap_or(0));
        }
        sums
    }

    /// Digest of everything that decides which bytes are written: only a run of the same plan is taken up.
    pub(super) fn fingerprint(&self, only: Option<&str>) -> String {
        let mut text = format!("{} {:?} {:?}\n", env!("CARGO_PKG_VERSION"), self.options, only);
        for (file, stamp) in self.inputs.iter().zip(&self.stamps) {
            text += &format!("{:?} {} {stamp:?}\n", file.path, file.size_bytes);
        }
        let mut digests = Vec::new();
        for file in &self.files {
            text += &format!("{:?} {}\n", file.path, file.size_bytes(&self.tensors));
            for part in &file.parts {
                match part {
                    Part::Bytes(bytes) => digests.extend(Sha256::of(bytes).0),
                    other => digests.extend(format!("{other:?}").into_bytes()),
                }
            }
        }
        for tensor in &self.tensors {
            digests.extend(format!("{:?} {:?} {:?}", tensor.name, tensor.dtype, tensor.recipe.steps).into_bytes());
        }
        text += &Sha256::of(&digests).to_string();
        Sha256::of(text.as_bytes()).to_string()
    }

    pub(super) fn record(&self, source: &Source<'_>, inputs: Vec<Written>, outputs: Vec<Written>) -> Record {
        Record {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            options: self.options.clone(),
            file: source.file.map(str::to_owned),
            inputs,
            outputs,
            tensors: self.weights as u64,
            notes: self.notes.clone(),
        }
    }

    /// Adds the files of a writer that was given `tensors`, below `folder`.
    fn add(&mut self, tensors: Vec<OutputTensor>, files: Vec<OutputFile>, folder: &str) {
        let before = self.tensors.len();
        self.tensors.extend(tensors);
        self.files.extend(files.into_iter().map(|mut file| {
            if !folder.is_empty() {
                file.path = format!("{folder}/{}", file.path);
            }
            for part in &mut file.parts {
                if let Part::Tensor(number) = part {
                    *number += before;
                }
            }
            file
        }));
    }

    /// Notes which of the tensors from place `first` on are computed from packed words.
    fn compute(&mut self, first: usize, affine: &BTreeMap<String, Affine>) {
        if !affine.is_empty() {
            let named = self.tensors.iter().enumerate().skip(first);
            let found = named.filter_map(|(number, tensor)| Some((number, affine.get(&tensor.name)?.clone())));
            self.affine.extend(found);
        }
    }

    fn say_what_is_left_out(&mut self, checkpoint: &Checkpoint) {
        if !self.options.parts.optimizer && checkpoint.contents.optimizer.is_some() {
            self.notes.push("the optimizer's state is left out; `--parts model,optimizer` takes it along".to_owned());
        }
        let code = &checkpoint.contents.code;
        let names: BTreeSet<&str> = code.iter().map(|code| code.name.as_str()).collect();
        if !names.is_empty() {
            let some: Vec<String> = names.iter().take(5).map(|name| format!("`{}`", name.escape_default())).collect();
            let more = names.len().saturating_sub(5);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            self.notes.push(format!("everything that runs is left out: {}{more}", some.join(", ")));
        }
    }

    /// Names that collide, and paths that leave the destination.
    fn check(&self) -> Result<(), Error> {
        let mut paths: BTreeMap<String, &str> = BTreeMap::new();
        for file in &self.files {
            let plain = |part: &str| {
                !part.is_empty()
                    && part != "."
                    && part != ".."
                    && !part.contains(['\\', '\0', ':'])
                    && part.len() <= 255
            };
            if !file.path.split('/').all(plain) {
                let reason = "a converted file would leave the destination".to_owned();
                return Err(Error::IllegalPath { path: file.path.chars().take(80).collect(), reason });
            }
            let folded = file.path.to_lowercase();
            if folded == record::NAME {
                return Err(Error::Unsupported(format!("`{}` is the name of the record", record::NAME)));
            }
            if let Some(other) = paths.insert(folded, &file.path) {
                let text = format!("`{other}` and `{}` would be one file where case does not count", file.path);
                return Err(Error::Unsupported(text));
            }
            if file.size_bytes(&self.tensors) == u64::MAX {
                return Err(Error::Unsupported(format!("`{}` would be too large for any disk", file.path)));
            }
        }
        Ok(())
    }

    /// Refuses files that would fill a disk out of nothing: views that repeat one element, compressed zeros.
    fn check_growth(&self) -> Result<(), Error> {
        let read = self.inputs.iter().fold(0u64, |sum, file| sum.saturating_add(file.size_bytes));
        let written = self.size_bytes();
        if written > BOMB_BYTES && written / BOMB_RATIO > read {
            return Err(Error::Unsupported(format!(
                "{read} bytes would become {written}, more than {BOMB_RATIO} times as many: a tensor repeats its elements, \
                 or is compressed beyond what weights are"
            )));
        }
        Ok(())
    }

    /// Files that this plan depends on: what its tensors lie in, and what says how, or what the model is.
    fn read_files(&self, source: &Source<'_>, checkpoint: &Checkpoint) -> Vec<FolderFile> {
        let scales = self.affine.values().flat_map(|affine| [&affine.scales, &affine.biases]);
        let pieces =
            self.tensors.iter().map(|tensor| &tensor.recipe.source).chain(scales).flat_map(|tensor| &tensor.pieces);
        let mut used: BTreeSet<&str> = pieces
            .filter_map(|piece| match &piece.stored {
                Stored::File { file, .. } => Some(&**file),
                _ => None,
            })
            .collect();
        match source.file {
            Some(file) => {
                used.insert(file);
            }
            None => {
                let others: BTreeSet<&str> =
                    checkpoint.others.iter().flat_map(|other| &other.files).map(String::as_str).collect();
                let files = checkpoint.files.iter().map(|file| file.path.as_str());
                let says = |path: &&str| !others.contains(path) && documents::says_what_it_is(path);
                used.extend(files.filter(says));
            }
        }
        source.folder.files().iter().filter(|file| used.contains(&*file.path)).cloned().collect()
    }
}

/// JSON as transformers writes it: sorted, two spaces, a line feed at the end.
pub(super) fn json(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text
}
