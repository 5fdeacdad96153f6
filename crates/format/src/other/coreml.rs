//! Core ML models and packages.
//!
//! A model is a protocol buffer whose field tells its type. A package is a folder with `Manifest.json` and files below
//! `Data`, among them a model and blobs of weights: a header of 64 bytes, then for each blob a description and data, both
//! at multiples of 64.
//!
//! Source: `Model.proto` of coremltools, `MILBlob`.

use serde_json::{Map, Value as Json, json};

use crate::contents::{Code, CodeWay, Contents, WarningKind};
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::protobuf::{Message, Value, broken};
use crate::source::{Folder, Section};
use crate::tensor::Tensor;

use super::cursor::Cursor;

/// Types of models by the number of their field.
const TYPES: &[(u64, &str)] = &[
    (200, "pipelineClassifier"),
    (201, "pipelineRegressor"),
    (202, "pipeline"),
    (300, "glmRegressor"),
    (301, "supportVectorRegressor"),
    (302, "treeEnsembleRegressor"),
    (303, "neuralNetworkRegressor"),
    (400, "glmClassifier"),
    (401, "supportVectorClassifier"),
    (402, "treeEnsembleClassifier"),
    (403, "neuralNetworkClassifier"),
    (404, "kNearestNeighborsClassifier"),
    (500, "neuralNetwork"),
    (501, "itemSimilarityRecommender"),
    (502, "mlProgram"),
    (555, "customModel"),
    (556, "linkedModel"),
    (600, "oneHotEncoder"),
    (601, "imputer"),
    (602, "featureVectorizer"),
    (603, "dictVectorizer"),
    (604, "scaler"),
    (606, "categoricalMapping"),
    (607, "normalizer"),
    (609, "arrayFeatureExtractor"),
    (610, "nonMaximumSuppression"),
    (900, "identity"),
];

const MANIFEST: &str = "Manifest.json";
/// First word of a blob's description.
const BLOB: u32 = 0xdead_beef;

/// Describes a `.mlmodel` file.
///
/// # Errors
/// [`FormatError::Broken`] and its kin when the bytes are no such model.
pub fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    let mut contents = Contents::of(Format::CoreMl);
    model(section, limits, &mut contents)?;
    Ok(contents)
}

/// Describes a `.mlpackage` folder at `prefix`; `""` is the folder itself.
///
/// # Errors
/// [`FormatError::NoFile`] without a manifest, [`FormatError::Json`] when it is none, [`FormatError::Rule`] when it names
/// files elsewhere.
pub fn read_package(folder: &dyn Folder, prefix: &str, limits: &Limits) -> Result<Contents, FormatError> {
    let path = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
    let mut contents = Contents::of(Format::MlPackage);
    let manifest = folder.open(&path(MANIFEST))?;
    Limits::at_most("manifest in bytes", manifest.len(), limits.text_bytes)?;
    let source = |source| FormatError::Json { what: "core ml manifest", source };
    let text = manifest.read("core ml manifest", 0, manifest.len())?;
    let manifest: Json = serde_json::from_slice(&text).map_err(source)?;
    let entries = manifest.get("itemInfoEntries").and_then(Json::as_object);
    let entries = entries.ok_or(FormatError::Rule { what: "core ml manifest", rule: "it has itemInfoEntries" })?;
    for entry in entries.values().filter_map(|entry| entry.get("path")?.as_str()) {
        if entry.starts_with('/') || entry.split(['/', '\\']).any(|part| part == "..") {
            return Err(FormatError::Rule { what: "core ml manifest", rule: "items lie below Data" });
        }
        let entry = path(&format!("Data/{entry}"));
        let below = format!("{entry}/");
        for file in folder.files().iter().filter(|file| *file.path == *entry || file.path.starts_with(&below)) {
            if file.path.ends_with(".mlmodel") {
                model(&folder.open(&file.path)?, limits, &mut contents).map_err(|error| error.in_file(&file.path))?;
            } else if file.path.ends_with("/weight.bin") {
                blobs(&folder.open(&file.path)?, limits, &mut contents).map_err(|error| error.in_file(&file.path))?;
            }
        }
        if !folder.files().iter().any(|file| *file.path == *entry || file.path.starts_with(&below)) {
            contents.warn(WarningKind::Missing, path(MANIFEST), format!("item `{entry}` is not there"));
        }
    }
    Ok(contents)
}

fn model(section: &Section, limits: &Limits, contents: &mut Contents) -> Result<(), FormatError> {
    let (mut version, mut kind) = (None, None);
    for field in Message::new(section.clone()).fields("core ml model")? {
        let field = field?;
        match (field.number, &field.value) {
            (1, Value::Varint(number)) => version = Some(*number),
            (2, Value::Bytes(message)) => description(message, limits, contents)?,
            (number, Value::Bytes(_)) if number >= 200 => {
                let known = TYPES.iter().find(|(code, _)| *code == number);
                kind = Some(known.map_or_else(|| format!("type {number}"), |(_, name)| (*name).to_owned()));
            }
            // Whether the model can be trained further.
            (10, _) => {}
            (number, _) => return Err(broken("core ml model", field.at, format!("field `{number}` does not exist"))),
        }
    }
    let missing = FormatError::Rule { what: "core ml model", rule: "it has a version and a type" };
    let (Some(version), Some(kind)) = (version, kind) else { return Err(missing) };
    if matches!(kind.as_str(), "customModel" | "linkedModel") {
        contents.code.push(Code { file: section.file().to_string(), name: kind.clone(), way: CodeWay::Program });
    }
    contents.metadata.insert("specificationVersion".into(), version.into());
    contents.metadata.insert("type".into(), kind.into());
    Ok(())
}

fn description(message: &Message, limits: &Limits, contents: &mut Contents) -> Result<(), FormatError> {
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for field in message.fields("core ml description")? {
        let field = field?;
        let Some(part) = field.value.message() else { continue };
        match field.number {
            1 | 10 => {
                let ends = if field.number == 1 { &mut inputs } else { &mut outputs };
                for field in part.fields("core ml feature")? {
                    let field = field?;
                    if let (1, Some(name)) = (field.number, field.value.message()) {
                        ends.push(Json::from(name.text("core ml name", limits.name_bytes)?));
                    }
                }
                Limits::at_most("number of core ml features", ends.len() as u64, limits.metadata_entries)?;
            }
            100 => {
                let mut facts = Map::new();
                for field in part.fields("core ml metadata")? {
                    let field = field?;
                    let names = ["shortDescription", "versionString", "author", "license"];
                    let name = usize::try_from(field.number).ok().and_then(|number| names.get(number.checked_sub(1)?));
                    if let (Some(name), Some(text)) = (name, field.value.message()) {
                        facts.insert((*name).into(), text.text("core ml metadata", limits.text_bytes)?.into());
                    }
                }
                contents.metadata.extend(facts);
            }
            _ => {}
        }
    }
    contents.metadata.insert("inputs".into(), inputs.into());
    contents.metadata.insert("outputs".into(), outputs.into());
    Ok(())
}

/// Weights of a program: blobs without names.
fn blobs(section: &Section, limits: &Limits, contents: &mut Contents) -> Result<(), FormatError> {
    let mut head = Cursor::new("core ml weights", section, 0);
    let count = u64::from(head.u32()?);
    let version = head.u32()?;
    Limits::at_most("number of core ml blobs", count, limits.tensors.min(section.len() / 64))?;
    if version != 2 {
        return Err(FormatError::UnknownVersion { what: "core ml weights", version: version.into() });
    }
    let mut at = 64u64;
    let mut other = Vec::new();
    for number in 0..count {
        let mut blob = Cursor::new("core ml blob", section, at);
        if blob.u32()? != BLOB {
            return Err(broken("core ml weights", at, format!("blob `{number}` has no mark")));
        }
        let (code, size, offset) = (blob.u32()?, blob.u64()?, blob.u64()?);
        if offset < at {
            return Err(broken("core ml weights", at, format!("data of blob `{number}` at `{offset}` lies before it")));
        }
        let stored = section.stored("core ml blob", offset, size)?;
        let dtype = match code {
            1 => Some(Dtype::F16),
            2 => Some(Dtype::F32),
            3 => Some(Dtype::U8),
            4 => Some(Dtype::I8),
            _ => None,
        };
        match dtype {
            Some(dtype) if size % dtype.block_bytes() == 0 => {
                let shape = vec![size / dtype.block_bytes()];
                contents.tensors.push(Tensor::plain(format!("blob_{number}"), dtype, shape, stored));
            }
            _ => other.push(json!({ "blob": number, "type": code, "size_bytes": size })),
        }
        at = (offset + size).next_multiple_of(64);
    }
    if !other.is_empty() {
        contents.metadata.insert("other_blobs".into(), other.into());
    }
    Ok(())
}
