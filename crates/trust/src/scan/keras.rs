//! What a configuration makes Keras import, load or run.
//!
//! Every object with a `class_name` is looked up: in Keras, or in whatever `module` says.

use serde_json::{Map, Value};

use super::pickle::{danger, plain};
use super::report::Finding;
use super::rules;
use super::session::{Item, Session};
use super::verdict::{Severity, Verdict};

/// Layers and functions that carry or load programs.
const PROGRAMS: &[(&str, &str)] = &[
    ("Lambda", "carries Python code, or calls a function by its name"),
    ("__lambda__", "carries Python code"),
    ("TorchModuleWrapper", "carries a pickled module of torch"),
    ("TFSMLayer", "loads a SavedModel from a path"),
    ("JaxLayer", "carries functions"),
    ("FlaxLayer", "carries functions"),
];

/// Functions of Keras itself that reach outside.
const OUTWARD: &[&str] = &[
    "get_file",
    "enable_unsafe_deserialization",
    "load_model",
    "save_model",
    "load_weights",
    "load_img",
    "save_img",
    "extract_archive",
    "model_from_json",
    "deserialize_keras_object",
    "load_data",
    "image_dataset_from_directory",
    "text_dataset_from_directory",
    "audio_dataset_from_directory",
    "register_keras_serializable",
    "run_in_background_thread",
];

/// Layers whose parameter may be a path, and the parameter.
const PATHS: &[(&str, &str)] = &[
    ("StringLookup", "vocabulary"),
    ("IntegerLookup", "vocabulary"),
    ("IndexLookup", "vocabulary"),
    ("TextVectorization", "vocabulary"),
    ("Hashing", "vocabulary"),
    ("StringLookup", "idf_weights"),
    ("TextVectorization", "idf_weights"),
];

/// Parts of Keras that have classes of models.
const PARTS: &[&str] = &[
    "layers",
    "initializers",
    "regularizers",
    "constraints",
    "optimizers",
    "losses",
    "metrics",
    "models",
    "activations",
    "dtype_policies",
    "random",
    "quantizers",
    "backend",
    "ops",
    "engine",
    "mixed_precision",
    "feature_column",
    "applications",
    "tokenizers",
    "samplers",
];

/// Judges every object with a class; `path` is where the value stands.
pub(super) fn walk(session: &mut Session<'_>, item: &Item, value: &Value, path: &str) {
    let mut waiting = vec![(path.to_owned(), value)];
    while let Some((path, value)) = waiting.pop() {
        match value {
            Value::Array(list) => {
                let nested = list.iter().enumerate().filter(|(_, value)| value.is_object() || value.is_array());
                waiting.extend(nested.map(|(number, value)| (format!("{path}[{number}]"), value)));
            }
            Value::Object(map) => {
                object(session, item, map, &path);
                for (key, value) in map.iter().filter(|(_, value)| value.is_object() || value.is_array()) {
                    let key: String = plain(&key.chars().take(80).collect::<String>());
                    waiting.push((if path.is_empty() { key } else { format!("{path}.{key}") }, value));
                }
            }
            _ => {}
        }
    }
}

fn object(session: &mut Session<'_>, item: &Item, map: &Map<String, Value>, path: &str) {
    let text = |key: &str| map.get(key).and_then(Value::as_str);
    let Some(class) = text("class_name") else { return };
    // Others have a `class_name` too; Keras has a configuration beside it.
    if !map.contains_key("config") && !map.contains_key("module") && !map.contains_key("registered_name") {
        return;
    }
    let mut add = |rule, verdict, detail: String, severity: Option<Severity>| {
        let finding = Finding::of(rule, verdict, detail).within(path);
        session.add(
            item,
            match severity {
                Some(severity) => finding.weighing(severity),
                None => finding,
            },
        );
    };
    let bare = class.rsplit('>').next().unwrap_or(class);
    if let Some((_, what)) = PROGRAMS.iter().find(|(name, _)| *name == bare) {
        add(
            rules::KERAS_CODE,
            Verdict::Unsafe,
            format!("`{bare}` {what}, and runs when the model is loaded or called"),
            None,
        );
    }
    let function = if class == "function" { map.get("config").and_then(Value::as_str) } else { None };
    for name in [Some(bare), function].into_iter().flatten() {
        if OUTWARD.contains(&name) {
            add(
                rules::KERAS_OUTWARD,
                Verdict::Unsafe,
                format!("calls `{name}`, which reads or writes files"),
                Some(Severity::High),
            );
        }
    }
    if let Some(module) = text("module") {
        let name = function.unwrap_or(class);
        let shown = plain(&format!("{module}.{name}"));
        match place_of(module) {
            Place::Own => {}
            Place::Aside => {
                add(
                    rules::KERAS_OUTWARD,
                    Verdict::Unsafe,
                    format!("imports `{shown}`, a part of Keras that has no layers"),
                    None,
                );
            }
            Place::Script => {
                add(rules::KERAS_CUSTOM, Verdict::Caution, format!("needs `{shown}` of the script that saved it"), None)
            }
            Place::Companion => add(rules::KERAS_CUSTOM, Verdict::Caution, format!("needs `{shown}`"), None),
            Place::Foreign => {
                let effect = danger(module, name).map_or_else(String::new, |found| format!(", which {}", found.effect));
                add(rules::KERAS_MODULE, Verdict::Unsafe, format!("imports `{shown}`{effect}"), None);
            }
        }
    }
    if let Some((package, name)) = text("registered_name").and_then(|name| name.split_once('>'))
        && !package.starts_with("keras")
    {
        let detail = format!("needs `{}`, which a program must register first", plain(&format!("{package}>{name}")));
        add(rules::KERAS_CUSTOM, Verdict::Caution, detail, None);
    }
    let config = map.get("config").and_then(Value::as_object);
    for (_, key) in PATHS.iter().filter(|(layer, _)| *layer == bare) {
        if let Some(file) = config.and_then(|config| config.get(*key)).and_then(Value::as_str) {
            let detail = format!("`{bare}` reads the file `{}`", plain(file));
            add(rules::KERAS_PATH, Verdict::Suspicious, detail, None);
        }
    }
}

/// Where a module is.
enum Place {
    /// A part of Keras with layers and the like.
    Own,
    /// Another part of Keras.
    Aside,
    /// The program that saved the model.
    Script,
    /// A package of the same makers.
    Companion,
    /// Anywhere else.
    Foreign,
}

fn place_of(module: &str) -> Place {
    if module == "__main__" {
        return Place::Script;
    }
    for prefix in ["keras_hub", "keras_nlp", "keras_cv", "tensorflow_addons", "tensorflow_probability"] {
        if module.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
            return Place::Companion;
        }
    }
    for prefix in ["keras.src", "keras", "tf_keras.src", "tf_keras", "tensorflow.keras", "tensorflow.python.keras"] {
        if let Some(rest) = module.strip_prefix(prefix) {
            if rest.is_empty() {
                return Place::Own;
            }
            if let Some(rest) = rest.strip_prefix('.') {
                let part = rest.split('.').next().unwrap_or(rest);
                return if PARTS.contains(&part) { Place::Own } else { Place::Aside };
            }
        }
    }
    Place::Foreign
}
