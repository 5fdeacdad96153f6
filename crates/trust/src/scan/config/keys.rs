//! Keys that libraries act on, at any depth of a document.

use serde_json::{Map, Value};
use weighthouse_format::{Section, base64 as digits};

use super::super::dispatch;
use super::super::jinja;
use super::super::pickle::{danger, plain};
use super::super::report::Finding;
use super::super::rules;
use super::super::session::{Item, Role, Session};
use super::super::verdict::{Confidence, Verdict};
use super::targets;

/// Most objects and lists of a document that are walked.
const MAX_VALUES: usize = 5_000_000;

/// Judges every key.
pub(super) fn walk(session: &mut Session<'_>, item: &Item, document: &Value) {
    let mut waiting = vec![(String::new(), document)];
    let mut seen = 0;
    while let Some((path, value)) = waiting.pop() {
        seen += 1;
        if seen > MAX_VALUES {
            return session.limit(item, "the document has too many values");
        }
        match value {
            Value::Object(map) => {
                object(session, item, map, &path);
                for (key, value) in map {
                    if value.is_object() || value.is_array() {
                        waiting.push((below(&path, key), value));
                    }
                }
            }
            Value::Array(list) => {
                let nested = list.iter().enumerate().filter(|(_, value)| value.is_object() || value.is_array());
                waiting.extend(nested.map(|(number, value)| (format!("{path}[{number}]"), value)));
            }
            _ => {}
        }
    }
    by_name(session, item, document);
}

fn below(path: &str, key: &str) -> String {
    let key: String = plain(&key.chars().take(80).collect::<String>());
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn object(session: &mut Session<'_>, item: &Item, map: &Map<String, Value>, path: &str) {
    for (key, value) in map {
        let place = || below(path, key);
        match key.as_str() {
            "auto_map" => auto_map(session, item, value, &place()),
            "custom_pipeline" | "custom_pipelines" if !value.is_null() => {
                let detail = format!("asks for a pipeline of its own code: {}", shown(value));
                session.add(item, Finding::of(rules::REMOTE_CODE, Verdict::Caution, detail).within(place()));
            }
            "trust_remote_code" if truth(value) => {
                let settings = item.ending() == "json" && item.name().contains("config");
                let verdict = if settings { Verdict::Unsafe } else { Verdict::Caution };
                let detail = "sets `trust_remote_code`, which is the user's to decide";
                let rule = if settings { rules::REMOTE_CODE_FORCED } else { rules::REMOTE_CODE };
                session.add(item, Finding::of(rule, verdict, detail).within(place()));
            }
            _ if key.trim_start_matches('_').starts_with("attn_implementation") => {
                attention(session, item, value, &place())
            }
            "_target_" => target(session, item, value, &place(), true),
            // Lightning's command line imports the class and calls it.
            "class_path" => target(session, item, value, &place(), map.contains_key("init_args")),
            "target" if map.contains_key("params") => target(session, item, value, &place(), false),
            "loader_module" | "python_model" | "model_code_path" | "code" if item.name() == "MLmodel" => {
                mlflow(session, item, key, value, &place());
            }
            "chat_template" => templates(session, item, value, &place()),
            "__module__" if map.contains_key("__loader__") || map.contains_key("__class__") => {
                skops(session, item, map, path);
            }
            "parent_library" => library(session, item, value, &place()),
            "expr_str" | "as_expr" => expression(session, item, value, &place()),
            ":serialized:" => pickled(session, item, value, &place()),
            _ => {}
        }
    }
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let cut: String = text.chars().take(120).collect();
    format!("`{}`", plain(&cut))
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => {
            !matches!(text.to_ascii_lowercase().as_str(), "" | "false" | "no" | "off" | "0" | "none")
        }
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Classes in scripts, which `trust_remote_code` allows.
fn auto_map(session: &mut Session<'_>, item: &Item, value: &Value, path: &str) {
    let mut references = Vec::new();
    let mut waiting = vec![value];
    while let Some(value) = waiting.pop() {
        match value {
            Value::String(text) => references.push(text.as_str()),
            Value::Array(list) => waiting.extend(list),
            Value::Object(map) => waiting.extend(map.values()),
            _ => {}
        }
    }
    references.sort_unstable();
    let Some(first) = references.first() else { return };
    let elsewhere = references.iter().find_map(|reference| reference.split_once("--")).map(|(repo, _)| repo);
    let detail = match elsewhere {
        Some(repo) => format!("asks for code of another repository, `{}`", plain(repo)),
        None => format!("asks for code of its repository, `{}`, when a user allows it", plain(first)),
    };
    session.add(item, Finding::of(rules::REMOTE_CODE, Verdict::Caution, detail).within(path));
}

/// Kernels of another repository, which some versions fetch and run without being asked.
fn attention(session: &mut Session<'_>, item: &Item, value: &Value, path: &str) {
    let mut waiting = vec![value];
    while let Some(value) = waiting.pop() {
        match value {
            Value::String(text) if text.contains('/') => {
                let detail = format!("fetches and runs code of `{}` for attention", plain(text));
                session.add(item, Finding::of(rules::REMOTE_CODE_FORCED, Verdict::Unsafe, detail).within(path));
            }
            Value::Object(map) => waiting.extend(map.values()),
            Value::Array(list) => waiting.extend(list),
            _ => {}
        }
    }
}

/// A class or function by its path, which is imported and called.
fn target(session: &mut Session<'_>, item: &Item, value: &Value, path: &str, hydra: bool) {
    let Some(text) = value.as_str() else { return };
    let Some((verdict, why)) = targets::judge(text) else { return };
    // The older word is used by many, so that only what is known to act counts.
    if !hydra && verdict != Verdict::Unsafe {
        return;
    }
    let rule = if verdict == Verdict::Unsafe { rules::CONFIG_DANGEROUS } else { rules::CONFIG_CLASS };
    let detail = format!("imports and calls `{}`, {why}", plain(text));
    session.add(item, Finding::of(rule, verdict, detail).within(path));
}

fn mlflow(session: &mut Session<'_>, item: &Item, key: &str, value: &Value, path: &str) {
    let Some(text) = value.as_str() else { return };
    // The others name folders and files, whatever modules are called so.
    let names_module = matches!(key, "loader_module" | "python_model");
    let (rule, verdict) = match danger(text, "").filter(|_| names_module) {
        Some(_) => (rules::CONFIG_DANGEROUS, Verdict::Unsafe),
        None if key == "loader_module" && text.starts_with("mlflow.") => (rules::CONFIG_CLASS, Verdict::Caution),
        None => (rules::REMOTE_CODE, Verdict::Caution),
    };
    let detail = format!("has `{}` loaded as `{key}`", plain(text));
    session.add(item, Finding::of(rule, verdict, detail).within(path));
}

/// Chat templates: one, or a list of them with names.
fn templates(session: &mut Session<'_>, item: &Item, value: &Value, path: &str) {
    match value {
        Value::String(text) => jinja::judge(session, item, text, path),
        Value::Array(list) => {
            for (number, entry) in list.iter().enumerate() {
                if let Some(text) = entry.get("template").and_then(Value::as_str) {
                    jinja::judge(session, item, text, &format!("{path}[{number}]"));
                }
            }
        }
        Value::Object(map) => {
            for (name, entry) in map {
                if let Some(text) = entry.as_str() {
                    jinja::judge(session, item, text, &below(path, name));
                }
            }
        }
        _ => {}
    }
}

/// A type that skops looks up by its name.
fn skops(session: &mut Session<'_>, item: &Item, map: &Map<String, Value>, path: &str) {
    let text = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default();
    let (module, class) = (text("__module__"), text("__class__"));
    let package = module.split('.').next().unwrap_or(module);
    let named = format!("{module}.{class}");
    if danger(module, class).is_some() {
        let detail = format!("makes `{}`, which is known to act", plain(&named));
        session.add(item, Finding::of(rules::CONFIG_DANGEROUS, Verdict::Unsafe, detail).within(path));
    } else if !matches!(
        package,
        "sklearn" | "numpy" | "scipy" | "builtins" | "collections" | "datetime" | "pandas" | ""
    ) {
        let detail = format!("makes `{}`, which is of no known library", plain(&named));
        session.add(item, Finding::of(rules::CONFIG_CLASS, Verdict::Suspicious, detail).within(path));
    }
}

/// The library that PEFT imports for a class of a model.
fn library(session: &mut Session<'_>, item: &Item, value: &Value, path: &str) {
    let Some(text) = value.as_str() else { return };
    let package = text.split('.').next().unwrap_or(text);
    if matches!(
        package,
        "transformers" | "torch" | "diffusers" | "peft" | "timm" | "__main__" | "sentence_transformers" | "torchvision"
    ) {
        return;
    }
    let (rule, verdict) = match danger(text, "") {
        Some(_) => (rules::CONFIG_DANGEROUS, Verdict::Unsafe),
        None if package == "transformers_modules" => (rules::REMOTE_CODE, Verdict::Caution),
        None => (rules::CONFIG_CLASS, Verdict::Suspicious),
    };
    let detail = format!("has the module `{}` imported", plain(text));
    session.add(item, Finding::of(rule, verdict, detail).within(path));
}

/// Text that torch gives to a reader of formulas, which evaluates it as Python.
fn expression(session: &mut Session<'_>, item: &Item, value: &Value, path: &str) {
    let mut waiting = vec![value];
    while let Some(value) = waiting.pop() {
        match value {
            Value::String(text) => {
                let words = ["__", "import", "lambda", "eval", "exec", "open", "getattr"];
                let odd = text.contains(['\'', '"', '[', ']', '{', '}', ';', ':', '@', '\\', '\n'])
                    || words.iter().any(|word| text.contains(word));
                if odd {
                    let detail = format!("has {} evaluated as Python", shown(value));
                    session.add(item, Finding::of(rules::EXPRESSION, Verdict::Unsafe, detail).within(path));
                }
            }
            Value::Object(map) => waiting.extend(map.values()),
            Value::Array(list) => waiting.extend(list),
            _ => {}
        }
    }
}

/// A pickle in base64, as stable-baselines3 keeps objects in its settings.
fn pickled(session: &mut Session<'_>, item: &Item, value: &Value, path: &str) {
    let Some(text) = value.as_str() else { return };
    let Some(bytes) = base64(text) else {
        let detail = "a pickle in base64 cannot be decoded";
        return session.add(item, Finding::of(rules::UNREADABLE, Verdict::Error, detail).within(path));
    };
    if session.member(item) {
        let section = Section::of_bytes(session.path, bytes);
        dispatch::judge(session, &item.inner(&plain(path), section, Role::Pickle));
    }
}

/// Decodes base64 of either alphabet; what is no digit is stepped over, as Python does.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches(['=', '\n', ' ']).replace('-', "+").replace('_', "/");
    digits::decode(&text, |byte| byte != b'=')
}

/// Documents that are known by their names.
fn by_name(session: &mut Session<'_>, item: &Item, document: &Value) {
    match item.name() {
        "model_index.json" => {
            let Some(map) = document.as_object() else { return };
            for (key, value) in map {
                let [Value::String(module), Value::String(class)] = value.as_array().map_or(&[][..], Vec::as_slice)
                else {
                    continue;
                };
                let package = module.split('.').next().unwrap_or(module);
                if !key.starts_with('_') || key == "_class_name" {
                    pipeline_class(session, item, key, package, &format!("{module}.{class}"));
                }
            }
            if let Some([Value::String(module), Value::String(class)]) =
                map.get("_class_name").and_then(Value::as_array).map(Vec::as_slice)
            {
                let detail = format!("the pipeline is `{}` of its own code", plain(&format!("{module}.{class}")));
                session.add(item, Finding::of(rules::REMOTE_CODE, Verdict::Caution, detail).within("_class_name"));
            }
        }
        "modules.json" => {
            for (number, entry) in document.as_array().into_iter().flatten().enumerate() {
                let Some(kind) = entry.get("type").and_then(Value::as_str) else { continue };
                if !kind.starts_with("sentence_transformers.") {
                    let verdict = if targets::judge(kind).is_some_and(|found| found.0 == Verdict::Unsafe) {
                        Verdict::Unsafe
                    } else {
                        Verdict::Caution
                    };
                    let rule = if verdict == Verdict::Unsafe { rules::CONFIG_DANGEROUS } else { rules::REMOTE_CODE };
                    let detail = format!("imports `{}`, which is outside sentence-transformers", plain(kind));
                    session.add(item, Finding::of(rule, verdict, detail).within(format!("[{number}].type")));
                }
            }
        }
        _ => {}
    }
}

fn pipeline_class(session: &mut Session<'_>, item: &Item, key: &str, package: &str, class: &str) {
    if matches!(package, "diffusers" | "transformers" | "onnxruntime" | "optimum" | "stable_diffusion")
        || class.starts_with("null")
    {
        return;
    }
    let (rule, verdict) = match targets::judge(class) {
        Some((Verdict::Unsafe, _)) => (rules::CONFIG_DANGEROUS, Verdict::Unsafe),
        _ => (rules::REMOTE_CODE, Verdict::Caution),
    };
    let detail = format!("loads `{}`, which is outside diffusers and transformers", plain(class));
    session.add(item, Finding::of(rule, verdict, detail).within(key).sure(Confidence::Likely));
}
