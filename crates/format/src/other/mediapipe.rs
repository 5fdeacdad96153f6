//! MediaPipe task bundles: a zip of TFLite models and what they need.

use serde_json::{Value as Json, json};

use crate::contents::Contents;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Section;
use crate::tflite;
use crate::zip::Archive;

/// Describes a `.task` file: its members, and of each stored model what [`tflite::read`] says of it.
///
/// # Errors
/// Those of the zip reader; [`FormatError::Rule`] when no member is a model.
pub fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    let mut archive = Archive::read(section, limits)?;
    archive.check();
    let mut contents = Contents::of(Format::MediaPipe);
    let names: Vec<(String, u64)> =
        archive.entries().iter().map(|entry| (entry.name.clone(), entry.size_bytes)).collect();
    let mut has_model = false;
    for (index, (name, _)) in names.iter().enumerate() {
        let Some(model) = archive.open(index).ok().and_then(|member| member.section().ok()) else { continue };
        if model.head("member", 8)?.get(4..) != Some(&tflite::MAGIC) {
            continue;
        }
        has_model = true;
        let part =
            tflite::read(&model, limits).map_err(|error| error.in_file(&format!("{}!{name}", section.file())))?;
        let prefix = |tensor: crate::Tensor| crate::Tensor { name: format!("{name}/{}", tensor.name), ..tensor };
        contents.tensors.extend(part.tensors.into_iter().map(prefix));
        Limits::at_most("number of tensors", contents.tensors.len() as u64, limits.tensors)?;
        contents.code.extend(part.code);
        contents.warnings.extend(part.warnings);
    }
    if !has_model && !names.iter().any(|(name, _)| name.ends_with(".tflite") || name == "TF_LITE_PREFILL_DECODE") {
        return Err(FormatError::Rule { what: "mediapipe bundle", rule: "it holds a model" });
    }
    let parts: Vec<Json> = names.iter().map(|(name, size)| json!({ "name": name, "size_bytes": size })).collect();
    contents.metadata.insert("members".into(), parts.into());
    contents.warnings.extend(archive.take_warnings());
    Ok(contents)
}
