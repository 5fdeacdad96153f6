//! XGBoost models in JSON or universal binary JSON: data, and no code.

use serde_json::Value as Json;

use crate::contents::Contents;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Section;

use super::ubjson;

/// Describes an XGBoost model: version, objective, parameters of the learner, number of trees.
///
/// # Errors
/// [`FormatError::Json`] or [`FormatError::Broken`] when the bytes are neither, [`FormatError::Rule`] when there is no
/// learner, [`FormatError::TooLarge`] beyond the limits.
pub fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    // A document in memory takes several times its bytes.
    Limits::at_most("xgboost model in bytes", section.len(), limits.decoded_bytes / 4)?;
    let bytes = section.read("xgboost model", 0, section.len())?;
    let model = if bytes.starts_with(b"{L") || bytes.starts_with(b"{i") || bytes.starts_with(b"{U") {
        ubjson::read(&bytes, limits)?
    } else {
        serde_json::from_slice(&bytes).map_err(|source| FormatError::Json { what: "xgboost model", source })?
    };
    let learner = model.get("learner").and_then(Json::as_object);
    let learner = learner.ok_or(FormatError::Rule { what: "xgboost model", rule: "it has a learner" })?;
    let mut contents = Contents::of(Format::XgBoost);
    if let Some(version) = model.get("version") {
        contents.metadata.insert("version".into(), version.clone());
    }
    for key in ["objective", "learner_model_param", "attributes", "feature_names", "feature_types"] {
        if let Some(value) = learner.get(key) {
            contents.metadata.insert(key.into(), value.clone());
        }
    }
    let booster = learner.get("gradient_booster");
    if let Some(name) = booster.and_then(|booster| booster.get("name")) {
        contents.metadata.insert("booster".into(), name.clone());
    }
    // With dart, the trees lie one deeper.
    let inner = booster.and_then(|booster| booster.get("gbtree").or(Some(booster)));
    if let Some(trees) = inner.and_then(|booster| booster.get("model")?.get("trees")?.as_array()) {
        contents.metadata.insert("trees".into(), trees.len().into());
    }
    Ok(contents)
}
