//! What a configuration makes Keras import, load or run.
//!
//! Every object with a `class_name` is a class or function that is looked up: in Keras, or in whatever `module` or
//! `registered_name` says. CVE-2024-3660, CVE-2025-1550, CVE-2025-8747, CVE-2025-9905, CVE-2025-9906 and CVE-2025-12058
//! all begin there.

use serde_json::{Map, Value as Json};

use crate::contents::{Code, CodeWay, Contents};
use crate::error::FormatError;

/// Layers and functions that carry or load programs.
const PROGRAMS: &[&str] = &["Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"];

/// Functions of Keras itself that reach outside.
const OUTWARD: &[&str] = &[
    "get_file",
    "enable_unsafe_deserialization",
    "load_model",
    "save_model",
    "load_img",
    "save_img",
    "extract_archive",
];

/// Layers whose vocabulary may be a path, and the keys.
const PATHS: &[(&str, &str)] = &[
    ("StringLookup", "vocabulary"),
    ("IntegerLookup", "vocabulary"),
    ("IndexLookup", "vocabulary"),
    ("TextVectorization", "vocabulary"),
    ("StringLookup", "idf_weights"),
    ("TextVectorization", "idf_weights"),
];

/// Notes in the contents what the configuration asks for.
pub fn scan(config: &Json, file: &str, contents: &mut Contents) {
    let mut note = |name: String, way| {
        let code = Code { file: file.to_owned(), name, way };
        if !contents.code.contains(&code) {
            contents.code.push(code);
        }
    };
    let mut waiting = vec![config];
    while let Some(value) = waiting.pop() {
        match value {
            Json::Array(values) => waiting.extend(values.iter().rev()),
            Json::Object(object) => {
                judge(object, &mut note);
                waiting.extend(object.values().rev());
            }
            _ => {}
        }
    }
}

fn judge(object: &Map<String, Json>, note: &mut impl FnMut(String, CodeWay)) {
    let text = |key: &str| object.get(key).and_then(Json::as_str);
    let Some(class) = text("class_name") else { return };
    let module = text("module");
    if PROGRAMS.contains(&class) {
        note(class.to_owned(), CodeWay::Program);
    }
    let function = if class == "function" { object.get("config").and_then(Json::as_str) } else { None };
    for name in [Some(class), function].into_iter().flatten() {
        if OUTWARD.contains(&name) {
            note(name.to_owned(), CodeWay::Operator);
        }
    }
    if let Some(module) = module.filter(|module| !is_keras(module)) {
        note(format!("{module}.{}", function.unwrap_or(class)), CodeWay::Configuration);
    }
    if let Some((package, name)) = text("registered_name").and_then(|name| name.split_once('>'))
        && !is_keras(package)
    {
        note(format!("{package}>{name}"), CodeWay::Configuration);
    }
    let config = object.get("config").and_then(Json::as_object);
    for (_, key) in PATHS.iter().filter(|(layer, _)| *layer == class) {
        if config.and_then(|config| config.get(*key)).is_some_and(Json::is_string) {
            note(format!("{class}.{key}"), CodeWay::Operator);
        }
    }
}

/// Whether the module is Keras, in any of its homes.
fn is_keras(module: &str) -> bool {
    ["keras", "tf_keras", "keras_hub", "keras_nlp", "keras_cv"]
        .iter()
        .any(|own| module.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// Takes the configuration of a model as the architecture.
pub(super) fn take(text: &str, file: &str, contents: &mut Contents) -> Result<(), FormatError> {
    let source = |source| FormatError::Json { what: "keras configuration", source };
    let config: Json = serde_json::from_str(text).map_err(source)?;
    scan(&config, file, contents);
    let class = config.get("class_name").and_then(Json::as_str);
    contents.architecture.class = class.map(str::to_owned);
    if let Json::Object(config) = config {
        contents.architecture.config = config;
    }
    Ok(())
}

/// The class of the optimizer in a configuration of training, old or new.
pub(super) fn optimizer(config: &Map<String, Json>) -> Option<String> {
    let optimizer = config.get("optimizer_config").or_else(|| config.get("optimizer"))?;
    let class = optimizer.get("class_name").and_then(Json::as_str).or_else(|| optimizer.as_str())?;
    // `Custom>AdamW`, `keras.optimizers.Adam`
    let class = class.rsplit(['>', '.']).next().unwrap_or(class);
    Some(crate::tf::keras_kind(class).unwrap_or_else(|| class.to_owned()))
}
